"""How much of a style an image has, from pixels alone: colours, tones, lines and the sizes of its details.

A stand-in for a style embedding such as CSD (arXiv:2404.01292), which needs a model: figures in the manner of texture
analysis (Heeger and Bergen 1995). Which of them a style changes is learnt from the LoRAs themselves, from images of the
same prompts and seeds with the style alone, the character alone, and neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pictures.filters import rgb_to_lab
from .pixels import resize_pixels

SIDE, OCTAVES, AT_ONCE = 256, 6, 32
LEAST_CHANGE = 0.2
"""In the figures' units. A style that moves no figure further than this is not measured."""
LEAST_APART = 0.15
"""Least part of the style's change by which the style alone must differ from the character alone."""
_SPREAD, _CHARACTER = 0.3, 0.05
"""Floors of the variances that divide a figure's weight, because two or three images may have no variance by chance."""


def style_figures(pixels: Tensor) -> Tensor:
    """[B, D] figures of how images [B, 3, H, W] are drawn, in units in which 1 is a clear difference.

    Positions are ignored, so pose and composition hardly count. Images are compared at SIDE pixels square.
    """
    return torch.cat([_figures(resize_pixels(batch, SIDE)) for batch in pixels.split(AT_ONCE)])


def _figures(pixels: Tensor) -> Tensor:
    lab = rgb_to_lab(pixels)
    lightness, chroma = lab[:, :1], lab[:, 1:].norm(dim=1, keepdim=True)
    return torch.cat([_tones(lightness), _colours(lab[:, 1:], chroma), _details(lightness), _details(chroma),
                      _edges(lightness), _ink(lightness)], dim=1)


def _quantiles(values: Tensor, *shares: float) -> Tensor:
    return values.flatten(1).quantile(torch.tensor(shares, device=values.device), dim=1).T


def _tones(lightness: Tensor) -> Tensor:
    """The position and the spread of the tones."""
    return torch.cat([_quantiles(lightness, 0.02, 0.1, 0.3, 0.5, 0.7, 0.95),
                      lightness.flatten(1).std(1, keepdim=True)], dim=1) / 15


def _colours(opponents: Tensor, chroma: Tensor) -> Tensor:
    """The mean hue and the colourfulness."""
    return torch.cat([opponents.flatten(2).mean(2), _quantiles(chroma, 0.3, 0.6, 0.9),
                      chroma.flatten(1).mean(1, keepdim=True)], dim=1) / 12


def _details(channel: Tensor) -> Tensor:
    """Energy by the size of the details: the logarithms of a Laplacian pyramid."""
    bands = []
    for _ in range(OCTAVES):
        smaller = F.avg_pool2d(channel, 2)
        back = F.interpolate(smaller, size=channel.shape[-2:], mode="bilinear", align_corners=False)
        bands.append((channel - back).pow(2).flatten(1).mean(1))
        channel = smaller
    return (torch.stack(bands, dim=1) + 0.5).log() / 0.7


def _edges(lightness: Tensor) -> Tensor:
    """Shares of flat areas and of edges, how hard the edges are, and whether they run along the pixel grid."""
    down, across = lightness.diff(dim=2)[..., :-1], lightness.diff(dim=3)[:, :, :-1]
    steep = (down.pow(2) + across.pow(2)).sqrt()
    share = torch.stack([(steep > limit).float().flatten(1).mean(1) for limit in (1.0, 5.0, 20.0)], dim=1)
    slanted = (down * across).abs().sqrt().flatten(1).mean(1) / steep.flatten(1).mean(1).clamp(min=1e-4)
    return torch.cat([(share + 0.01).log() / 0.5, slanted[:, None] / 0.08,
                      (_quantiles(steep, 0.9, 0.99) + 1).log() / 0.4], dim=1)


def _ink(lightness: Tensor) -> Tensor:
    """How much is far darker than its surroundings, as lines are, and how much is far lighter."""
    side = SIDE // 14 | 1
    above = F.avg_pool2d(lightness, side, 1, side // 2, count_include_pad=False) - lightness
    return torch.stack([(above > 12).float().flatten(1).mean(1), (above < -12).float().flatten(1).mean(1)],
                       dim=1) / 0.05


@dataclass(frozen=True)
class StyleScale:
    """What a style changes. 0 is an image with the character alone; 1 is as far from it as the style alone.

    Attributes:
        direction: [D] the direction in which the style moves each figure, weighted by how reliable that is: the same in
            all images, and different from what the character does.
        whole: distance between the style alone and the character alone along `direction`.
    """

    direction: Tensor
    whole: float

    @classmethod
    def learnt(cls, neither: Tensor, style: Tensor, character: Tensor) -> StyleScale | None:
        """From `style_figures` [N, D] of images with neither LoRA, with the style alone and with the character alone.

        Rows correspond by prompt and seed. Returns None if the style changes nothing that the figures show, or if the
        character alone shows as much of it.
        """
        by_style, by_character = style - neither, character - neither
        change = by_style.mean(0)
        if change.abs().max() < LEAST_CHANGE:
            return None
        spread = (by_style - change).pow(2).mean(0) + (by_character - by_character.mean(0)).pow(2).mean(0) + _SPREAD
        trust = change.pow(2) / (by_style.pow(2).mean(0) + by_character.pow(2).mean(0) + _CHARACTER)
        direction = change.sign() * trust**1.5 / spread.sqrt()  # with the change squared one figure would dominate
        whole = ((style - character) @ direction).mean().item()
        return cls(direction, whole) if whole > LEAST_APART * (change @ direction).item() else None

    def share(self, pictures: Tensor, character: Tensor) -> Tensor:
        """[M] the style's share in 0..1, from figures [M, D]. `character` [M, D]: the same prompts and seeds with the
        character alone."""
        return ((pictures - character) @ self.direction / self.whole).clamp(0, 1)
