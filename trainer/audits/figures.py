"""What an audit measures in one image, from pixels alone. `checks` judges the figures.

A figure is measured on the image as it will be trained (shrunk to the family's resolution, never enlarged), except for
JPEG blocks, which only the file's own pixels show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..pictures.borders import content_box
from ..pictures.components import connected
from ..pictures.crops import Box
from ..pictures.filters import rgb_to_lab
from ..pictures.images import to_tensor
from ..pictures.lettering import lettering

Map = NDArray[np.float32]

FIGURES_VERSION = 1
"""Increased whenever the meaning of a figure changes; cached figures are then measured again."""
TILES = 8
_SMALL = 128
"""The longer side, in pixels, of the copy that colours are read from."""
_BORDERS_SIDE = 512
_BLOCK = 8
_BLOCKING_PART = 1024
"""Blocks are searched for in the middle of the image, on at most this many pixels a side."""
_STRONG_EDGE = 40
"""Steps of more grey levels than this count as what the image shows, not as a block's edge."""


@dataclass(frozen=True)
class Figures:
    """What was measured in one image; None: could not be measured.

    Attributes:
        edge_width: sigma, in trained pixels, of the blur that its sharper edges look like; 0.5 is as sharp as can be.
            None for an image without edges.
        dark: lightness L* (0..100) that all but the brightest twentieth of the pixels stay below.
        bright: lightness that all but the darkest twentieth stay above.
        blown: share of pixels that are white or black, in areas that do not touch the image's rim.
        burn: log odds of colours driven to their limits.
        blocking: how much edges of 8 x 8 blocks stand out; 0: not at all, 1: as at JPEG quality 50.
        border: share of the image that is bars around it.
        lettering: log odds of lettering.
        chroma: mean CIELAB chroma.
        cast_a, cast_b: CIELAB a* and b* of its most neutral tones; None if it has none.
    """

    edge_width: float | None
    dark: float
    bright: float
    blown: float
    burn: float
    blocking: float
    border: float
    lettering: float | None
    chroma: float
    cast_a: float | None
    cast_b: float | None


def measure(image: Image.Image, resolution: int) -> Figures:
    """The figures of an upright RGB image that will be trained at `resolution`² pixels."""
    work = trained_copy(image, resolution)
    box = _content(work)
    inner = work.crop(box)
    small = inner.resize(_within(inner.size, _SMALL), Image.Resampling.BOX)
    lab = _lab(small)
    lightness, cast = lab[0].ravel(), neutral_tone(lab)
    return Figures(
        edge_width=edge_width(np.asarray(inner.convert("L"), dtype=np.float32)),
        dark=float(np.percentile(lightness, 95)), bright=float(np.percentile(lightness, 5)),
        blown=blown(small), burn=burn(small, np.hypot(*lab[1:])),
        blocking=trained_blocking(image, resolution),
        border=1 - inner.width * inner.height / (work.width * work.height),
        lettering=lettering(work), chroma=float(np.hypot(*lab[1:]).mean()),
        cast_a=cast and cast[0], cast_b=cast and cast[1],
    )


def trained_copy(image: Image.Image, resolution: int) -> Image.Image:
    """The image at the area it is trained at; a smaller one is left unchanged."""
    size = _trained_size(image.size, resolution)
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3)


def _trained_size(size: tuple[int, int], resolution: int) -> tuple[int, int]:
    scale = min(1.0, resolution / math.sqrt(size[0] * size[1]))
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def _content(image: Image.Image) -> Box:
    """The box inside the bars; searched for in a smaller copy, in which bars are just as straight."""
    small = image.resize(_within(image.size, _BORDERS_SIDE), Image.Resampling.BOX)
    box = content_box(np.asarray(small, dtype=np.float32))
    scale = (image.width / small.width, image.height / small.height) * 2
    left, top, right, bottom = (round(place * factor) for place, factor in zip(box, scale, strict=True))
    return left, top, right, bottom


def _within(size: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size))
    width, height = (max(1, round(length * scale)) for length in size)
    return width, height


def _lab(image: Image.Image) -> Map:
    with torch.no_grad():
        return rgb_to_lab(to_tensor(image)[None])[0].numpy()


def _middle(image: Image.Image) -> Map:
    width, height = (min(side, _BLOCKING_PART) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)).convert("L"), dtype=np.float32)


