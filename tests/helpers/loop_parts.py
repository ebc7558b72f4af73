"""What stands for the models of the loop: bases that draw, and a training that only writes a file."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace

import torch
from safetensors.torch import save

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.bootstrap.loop import run_bootstrap
from lora_bootstrap.trainer.common.files import atomic_write
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.pictures.images import to_tensor
from lora_bootstrap.trainer.training.events import Finished, RunStarted, StepDone

from .drawings import draw_once

AKANE = world.HELD_OUT["akane"]
TAGS = tuple(world.caption_tags(world.Scene(AKANE)))


class DrawingBase:
    """Draws what the prompt says; with a LoRA applied, the character it was trained on."""

    family = get_family("sandbox")
    fingerprint = "drawing-base"
    device = torch.device("cpu")

    def __init__(self, flat=False):
        self.applied, self.made, self.flat = [], 0, flat

    @contextlib.contextmanager
    def lora(self, path, strength=1.0):
        self.applied.append((path.stem, strength))

        class Handle:
            def set_strength(handle, value):
                self.applied.append((path.stem, value))

        yield Handle()

    def generate(self, prompts, *, seeds, width, height, steps, cfg, negative="", at_step=None):
        self.made += len(prompts)
        for step in range(steps if at_step else 0):
            at_step(step / steps)
        return torch.stack([self._draw(prompt, seed, width) for prompt, seed in zip(prompts, seeds, strict=True)])

    def _draw(self, prompt, seed, width):
        asked = {world.attribute_of(tag): tag for tag in prompt.split(", ") if world.attribute_of(tag)}
        context = {name: tag for name, tag in asked.items() if name in world.CONTEXT}
        if self.flat:
            context = {}
        pixels = to_tensor(draw_once(world.Scene(AKANE, **context), width))
        noise = torch.rand(pixels.shape, generator=torch.Generator().manual_seed(seed))
        return (pixels + 0.1 * noise - 0.05).clamp(0, 1)


class Recorder:
    """Stands for loop.train: keeps what it was given, writes a file that depends on it, and finds it again."""

    def __init__(self):
        self.calls = []

    def __call__(self, backbone, dataset, config, runs_root, *, lineage, should_stop, **_):
        self.calls.append((config, dataset, lineage))
        key = hashlib.sha256(f"{config}{dataset.fingerprint}".encode()).hexdigest()
        path = runs_root / config.name / f"{config.name}.safetensors"
        if path.exists() and key.encode() in path.read_bytes():
            yield Finished(config.steps, path, stopped=False, reused=True)
            return
        yield RunStarted(path.parent, config.steps, 0, len(dataset), 0, 1, 1)
        for step in range(1, 4):
            yield StepDone(step, 0, 1 / step, 1e-3, 0.1, 0.01)
            if should_stop():
                yield Finished(step, path, stopped=True)
                return
        atomic_write(path, save({"x": torch.ones(1)}, metadata={"key": key}))
        yield Finished(config.steps, path, stopped=False)


class PlainBase(DrawingBase):
    """A base that does not know the mark of the character, and draws only the first background and style."""

    def _draw(self, prompt, seed, width):
        asked = {world.attribute_of(tag): tag for tag in prompt.split(", ")}
        context = {axis: asked[axis] for axis in ("angle", "framing", "expression") if axis in asked}
        return to_tensor(draw_once(world.Scene(replace(AKANE, signature=None), **context), width))


def run(config, tmp_path, base=None, **more):
    return list(run_bootstrap(config, tmp_path / "out", backbone=base or DrawingBase(),
                              choose_eye=lambda *_: None, **more))
