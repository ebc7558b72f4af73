"""How images are sampled from a base: their size, steps and guidance, and the size at which they are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ..common.files import atomic_path
from .backbone import Backbone

BATCH_PIXELS, LARGEST_BATCH = 2**20, 16


MEASURED_SIDE = 512


@dataclass(frozen=True)
class Sampler:
    """How images are sampled."""

    width: int
    height: int
    steps: int
    cfg: float

    @classmethod
    def of(cls, backbone: Backbone, **changed: int | float | None) -> Sampler:
        """The family's own defaults, except for values that are given and not None."""
        family = backbone.family
        values: dict[str, Any] = {"width": family.resolution, "height": family.resolution,
                                  "steps": family.sample_steps, "cfg": family.cfg}
        return cls(**{**values, **{name: value for name, value in changed.items() if value is not None}})

    @property
    def batch(self) -> int:
        """Number of images sampled at once: as many as fit into the area of 1024 x 1024 pixels, at most 16."""
        return min(LARGEST_BATCH, max(1, BATCH_PIXELS // (self.width * self.height)))

    @property
    def measured_size(self) -> tuple[int, int]:
        """(width, height) at which its images are compared."""
        return measured_size(self.width, self.height)

    def pictures(self, backbone: Backbone, prompts: Sequence[str], seeds: Sequence[int],
                 at_step: Callable[[float], None] | None = None):
        """[B, 3, H, W] in 0..1. `at_step` as in `Backbone.generate`."""
        return backbone.generate(prompts, seeds=seeds, width=self.width, height=self.height, steps=self.steps,
                                 cfg=self.cfg, at_step=at_step)


def measured_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) at which images are compared: their own size, shrunk so that no side exceeds 512 pixels."""
    scale = min(1.0, MEASURED_SIDE / max(width, height))
    return round(width * scale), round(height * scale)


def save_picture(path: Path, image: Image.Image) -> None:
    with atomic_path(path) as temp:
        image.save(temp, format="PNG")
