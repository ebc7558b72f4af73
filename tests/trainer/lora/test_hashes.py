"""Hashes of LoRA files: equal for equal weights, different for anything that changes what a LoRA does."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_bootstrap.trainer.common.files import file_hash
from lora_bootstrap.trainer.lora.hashes import tensor_hash

from ...helpers.lora_files import lora


def test_the_same_weights_have_the_same_hash_whenever_they_were_trained(tmp_path):
    paths = [lora(tmp_path / f"{hour}.safetensors", metadata={"ss_training_started_at": str(hour)}) for hour in (1, 2)]
    assert file_hash(paths[0]) != file_hash(paths[1])
    assert tensor_hash(paths[0]) == tensor_hash(paths[1])


def other_value(tensors):
    key = next(iter(tensors))
    tensors[key].view(-1)[-1] += 1e-3


def other_name(tensors):
    tensors["lora_unet_other.alpha"] = tensors.pop(next(key for key in tensors if key.endswith("alpha")))


def other_shape(tensors):
    key = next(key for key in tensors if tensors[key].dim() == 2)
    tensors[key] = tensors[key].reshape(tensors[key].shape[::-1])


def other_type(tensors):
    key = next(iter(tensors))
    tensors[key] = tensors[key].view(torch.int32)


@pytest.mark.parametrize("change", [other_value, other_name, other_shape, other_type])
def test_any_change_of_the_tensors_changes_the_hash(tmp_path, change):
    path = lora(tmp_path / "a.safetensors")
    before, tensors = tensor_hash(path), load_file(path)
    change(tensors)
    save_file(tensors, tmp_path / "b.safetensors")
    assert tensor_hash(tmp_path / "b.safetensors") != before


def test_alphas_in_the_metadata_count_as_weights(tmp_path):
    tables = [json.dumps({"unet": {"lora_alpha": alpha}}) for alpha in (4, 8)]
    paths = [lora(tmp_path / f"{row}.safetensors", metadata={"lora_adapter_metadata": table})
             for row, table in enumerate(tables)]
    assert tensor_hash(paths[0]) != tensor_hash(paths[1])


def test_a_file_that_is_replaced_is_read_again_and_one_that_is_not_safetensors_goes_by_its_bytes(tmp_path):
    path = lora(tmp_path / "a.safetensors")
    before = tensor_hash(path)
    lora(path, seed=5, rank=2)
    assert tensor_hash(path) != before
    (tmp_path / "old.pt").write_bytes(b"PK pickle")
    assert tensor_hash(tmp_path / "old.pt") == file_hash(tmp_path / "old.pt")