def edge_width(grey: Map) -> float | None:
    """Sigma in pixels of the blur of the sharper edges of [H, W] in 0..255; None without edges.

    For a step blurred by sigma, the energy of the first differences is 2 sigma² times that of the second, whatever
    its contrast. That ratio is measured in tiles; the sharpest quarter of the half with most edges decides, so a
    subject in focus before a blurred background is sharp. (The variance of the Laplacian alone, Pech-Pacheco 2000, says
    more about an image's contrast and detail than about its blur; see bench.audit.)
    """
    height, width = (side // TILES for side in grey.shape)
    if min(height, width) < 3:
        return None
    first, second = np.zeros_like(grey), np.zeros_like(grey)
    across, down = np.diff(grey, axis=1), np.diff(grey, axis=0)
    first[:, :-1] += across**2
    first[:-1] += down**2
    second[:, 1:-1] += np.diff(across, axis=1) ** 2
    second[1:-1] += np.diff(down, axis=0) ** 2
    steps, bends, moving = (part[: height * TILES, : width * TILES].reshape(TILES, height, TILES, width).sum((1, 3))
                            for part in (first, second, (first + second) > 0))
    # Rounding to whole grey levels adds noise of variance 1/12 to each pixel that is not in a flat area: 2 x 2/12 to
    # the first sum, 2 x 6/12 to the second.
    steps, bends = steps - moving / 3, bends - moving
    edges = (steps >= np.median(steps)) & (steps > height * width)
    if not edges.any():
        return None
    steps, bends = steps[edges], bends[edges]
    return float(np.percentile(np.sqrt(steps / (2 * np.maximum(bends, 0.02 * steps))), 25))


def blown(image: Image.Image) -> float:
    """Share of the image that is white or black in areas that do not touch its rim, as paper and night do."""
    low, high = _channel_extremes(image)
    share = 0.0
    for clipped in (low >= 252, high <= 3):
        parts = connected(clipped)
        inside = (parts.left > 0) & (parts.top > 0) & (parts.right < image.width) & (parts.bottom < image.height)
        share += parts.area[inside].sum() / clipped.size
    return float(share)


def burn(image: Image.Image, chroma: Map) -> float:
    """Log odds that colours were driven to their limits: of the coloured pixels, the shares with a channel at zero and
    with one only at the top, and how colourful the most colourful tenth is (`chroma`, CIELAB). A logistic model, fitted
    to drawings and photographs before and after saturation, contrast, and sharpening."""
    low, high = _channel_extremes(image)
    coloured = high - low > 60
    at_zero = coloured & (low <= 2)
    at_top = coloured & (high >= 253) & ~at_zero
    zero, top = (part.mean() / (coloured.mean() + 0.05) for part in (at_zero, at_top))
    return float(12.5 * zero + 4.75 * top + 0.0655 * np.percentile(chroma, 90) - 8.9)


def _channel_extremes(image: Image.Image) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(the lowest, the highest) channel [H, W] of an RGB image."""
    red, green, blue = (np.asarray(plane) for plane in image.split())
    return np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)


def trained_blocking(image: Image.Image, resolution: int) -> float:
    """`blocking` of an RGB image; 0 if training at `resolution`² pixels shrinks its blocks to less than four pixels,
    which are not visible."""
    shrunk = max(image.size) / max(_trained_size(image.size, resolution))
    return blocking(_middle(image)) if shrunk <= 2 else 0.0


def blocking(grey: Map) -> float:
    """How much more the steps at one phase of an 8-pixel grid that repeats across and down bend than all others.

    After Wang, Bovik & Evans, "Blind measurement of blocking artifacts in images" (ICIP 2000), in the pixel domain.
    A mosaic, whose cells are perfectly even, does not count as JPEG blocks.
    """
    if min(grey.shape) < 4 * _BLOCK:
        return 0.0
    return math.sqrt(_grid_excess(grey) * _grid_excess(grey.T))


def _grid_excess(lines: Map) -> float:
    steps = np.diff(lines, axis=1)
    weak = np.abs(steps) <= _STRONG_EDGE
    bend = np.abs(steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2)
    counted = weak[:, :-2] & weak[:, 1:-1] & weak[:, 2:]
    sums, counts = (bend * counted).sum(0), counted.sum(0)
    phases = np.array([sums[k::_BLOCK].sum() / max(1, counts[k::_BLOCK].sum()) for k in range(_BLOCK)])
    # The phases beside the grid's own get half of its step.
    highest, *rest = np.roll(phases, -int(phases.argmax()))[[0, 2, 3, 4, 5, 6]]
    if max(rest) <= 0.02 * highest:
        return 0.0
    return float((highest - max(rest)) / (np.mean(rest) + 0.3))


def neutral_tone(lab: Map) -> tuple[float, float] | None:
    """(a*, b*) of the least coloured hundredth of what is neither dark nor white in CIELAB [3, H, W]; None if there is
    too little of that."""
    lightness, a, b = (channel.ravel() for channel in lab)
    tones = (lightness > 35) & (lightness < 99)
    if tones.sum() < max(16, 0.02 * len(lightness)):
        return None
    chroma = np.hypot(a[tones], b[tones])
    least = chroma <= np.quantile(chroma, 0.01)
    return float(a[tones][least].mean()), float(b[tones][least].mean())
