"""Every family overfits a batch, and what is saved loads through the host to the training-time output."""

import logging

import pytest
import torch
from tiny_models import CAPTIONS, FAMILIES, make_backbone, make_dataset

from lora_bootstrap.host.backbone.model import HostBackbone, apply_lora, unmatched_modules
from lora_bootstrap.trainer.training import loop
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Finished, StepDone
from lora_bootstrap.trainer.training.feed import Feed

STEPS = 40

def one_batch_again_and_again(monkeypatch):
    """Every step sees the first batch, with the same noise at the same times: nothing but overfitting is left."""
    batch, seed = Feed.batch, loop.derived_seed
    monkeypatch.setattr(Feed, "batch", lambda self, index: batch(self, 0))
    monkeypatch.setattr(loop, "derived_seed", lambda base, purpose, *more: seed(base, purpose))


def a_batch(backbone):
    generator = torch.Generator().manual_seed(5)
    channels = backbone.family.latent_channels
    frames = [1] if backbone.model.model.latent_format.latent_dimensions == 3 else []
    return (torch.randn(3, channels, *frames, 8, 8, generator=generator), torch.tensor([0.2, 0.5, 0.9]),
            backbone.encode_text(CAPTIONS))


@torch.no_grad()
def output(backbone):
    return backbone.predict(*a_batch(backbone)).clone()


def run_config(name):
    return TrainConfig(name=name, steps=STEPS).replace(**{
        "adapter.rank": 4, "adapter.alpha": 4.0, "data.batch_size": 3, "data.resolution": 64,
        "optimizer.learning_rate": 1e-2, "objective.weighting": "none"})


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_trains_saves_and_loads(name, tmp_path, monkeypatch, caplog, record_property):
    one_batch_again_and_again(monkeypatch)
    backbone = make_backbone(name)
    plain, losses = output(backbone), []
    for event in loop.train(backbone, make_dataset(tmp_path / "data"), run_config(name), tmp_path / "runs"):
        if isinstance(event, StepDone):
            losses.append(event.loss)
        if isinstance(event, StepDone) and event.step == STEPS:
            trained = output(backbone)
    assert isinstance(event, Finished)
    assert losses[-1] < 0.5 * losses[0]
    with caplog.at_level(logging.WARNING):
        model, clip = apply_lora(backbone.model, backbone.clip, event.path)
    assert [line for line in caplog.messages if "not loaded" in line.lower()] == []
    assert unmatched_modules(backbone.model, backbone.clip, event.path) == ()
    loaded = output(HostBackbone(model, clip, backbone.vae))
    parity = ((loaded - trained).abs().max() / trained.abs().max()).item()
    assert parity <= 1e-3
    assert (loaded - plain).abs().max() > 0.05 * plain.abs().max()
    for key, value in {"first_loss": losses[0], "last_loss": losses[-1], "modules": len(model.patches),
                       "parity": parity}.items():
        record_property(key, value)
