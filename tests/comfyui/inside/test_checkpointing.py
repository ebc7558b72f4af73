"""What is recomputed is what was computed, also in blocks that add to their inputs in place."""

import comfy.model_management as management
import pytest
import torch
from tiny_models import CAPTIONS, FAMILIES, make_backbone, make_dataset

from lora_bootstrap.host.backbone import gradients
from lora_bootstrap.trainer.models.backbone import Conditioning
from lora_bootstrap.trainer.training import adapters, loop
from lora_bootstrap.trainer.training.config import AdapterConfig, TrainConfig
from lora_bootstrap.trainer.training.events import StepDone

SOME = ("sd15", "flux", "chroma") if hasattr(management, "in_training") else ("sd15",)


@pytest.mark.parametrize("name", SOME)
def test_a_family_gets_the_same_gradients_with_gradient_checkpointing(name, tmp_path):
    data, norms = make_dataset(tmp_path / "data", CAPTIONS[:1]), []
    for recompute in (False, True):
        norms.append(figures(make_backbone(name), data, tmp_path / str(recompute), gradient_checkpointing=recompute))
    assert len(norms[0]) == 3
    for plain, recomputed in zip(*norms, strict=True):
        assert recomputed == pytest.approx(plain, rel=1e-4)


def figures(backbone, data, root, **settings):
    """(loss, norm of the gradient) of each step."""
    config = TrainConfig(name="same", steps=3, **settings).replace(**{
        "adapter.rank": 4, "data.resolution": 64, "optimizer.learning_rate": 1e-4})
    return [(event.loss, event.grad_norm) for event in loop.train(backbone, data, config, root)
            if isinstance(event, StepDone)]


def test_a_step_that_runs_out_of_the_hosts_memory_is_taken_again_with_its_models_unloaded(tmp_path, monkeypatch):
    data = make_dataset(tmp_path / "data", CAPTIONS[:1])
    plain = figures(make_backbone("sd15"), data, tmp_path / "plain")
    backbone, shares = make_backbone("sd15"), []
    predict, set_recompute, unload = backbone.predict, backbone.set_recompute, management.unload_all_models

    def greedy(*args):
        prediction = predict(*args)
        if torch.is_grad_enabled() and not shares:
            raise management.OOM_EXCEPTION("CUDA out of memory")
        return prediction

    def watched(share):
        with monkeypatch.context() as patch:
            patch.setattr(management, "unload_all_models", lambda: shares.append(share) or unload())
            set_recompute(share)

    monkeypatch.setattr(backbone, "predict", greedy)
    monkeypatch.setattr(backbone, "set_recompute", watched)
    again = figures(backbone, data, tmp_path / "again")
    assert shares == [0.5] and len(again) == 3
    for before, after in zip(plain, again, strict=True):
        assert after == pytest.approx(before, rel=1e-4)


OVERWRITING = [name for name in ("flux", "chroma", "flux2") if name in FAMILIES and len(SOME) > 1]


@pytest.mark.parametrize("name", OVERWRITING)
def test_gradients_are_exactly_those_of_a_step_in_which_every_operation_is_watched(name, monkeypatch):
    """With a LoRA that does something: one that has just begun hides what its own layers change."""
    plain, recomputed = gradients_of(name), gradients_of(name, recompute=True)
    monkeypatch.setattr(gradients, "find_guard", lambda network, run: gradients.Guard(whole=True))
    watched = gradients_of(name)
    assert len(watched) > 10 and any(gradient.abs().max() > 0 for gradient in watched)
    for ours in (plain, recomputed):
        assert all(map(torch.equal, ours, watched))


def gradients_of(name, recompute=False):
    """Of the LoRA, and of the text, as if its encoder were trained too."""
    backbone = make_backbone(name)
    noisy = torch.randn(2, backbone.family.latent_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        heard = backbone.encode_text(["red", "blue disc"])
    text = [row.detach().clone().requires_grad_() for row in heard.tensors["cross_attn"]]
    heard = Conditioning({**heard.tensors, "cross_attn": tuple(text)})
    with backbone.training(recompute):
        handle = adapters.attach(backbone.network, AdapterConfig(rank=2), backbone.family.blocks, 0)
        for parameter in handle.parameters():
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
        with backbone.step():
            backbone.predict(noisy, torch.tensor([0.2, 0.8]), heard).square().mean().backward()
        if gradients.find_guard.__module__ == gradients.__name__:
            assert not backbone._step._guard.whole and backbone._step._guard.copies
        found = [parameter.grad for parameter in handle.parameters() if parameter.grad is not None]
        handle.detach()
    assert not any(module._forward_pre_hooks for module in backbone.network.modules())
    return [*found, *(row.grad for row in text)]
