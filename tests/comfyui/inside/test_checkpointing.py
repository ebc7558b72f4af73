"""What is recomputed is what was computed, also in blocks that add to their inputs in place."""

import comfy.model_management
import pytest
from tiny_models import CAPTIONS, make_backbone, make_dataset

from lora_bootstrap.trainer.training import loop
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import StepDone

SOME = ("sd15", "flux", "chroma") if hasattr(comfy.model_management, "in_training") else ("sd15",)


@pytest.mark.parametrize("name", SOME)
def test_a_family_gets_the_same_gradients_with_gradient_checkpointing(name, tmp_path):
    data, norms = make_dataset(tmp_path / "data", CAPTIONS[:1]), []
    for recompute in (False, True):
        config = TrainConfig(name="same", steps=3, gradient_checkpointing=recompute).replace(**{
            "adapter.rank": 4, "data.resolution": 64, "optimizer.learning_rate": 1e-4})
        events = loop.train(make_backbone(name), data, config, tmp_path / str(recompute))
        norms.append([(event.loss, event.grad_norm) for event in events if isinstance(event, StepDone)])
    assert len(norms[0]) == 3
    for plain, recomputed in zip(*norms, strict=True):
        assert recomputed == pytest.approx(plain, rel=1e-4)
