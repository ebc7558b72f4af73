"""Short trainings of the tiny model, and what tests read of them."""

from __future__ import annotations

import itertools

import torch
from safetensors.torch import load_file

from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import StepDone
from lora_bootstrap.trainer.training.loop import train


def short_config(**settings):
    """Six steps on all linear layers of attention and feed-forward."""
    return TrainConfig(name="tiny", steps=6, state_every=2, state_minutes=0).replace(**{
        "adapter.rank": 4, "adapter.alpha": 4, "optimizer.learning_rate": 1e-2, "data.resolution": 32,
        "data.batch_size": 2, "data.trigger": "zqx", **settings})


def run(backbone, dataset, root, settings, **options):
    return list(train(backbone, dataset, settings, root, **options))


def run_in_two_parts(backbone, dataset, root, settings, **options):
    """As `run`, but stopped after half of the steps and resumed."""
    steps = itertools.count(1)
    run(backbone, dataset, root, settings, **options, should_stop=lambda: next(steps) == settings.steps // 2)
    return run(backbone, dataset, root, settings, **options)


def losses(events):
    return [event.loss for event in events if isinstance(event, StepDone)]


def change(events):
    """Norm of all that a run's LoRA adds to the weights."""
    weights = load_file(events[-1].path)
    layers = [name.removesuffix(".lora_down.weight") for name in weights if name.endswith(".lora_down.weight")]
    parts = [weights[f"{layer}.lora_up.weight"].flatten(1) @ weights[f"{layer}.lora_down.weight"].flatten(1)
             for layer in layers]
    return sum(part.float().pow(2).sum().item() for part in parts) ** 0.5


def same_weights(events, others):
    """Whether two runs ended with the same bits."""
    mine, theirs = load_file(events[-1].path), load_file(others[-1].path)
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
