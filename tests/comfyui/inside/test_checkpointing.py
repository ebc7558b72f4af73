"""What is recomputed is what was computed, also in blocks that add to their inputs in place."""

import comfy.model_management
import pytest
import torch
from tiny_models import CAPTIONS, make_backbone, make_dataset

from lora_bootstrap.trainer.lora.file import load_lora
from lora_bootstrap.trainer.training import loop
from lora_bootstrap.trainer.training.config import TrainConfig

SOME = ("sd15", "flux", "chroma") if hasattr(comfy.model_management, "in_training") else ("sd15",)


@pytest.mark.parametrize("name", SOME)
def test_a_family_learns_the_same_with_gradient_checkpointing(name, tmp_path):
    data, learned = make_dataset(tmp_path / "data", CAPTIONS[:1]), []
    for recompute in (False, True):
        config = TrainConfig(name="same", steps=2, gradient_checkpointing=recompute).replace(**{
            "adapter.rank": 4, "data.resolution": 64, "optimizer.learning_rate": 1e-2})
        *_, event = loop.train(make_backbone(name), data, config, tmp_path / str(recompute))
        learned.append(load_lora(event.path).modules)
    for key, factors in learned[0].items():
        assert torch.allclose(factors.up, learned[1][key].up, atol=1e-4)
