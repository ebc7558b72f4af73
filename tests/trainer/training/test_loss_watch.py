"""A training loss that nears zero is noticed once, against the run's own beginning."""

import random

import pytest

from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.datasets.dataset import Dataset
from lora_bootstrap.trainer.training import validation
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import StepDone
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.validation import LossWatch


def losses(steps, end, seed=0, scale=1.0):
    """From 1 to `end` of its beginning by the middle of the run, jittering as losses at random times do."""
    rng = random.Random(seed)
    return [scale * max(end, 1 - 2 * (1 - end) * step / steps) * rng.gammavariate(2, 0.5) for step in range(steps)]


def noticed(values):
    watch = LossWatch(len(values))
    return [step for step, loss in enumerate(values, 1) if watch.add(loss) is not None]


@pytest.mark.parametrize("end", [0.45, 0.6, 0.78, 1.0])
@pytest.mark.parametrize("steps", [100, 350, 2000])
def test_losses_that_fall_as_they_should_are_never_noticed(end, steps):
    assert all(noticed(losses(steps, end, seed)) == [] for seed in range(20))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0])
def test_a_loss_near_zero_is_noticed_once_whatever_its_scale(scale):
    for seed in range(20):
        (step,) = noticed(losses(800, 0.1, seed, scale))
        assert 320 <= step <= 520, "about where it gets there"


def test_a_short_run_is_too_short_to_tell():
    assert noticed([1.0] * 50 + [0.1] * 49) == [] and noticed([1.0] * 50 + [0.1] * 50) == [100]
    assert noticed([0.0] * 100) == [], "it began at nothing"


def test_the_word_names_the_cure_and_a_resumed_run_does_not_repeat_it(tiny_backbone, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(validation, "NEAR_ZERO", 100.0)
    config = TrainConfig(name="tiny", steps=104, state_every=1, state_minutes=0).replace(**{
        "adapter.rank": 1, "adapter.layers": "attention", "data.resolution": 32, "optimizer.learning_rate": 1e-4})
    done = []

    def events(stop_at):
        for event in train(tiny_backbone, Dataset(dataset.samples[:1]), config, tmp_path,
                           should_stop=lambda: len(done) == stop_at):
            done.extend([event] if isinstance(event, StepDone) else [])
            yield event

    told = [event.message for event in events(102) if isinstance(event, Warned)]
    assert len(told) == 1 and told[0].startswith("step 100: the training loss is down to ")
    assert told[0].endswith("fewer steps, more images, or half the learning rate (now 1e-4).")
    assert not [event for event in events(999) if isinstance(event, Warned)] and len(done) == 104
