"""Artefacts that a LoRA or a decoder leaves, from pixels alone: noise, stripes, banding and lost sharpness.

Each figure is compared with that of the same prompt and seed without the LoRA, because a style may want any of them.
Noise: Immerkær, "Fast Noise Variance Estimation" (1996), in the calmest places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pictures.filters import rgb_to_grayscale

_NOISE = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]])[None, None]
_EDGES = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
_BLOCK, _CALM = 8, 0.2
_SLOPE = 8
"""Pixels over which a gradient is looked at."""
_GRADIENT = (3, 40)
"""Levels of 255 by which a gradient changes over them: less is flat, more is an edge."""
_LEAST_GRADIENTS = 0.02
_STRONGEST = 0.95
_WAVES = 4


def noise(pixels: Tensor) -> Tensor:
    """[B] standard deviation of the noise in the calmest fifth of the image, in levels of 255."""
    rough = F.avg_pool2d(F.conv2d(rgb_to_grayscale(pixels), _NOISE).abs(), _BLOCK).flatten(1)
    return torch.quantile(rough, _CALM, dim=1) * 255 * math.sqrt(math.pi / 2) / 6


def stripes(pixels: Tensor) -> Tensor:
    """[B] amplitude of the strongest wave that runs through whole rows or columns, above its other waves, in levels of
    255. A single bar has many waves that are nearly as strong."""
    grey = rgb_to_grayscale(pixels)
    fine = (grey - F.avg_pool2d(grey, 5, 1, 2, count_include_pad=False))[:, 0]
    waves = []
    for line in (fine.median(2).values, fine.median(1).values):
        strengths = torch.fft.rfft(line - line.mean(1, keepdim=True)).abs() * 2 / line.shape[1]
        first = strengths.topk(_WAVES, dim=1).values
        waves.append(first[:, 0] - first[:, -1])
    return torch.maximum(*waves) * 255


def banding(pixels: Tensor) -> Tensor:
    """[B] in 0..1: the share of a gradient's change that is in its largest step; NaN where nothing is a gradient."""
    levels = (pixels * 255).round()
    steps = levels.diff(dim=3).abs().amax(1)
    change = (levels[..., _SLOPE:] - levels[..., :-_SLOPE]).abs().amax(1)
    windows = steps.unfold(2, _SLOPE, 1)
    share = windows.amax(-1) / windows.sum(-1).clamp(min=1)
    gradient = (change > _GRADIENT[0]) & (change < _GRADIENT[1])
    there = gradient.flatten(1).float().mean(1) > _LEAST_GRADIENTS
    mean = (share * gradient).flatten(1).sum(1) / gradient.flatten(1).sum(1).clamp(min=1)
    return mean.where(there, torch.tensor(float("nan")))


def edge_sharpness(pixels: Tensor) -> Tensor:
    """[B] bend of the strongest edges relative to their slope: about 0.6 if they are one pixel wide."""
    grey = rgb_to_grayscale(pixels)
    across = grey[:, 0, 1:-1, 2:] - grey[:, 0, 1:-1, :-2]
    down = grey[:, 0, 2:, 1:-1] - grey[:, 0, :-2, 1:-1]
    slope, bend = torch.hypot(across, down).flatten(1), F.conv2d(grey, _EDGES)[:, 0].abs().flatten(1)
    strong = slope >= torch.quantile(slope, _STRONGEST, dim=1, keepdim=True)
    return (bend * strong).sum(1) / (slope * strong).sum(1).clamp(min=1e-4)


Fault = Callable[[Tensor, Tensor], Tensor]
FAULTS: Mapping[str, tuple[Callable[[Tensor], Tensor], Fault]] = {
    "noise": (noise, lambda own, without: own > without + 2.5),
    "stripes": (stripes, lambda own, without: own > without + 2.5),
    "banding": (banding, lambda own, without: own > without + 0.12),
    "smoothing": (edge_sharpness, lambda own, without: own < 0.6 * without),
}
"""Fault → (its figure, whether it is one beside the figure without the LoRA). NaN is none."""


def find_faults(pixels: Tensor, without: Tensor) -> dict[str, list[bool]]:
    """For each fault, which of the images [B, 3, H, W] have it and not already without the LoRA [B, 3, H, W]."""
    return {name: is_fault(figure(pixels), figure(without)).tolist() for name, (figure, is_fault) in FAULTS.items()}
