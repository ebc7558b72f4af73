"""Every family overfits a batch, and what is saved loads through the host to the training-time output.

The captions differ in length, and one is empty, as caption dropout makes it.
"""

import logging
import math

import comfy.model_base
import comfy.supported_models
import pytest
import torch
from tiny_models import CAPTIONS, FAMILIES, make_backbone, make_dataset

from lora_bootstrap.host.backbone.loras import apply_lora, unmatched_modules
from lora_bootstrap.host.backbone.model import HostBackbone
from lora_bootstrap.trainer.models import families
from lora_bootstrap.trainer.models.families import distilled_warning, recognise_form
from lora_bootstrap.trainer.models.layers import coverage, layers_inside, select_modules
from lora_bootstrap.trainer.proofs.proof import COVERAGE, FILE_WORKS, SAME_TEXT
from lora_bootstrap.trainer.training import loop
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Finished, Proved, StepDone
from lora_bootstrap.trainer.training.feed import Feed
from lora_bootstrap.trainer.training.objectives import Loss, ObjectiveConfig
from lora_bootstrap.trainer.training.presets import preset_config
from lora_bootstrap.trainer.training.step import draws

STEPS = 20
BATCH = (CAPTIONS[0], "", CAPTIONS[2])


def one_batch_again_and_again(monkeypatch):
    """Every step sees the first batch, with the same noise at the same times: nothing but overfitting is left."""
    batch, seed = Feed.batch, draws.derived_seed
    monkeypatch.setattr(Feed, "batch", lambda self, index, share=None: batch(self, 0, share))
    monkeypatch.setattr(draws, "derived_seed", lambda base, purpose, *more: seed(base, purpose))


def a_batch(backbone):
    generator = torch.Generator().manual_seed(5)
    channels = backbone.family.latent_channels
    frames = [1] if backbone.model.model.latent_format.latent_dimensions == 3 else []
    return (torch.randn(3, channels, *frames, 8, 8, generator=generator), torch.tensor([0.2, 0.5, 0.9]),
            backbone.encode_text(BATCH))


@torch.no_grad()
def output(backbone):
    return backbone.predict(*a_batch(backbone)).clone()


def run_config(name):
    return TrainConfig(name=name, steps=STEPS).replace(**{
        "adapter.rank": 32, "adapter.alpha": 32.0, "adapter.layers": "all", "data.batch_size": 3,
        "data.resolution": 64, "optimizer.learning_rate": 1e-2, "objective.weighting": "none"})


def coverage_of(backbone):
    adapted = {name for name, module in backbone.network.named_modules() if hasattr(module, "lora_A")}
    return coverage(backbone.network, adapted, backbone.family.blocks, backbone.family.excluded)


LINEAR = {
    # linear layers in the blocks of the tiny networks, counted from how the host writes them: Krea 2's two blocks and
    # four blocks of its text fusion have eight each, Anima's two blocks sixteen, and its text adapter counts none
    "sd15": 97, "sdxl": 97, "sd3": 17, "flux": 13, "chroma": 10, "lumina2": 23, "z_image": 23, "qwen_image": 28,
    "qwen_image_edit": 28, "anima": 32, "krea2": 48, "flux2": 10, "flux2_klein": 10, "wan": 20,
}

