"""A LoRA that counts only where it changes an image most.

At a strength that shows a character's marks, a LoRA of the marks changes all of the image: colours burn, and the view
that was asked for is lost. But what it changes most is where the mark belongs. So each step is predicted without it and
with it, and the difference counts in those places alone. The difference is that of the predictions with the prompt, and
it is added to those without the prompt too, so that guidance does not multiply it; multiplied, it turns cyan into blue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from ..models.backbone import AppliedLora, Backbone

NEAR = 3 / 16
"""Side of the square, as a part of the image's shorter side, over whose mean a place is judged."""
SOFTNESS = 0.15
"""How far, as a part of the difference at the edge of the chosen places, their weight takes to fall."""
FEW, MANY = 0.3, 0.7
"""The mean weight over the steps up to which a place of an image is as without the LoRA, and from which it is new."""


@dataclass(frozen=True)
class Local:
    """How a LoRA counts. The defaults were chosen on two characters of the sandbox (bench/results/marks_trials.md).

    Attributes:
        strength: of the LoRA.
        weight: factor on its difference.
        share: part of the image in which it counts.
        start: share of the steps from which it counts.
    """

    strength: float = 1.4
    weight: float = 2.0
    share: float = 0.05
    start: float = 0.25

    @property
    def text(self) -> str:
        """For people, and for telling one way from another: `1 x 3 in 5 % from 25 %`."""
        return f"{self.strength:g} x {self.weight:g} in {100 * self.share:g} % from {100 * self.start:g} %"


@contextmanager
def local_lora(backbone: Backbone, source: Path, local: Local, guidance: float) -> Iterator[LocalChange]:
    """Apply a LoRA locally to what the backbone generates while the block lasts. What is yielded has the `at_step` for
    `generate`, which must be given, and says where the LoRA counted in the last images.

    Its part for a text encoder is not used.

    Args:
        guidance: the scale of the guidance. Above 1 the network takes each image twice at a step, first all without the
            prompt, as diffusers' pipelines have it.
    """
    with backbone.lora(source, 0.0) as applied:
        change = LocalChange(applied, local, guidance)
        handle = backbone.network.register_forward_hook(change, with_kwargs=True)
        try:
            yield change
        finally:
            handle.remove()


class LocalChange:
    """A hook that lets a network predict each step a second time, with the LoRA."""

    def __init__(self, applied: AppliedLora, local: Local, guidance: float) -> None:
        self._applied, self._local, self._guidance = applied, local, guidance
        self._counts = self._inside = False
        self._places: list[Tensor] = []

    def at_step(self, done: float) -> None:
        if done == 0.0:
            self._places.clear()
        self._counts = done >= self._local.start

    def places(self, height: int, width: int) -> Tensor:
        """[B, 1, height, width] in 0..1: where it counted in most steps of the last images."""
        mean = torch.stack(self._places).mean(0)
        enlarged = interpolate(mean, (height, width), mode="bilinear", align_corners=False)
        return ((enlarged - FEW) / (MANY - FEW)).clamp(0, 1)

    def __call__(self, network: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any) -> Any:
        if not self._counts or self._inside:
            return None
        self._inside = True
        self._applied.set_strength(self._local.strength)
        try:
            changed = network(*args, **kwargs)
        finally:
            self._applied.set_strength(0.0)
            self._inside = False
        if isinstance(output, tuple):
            return (self._blend(output[0], changed[0]), *output[1:])
        output.sample = self._blend(output.sample, changed.sample)
        return output

    def _blend(self, plain: Tensor, changed: Tensor) -> Tensor:
        blended, places = counted_locally(plain, changed, self._local, self._guidance)
        self._places.append(places.cpu())
        return blended


def counted_locally(plain: Tensor, changed: Tensor, local: Local, guidance: float
                    ) -> tuple[Tensor, Tensor]:
    """(the prediction without a LoRA, and where it changes most what it changes; the weight of each place).

    Args:
        plain, changed: [B, C, H, W], the predictions without and with it. The weights are [B or B / 2, 1, H, W].
        guidance: the scale of the guidance. Above 1 the first half of the predictions is without the prompt. Where the
            change is largest is judged after guidance, which shows the mark more clearly.
    """
    difference = guided = (changed - plain).float()
    if guidance > 1:
        without, difference = difference.chunk(2)
        guided = without + guidance * (difference - without)
    size = guided.abs().mean(1, keepdim=True)
    side = max(1, round(NEAR * min(size.shape[-2:])) // 2 * 2 + 1)
    size = avg_pool2d(size, side, 1, side // 2, count_include_pad=False)
    edge = size.flatten(1).quantile(1 - local.share, dim=1)[:, None, None, None]
    places = torch.sigmoid((size - edge) / (SOFTNESS * edge).clamp_min(1e-8))
    counted = local.weight * places * difference
    return plain + torch.cat([counted] * (len(plain) // len(counted))).to(plain.dtype), places
