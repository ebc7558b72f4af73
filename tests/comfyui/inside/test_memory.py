"""What a training will take is counted on the host's own networks, and as real tensors take it."""

import pytest
from tiny_models import CAPTIONS, FAMILIES, make_backbone

from lora_bootstrap.host.backbone.memory_plan import count_training
from lora_bootstrap.trainer.training.config import TrainConfig


def a_config(**settings):
    return TrainConfig(name="memory").replace(**{"adapter.rank": 4, "data.resolution": 64, **settings})


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_of_every_family_is_counted_before_it_runs(name):
    backbone = make_backbone(name)
    with backbone.training(False):
        count = count_training(backbone, a_config(), CAPTIONS[2])
    weights = sum(p.numel() * p.element_size() for p in backbone.network.parameters())
    print(name, count)
    assert count.weights >= weights * 0.99