DISTILLED = {
    # names as distilled forms go by
    "sdxl": "sd_xl_turbo_1.0_fp16.safetensors", "sd3": "sd3.5_large_turbo.safetensors",
    "flux": "flux1-schnell.safetensors", "chroma": "chroma-unlocked-v47-flash.safetensors",
    "z_image": "z_image_turbo_bf16.safetensors", "qwen_image": "qwen_image_2512_lightning_4steps.safetensors",
    "qwen_image_edit": "qwen_image_edit_2511_lightning_4steps.safetensors",
    "krea2": "krea2_turbo_fp8_scaled.safetensors",
    "anima": "anima-turbo-v1.0.safetensors", "flux2": "flux2_dev_turbo.safetensors",
    "flux2_klein": "flux-2-klein-4b-fp8.safetensors", "wan": "wan2.2_t2v_high_noise_lightx2v_4steps.safetensors",
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_trains_saves_and_loads(name, tmp_path, monkeypatch, caplog, record_property):
    one_batch_again_and_again(monkeypatch)
    backbone = make_backbone(name)
    assert backbone.family.name == name
    plain, losses, proofs = output(backbone), [], {}
    for event in loop.train(backbone, make_dataset(tmp_path / "data", BATCH), run_config(name), tmp_path / "runs"):
        if isinstance(event, Proved):
            proofs[event.proof.name] = event.proof
        if isinstance(event, StepDone):
            losses.append(event.loss)
        if isinstance(event, StepDone) and event.step == STEPS:
            trained = output(backbone)
            covered = coverage_of(backbone)
    assert isinstance(event, Finished)
    assert losses[-1] < 0.9 * losses[0]
    assert covered.adapted == covered.linear == LINEAR[name] and covered.bare_attention == ()
    with caplog.at_level(logging.WARNING):
        model, clip = apply_lora(backbone.model, backbone.clip, event.path)
    assert [line for line in caplog.messages if "not loaded" in line.lower()] == []
    assert unmatched_modules(backbone.model, backbone.clip, event.path) == ()
    loaded = output(HostBackbone(model, clip, backbone.vae))
    parity = ((loaded - trained).abs().max() / trained.abs().max()).item()
    assert parity <= 1e-3
    assert (loaded - plain).abs().max() > 0.05 * plain.abs().max()
    assert set(proofs) == {SAME_TEXT, COVERAGE, FILE_WORKS} and all(proof.passed for proof in proofs.values())
    form = recognise_form(backbone.family, DISTILLED.get(name, ""))
    warned = form.title if distilled_warning(backbone.family, DISTILLED.get(name, "")) and name in DISTILLED else "-"
    assert (name in DISTILLED) == (warned != "-")
    for key, value in {"same_text": proofs[SAME_TEXT].figure, "coverage": f"{covered.adapted} of {covered.linear}",
                       "first_loss": losses[0], "last_loss": losses[-1], "modules": len(model.patches),
                       "parity": parity, "distilled": warned}.items():
        record_property(key, value)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_hears_in_training_what_it_hears_when_it_samples(name):
    backbone = make_backbone(name)
    noisy, t, _ = a_batch(backbone)
    with backbone.training(False), torch.no_grad():
        trained = backbone.predict(noisy, t, backbone.encode_text(BATCH)).clone()
        wanted = backbone.sampling_prediction(noisy, t, BATCH)
    assert (trained - wanted).abs().max() <= 1e-3 * wanted.abs().max()


@pytest.mark.parametrize(("name", "guidance"), [("flux", 1.0), ("flux2", 1.0), ("flux2_klein", None)])
def test_a_guidance_distilled_family_is_trained_at_guidance_one(name, guidance, monkeypatch):
    if name not in FAMILIES:
        pytest.skip("this host does not have it")
    backbone, heard = make_backbone(name), []
    root = backbone.network
    forward = type(root).forward
    monkeypatch.setattr(type(root), "forward", lambda self, *args, **kwargs: (
        heard.append(kwargs.get("guidance")), forward(self, *args, **kwargs))[1])
    output(backbone)
    assert {float(value) for value in heard[0]} == {guidance or 3.5}  # Klein has no input for it, whatever it is given


@pytest.mark.parametrize("name", FAMILIES)
def test_the_preset_of_a_family_trains_all_of_its_attention(name):
    backbone = make_backbone(name)
    chosen = select_modules(backbone.network, preset_config(backbone.family, "character").adapter.layers,
                            backbone.family.blocks, 0, backbone.family.excluded)
    assert coverage(backbone.network, chosen, backbone.family.blocks, backbone.family.excluded).bare_attention == ()
    assert not any("llm_adapter" in layer or "embed" in layer or "final" in layer for layer in chosen)


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ("sd15", "sdxl")])
def test_a_network_without_a_row_gets_a_lora_in_the_same_layers(name, monkeypatch):
    backbone = make_backbone(name)
    monkeypatch.setattr(families, "FAMILIES", {})
    stranger = make_backbone(name)
    assert stranger.family.name == "other" and stranger.family.presets["style"].layers == "all"
    own, found = ({layer.name for layer in layers_inside(b.network, b.family.blocks, b.family.excluded)}
                  for b in (backbone, stranger))
    assert {layer for layer in own if "txtfusion" not in layer} == found  # which only Krea's authors say to train


MEDIANS = {"anima": 1.0, "krea2": 2.5, "z_image": 2.0, "qwen_image": 2.2, "flux": math.exp(1.15),
           "flux2": math.exp(2.02)}


@pytest.mark.parametrize("name", [name for name in MEDIANS if name in FAMILIES])
def test_the_middle_of_the_times_in_training_is_where_the_family_says(name):
    backbone = make_backbone(name)
    t = Loss.of(backbone.family, backbone.schedule, ObjectiveConfig()).times(torch.tensor([0.5]))
    _, sigma = backbone.schedule.coefficients(t)
    assert sigma.item() == pytest.approx(MEDIANS[name] / (1 + MEDIANS[name]), abs=2e-3)
    by_hand = Loss.of(backbone.family, backbone.schedule, ObjectiveConfig(timestep_density="logit_normal"))
    assert by_hand.times(torch.tensor([0.5])).item() == pytest.approx(0.5)


def test_a_v_prediction_sdxl_is_trained_up_to_pure_noise(monkeypatch):
    """NoobAI v-pred: the host finds `v_pred` and `ztsnr` in the file."""
    sdxl = comfy.supported_models.SDXL
    monkeypatch.setattr(sdxl, "model_type", lambda self, *_: comfy.model_base.ModelType.V_PREDICTION)
    monkeypatch.setattr(sdxl, "sampling_settings", {**sdxl.sampling_settings, "zsnr": True})
    backbone = make_backbone("sdxl")
    assert backbone.family.objective == "v" and backbone.family.name == "sdxl"
    loss, t = Loss.of(backbone.family, backbone.schedule, ObjectiveConfig()), torch.tensor([1.0, 0.5])
    alpha, sigma = backbone.schedule.coefficients(t)
    assert alpha[0] < 1e-3 and sigma[0] > 0.999
    latents, noise = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4)
    v = alpha[:, None, None, None] * noise - sigma[:, None, None, None] * latents
    snr = (alpha / sigma) ** 2
    off = loss.per_sample(v + 1, latents, noise, t)
    torch.testing.assert_close(off, snr.clamp(max=5) / (snr + 1))  # Min-SNR for v, nothing at zero SNR
