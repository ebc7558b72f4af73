"""What is recomputed is what was computed, also in blocks that add to their inputs in place."""

import comfy.model_management as management
import pytest
import torch
from tiny_models import CAPTIONS, make_backbone, make_dataset

from lora_bootstrap.trainer.training import loop
from lora_bootstrap.trainer.training.config import TrainConfig
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
