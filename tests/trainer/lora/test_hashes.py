"""Hashes of LoRA files: equal for equal weights, different for anything that changes what a LoRA does."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import file_hash
from lora_bootstrap.trainer.lora.file import Factors, LoraWeights, load_lora, save_lora
from lora_bootstrap.trainer.lora.hashes import check_weights, tensor_hash
from lora_bootstrap.trainer.stacks.blocks import filter_lora
from lora_bootstrap.trainer.stacks.layer_stack import open_stack
from lora_bootstrap.trainer.sweeps.cells import checkpoint_axis

from ...helpers.lora_files import BLOCK, lora


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


def trained(path):
    factors = Factors(torch.ones(2, 3), torch.ones(4, 2), 2.0)
    save_lora(path, LoraWeights({f"unet.{BLOCK}.attn1.to_q": factors}, {"lora_bootstrap.family": "sd15"}))
    return path


def damage(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def stack_of(path):
    with open_stack([path]):
        pass


@pytest.mark.parametrize("use", [load_lora, stack_of, lambda path: checkpoint_axis([path]),
                                 lambda path: filter_lora(path, "none", path.parent)],
                         ids=["applied", "merged", "swept", "filtered"])
def test_a_trained_lora_with_one_flipped_bit_is_refused_wherever_it_is_used(tmp_path, use):
    path = trained(tmp_path / "a.safetensors")
    check_weights(path)
    damage(path)
    with pytest.raises(UserError, match="a.safetensors are not those that were saved.*make it again"):
        use(path)


def test_a_lora_of_another_tool_is_used_whatever_hash_it_states(tmp_path):
    path = lora(tmp_path / "a.safetensors", metadata={"sshs_model_hash": "0" * 64})
    check_weights(path)
    (tmp_path / "old.pt").write_bytes(b"PK pickle")
    check_weights(tmp_path / "old.pt")


def test_a_lora_that_another_tool_changed_and_hashed_again_is_used(tmp_path):
    path = trained(tmp_path / "a.safetensors")
    metadata, tensors = load_lora(path).metadata, load_file(path)
    tensors = {key: 2 * tensor for key, tensor in tensors.items()}
    content = save(tensors)
    digest = hashlib.sha256(content[8 + int.from_bytes(content[:8], "little"):]).hexdigest()
    save_file(tensors, path, {**metadata, "sshs_model_hash": digest})
    check_weights(path)
