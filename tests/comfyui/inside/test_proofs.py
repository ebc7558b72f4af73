"""What a run proves in the host, with the faults of earlier versions put back in."""

import logging

import comfy.lora
import pytest
import torch
from tiny_models import FAMILIES, TextModel, make_backbone, make_dataset
from unchanged import facts

from lora_bootstrap.host.backbone import text
from lora_bootstrap.host.backbone.model import HostBackbone
from lora_bootstrap.host.backbone.sandbox import load_sandbox
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora import file as lora_file
from lora_bootstrap.trainer.lora.file import LoraWeights
from lora_bootstrap.trainer.models import layers
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Proved, StepDone
from lora_bootstrap.trainer.training.loop import train


def config(**changes):
    return TrainConfig(name="run", steps=2).replace(**{
        "adapter.rank": 2, "adapter.alpha": 2.0, "data.batch_size": 2, "data.resolution": 64,
        "optimizer.learning_rate": 1e-2, **changes})


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path / "pictures")


def proofs(backbone, dataset, folder, **settings):
    found = {}
    for event in train(backbone, dataset, config(**settings), folder):
        if isinstance(event, Proved):
            found[event.proof.name] = event.proof
    return found


@pytest.mark.parametrize("name", [name for name in ("sdxl", "flux", "anima", "krea2") if name in FAMILIES])
def test_a_family_proves_all_three_in_the_host(name, dataset, tmp_path):
    found = proofs(make_backbone(name), dataset, tmp_path, **{"data.caption_dropout": 0.1})
    assert list(found) == ["coverage", "same text", "file works"]
    assert all(proof.passed for proof in found.values()), found
    assert found["same text"].figure < 1e-4 and found["file works"].figure < 1e-3


def with_token_ids(made, caption):
    """As Anima's encoder: tensors without a batch dimension beside those that have one."""
    count = len(caption.split()) + 1
    return {**made, "t5xxl_ids": torch.arange(1, count + 1, dtype=torch.int), "t5xxl_weights": torch.ones(count)}


def keep_rows_alone(made):
    return {name: value for name, value in made.items()
            if isinstance(value, torch.Tensor) and value.ndim > 1 and len(value) == 1}


def test_a_conditioning_tensor_that_training_drops_is_named_and_nothing_is_trained(dataset, tmp_path, monkeypatch):
    if "anima" not in FAMILIES:
        pytest.skip("needs the host's Anima")
    encode = TextModel.encode
    monkeypatch.setattr(TextModel, "encode", lambda self, caption: with_token_ids(encode(self, caption), caption))
    monkeypatch.setattr(text, "pack", keep_rows_alone)
    steps = []
    with pytest.raises(UserError, match="t5xxl_ids is missing in training; t5xxl_weights is missing in training"):
        steps += [event for event in train(make_backbone("anima"), dataset, config(), tmp_path)
                  if isinstance(event, StepDone)]
    assert steps == []


def test_another_guidance_than_that_of_sampling_is_refused(dataset, tmp_path, monkeypatch):
    heard = HostBackbone._heard
    monkeypatch.setattr(HostBackbone, "_heard", lambda self, noisy, row, guidance: heard(self, noisy, row, 30.0))
    with pytest.raises(UserError, match="guidance differs by 29"):
        list(train(make_backbone("flux"), dataset, config(), tmp_path))


def test_attention_without_a_lora_ends_the_run(dataset, tmp_path, monkeypatch):
    select = layers.select_modules
    from lora_bootstrap.trainer.training import adapters

    monkeypatch.setattr(adapters, "select_modules", lambda *args, **options: {
        name: kind for name, kind in select(*args, **options).items() if not name.endswith("attn2.to_k")})
    with pytest.raises(UserError, match=r"\d+ of \d+ linear layers in the blocks, but \d layers of attention have no"):
        list(train(make_backbone("sdxl"), dataset, config(), tmp_path))


@pytest.fixture
def sandbox():
    with torch.inference_mode():
        return load_sandbox()


def test_the_sandbox_proves_its_text_encoder_too_and_is_left_as_it_was(sandbox, dataset, tmp_path):
    backbone = HostBackbone(*sandbox)
    before = facts(backbone.model.model, backbone.clip.cond_stage_model)
    found = proofs(backbone, dataset, tmp_path, **{"adapter.text_encoder": True})
    assert all(proof.passed for proof in found.values()), found
    after = facts(backbone.model.model, backbone.clip.cond_stage_model)
    contents = [[row[0], row[-1]] for row in before if isinstance(row[-1], bytes)]
    assert [[row[0], row[-1]] for row in after if isinstance(row[-1], bytes)] == contents


@pytest.mark.parametrize("part", ["diffusion_model", "text_encoders"])
def test_a_layer_that_is_not_in_the_file_fails_its_proof(sandbox, dataset, tmp_path, monkeypatch, part):
    save = lora_file.save_lora

    def skip(path, lora, **options):
        name = next(key for key in lora.modules if key.startswith(part))
        save(path, LoraWeights({key: value for key, value in lora.modules.items() if key != name}, lora.metadata),
             **options)

    monkeypatch.setattr(lora_file, "save_lora", skip)
    proof = proofs(HostBackbone(*sandbox), dataset, tmp_path, **{"adapter.text_encoder": True})["file works"]
    assert not proof.passed and f"layers are not in it, such as {part}." in proof.words and proof.figure > 1e-3


def test_a_host_that_does_not_know_a_layer_fails_the_proof(sandbox, dataset, tmp_path, monkeypatch):
    keys = comfy.lora.model_lora_keys_unet
    monkeypatch.setattr(comfy.lora, "model_lora_keys_unet", lambda *args: {
        name: key for name, key in keys(*args).items() if not str(key).endswith("attn2.to_v.weight")})
    proof = proofs(HostBackbone(*sandbox), dataset, tmp_path)["file works"]
    assert not proof.passed and "the loader does not find" in proof.words


@pytest.mark.parametrize(("dtype", "cast"), [(torch.bfloat16, None), (torch.float8_e4m3fn, torch.float32)],
                         ids=["bf16", "fp8"])
def test_weights_of_less_than_32_bits_are_proved_within_their_rounding(dtype, cast, dataset, tmp_path, caplog):
    with caplog.at_level(logging.ERROR):
        found = proofs(make_backbone("sdxl", dtype=dtype, cast=cast), dataset, tmp_path)
    assert all(proof.passed for proof in found.values()), found
    assert found["same text"].figure <= 2e-2
