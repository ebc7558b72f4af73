"""Detects lettering in an image: a watermark, a signature, a caption. The text is not read.

Letters are parts that stand out from their surroundings, with similar height, stroke and contrast, side by side on one
line (after the letter chains of Epshtein, Ofek & Wexler, "Detecting Text in Natural Scenes with Stroke Width
Transform", CVPR 2010; the parts are found by local contrast instead of by stroke width).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from .components import Components, connected

Map = NDArray[np.float64]
Values = NDArray[np.float64]

SIDE = 512
"""The longer side of the copy that is searched; smaller images are enlarged up to twice, so that letters separate."""
LEAST_SIDE = 128
"""In images smaller than this, letters cannot be told from anything else."""
_WINDOWS = (28, 12)
"""Half widths of the surroundings, as fractions of the side."""
_MOST_PARTS = 2000
_WEIGHTS = {"letters": 0.52, "level": 1.35, "strokes_vary": -1.67, "contrast": 1.89, "uneven": -0.7,
            "heights_vary": -2.78, "thick": -7.48, "tall": -29.97, "crowd": -0.67}
_BIAS = -4.59
"""A logistic model that separates lines from chance chains, fitted to lettering planted on drawings and photographs."""


@dataclass(frozen=True)
class _Line:
    """The longest chain of letter-like parts, and how much it looks like a line of letters.

    Attributes:
        letters: number of letters; `level`: the share of them that stand on one line.
        strokes_vary, heights_vary: deviation as a share of the mean.
        contrast: log of the grey levels by which they stand out; `uneven`: deviation within a letter, as a share of
            that.
        thick: stroke divided by height; `tall`: height divided by the image's longer side.
        crowd: log of the number of letter-like parts per letter; grass is full of them.
    """

    letters: int
    level: float
    strokes_vary: float
    contrast: float
    uneven: float
    heights_vary: float
    thick: float
    tall: float
    crowd: float

    @property
    def score(self) -> float:
        return _BIAS + sum(weight * min(getattr(self, name), 10) for name, weight in _WEIGHTS.items())


def lettering(image: Image.Image) -> float | None:
    """How much the likeliest line looks like letters: log odds, above 0 for lettering. None if the image is too
    small."""
    if max(image.size) < LEAST_SIDE:
        return None
    scale = min(2.0, SIDE / max(image.size))
    grey = image.convert("L")
    if scale != 1:
        width, height = (max(8, round(side * scale)) for side in image.size)
        grey = grey.resize((width, height), Image.Resampling.BICUBIC)
    layers = _layers(np.asarray(grey))
    return max((line.score for stands_out, contrast in layers if (line := _longest_line(stands_out, contrast))),
               default=_BIAS)


def _layers(grey: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.bool_], Values]]:
    """(mask of what stands out, by how much inside the mask, row by row): brighter or darker than the surroundings, and
    nearly white or black."""
    turned = np.ascontiguousarray(grey.T)
    squares = np.square(turned, dtype=np.uint16)
    for parts in _WINDOWS:
        radius = max(6, round(max(grey.shape) / parts))
        mean, least = _box_mean(turned, radius), _box_mean(squares, radius)
        # In place, because fresh memory for each step takes longer than the step.
        least -= mean * mean
        np.sqrt(np.maximum(least, 0, out=least), out=least)
        np.maximum(np.multiply(least, 0.8, out=least), 10, out=least)
        over = np.subtract(grey, mean, out=mean)
        brighter = over > least
        yield brighter, over[brighter]
        darker = over < np.negative(least, out=least)
        yield darker, -over[darker]
    white, black = grey > 248, grey < 8
    yield white, grey[white].astype(np.float64) - 190
    yield black, 70 - grey[black].astype(np.float64)


def _box_mean(turned: NDArray[np.unsignedinteger], radius: int) -> Map:
    """[H, W] the mean of the square around each of the values [W, H].

    Both filters run along rows, because scipy takes five times as long to go down columns. Between them the rows lie a
    cache line further apart: a column of rows that are a power of two apart shares one place in the processor's cache,
    and takes four times as long to copy.
    """
    width, height = turned.shape
    down = np.empty((width, height + 8))[:, :height]
    ndimage.uniform_filter1d(turned, 2 * radius + 1, output=down, mode="nearest")
    mean = np.ascontiguousarray(down.T)
    return ndimage.uniform_filter1d(mean, 2 * radius + 1, output=mean, mode="nearest")


@dataclass(frozen=True)
class _Letters:
    """Letter-like parts, from left to right."""

    left: NDArray
    top: NDArray
    right: NDArray
    bottom: NDArray
    height: NDArray
    stroke: NDArray
    contrast: NDArray
    uneven: NDArray


def _longest_line(mask: NDArray[np.bool_], contrast: Values) -> _Line | None:
    parts = connected(mask)
    if len(parts) < 3:
        return None
    letters = _letter_like(parts, contrast, mask.shape)
    if len(letters.left) < 3:
        return None
    chain = _chain(_neighbours(letters))
    if len(chain) < 3:
        return None
    height, stroke = letters.height[chain], letters.stroke[chain]
    middle = float(np.median(height))
    off_line = np.abs(letters.bottom[chain] - np.median(letters.bottom[chain]))
    return _Line(
        len(chain), float((off_line <= max(1, 0.12 * middle)).mean()), float(stroke.std() / stroke.mean()),
        float(np.log(np.median(letters.contrast[chain]))), float(np.median(letters.uneven[chain])),
        float(height.std() / height.mean()), float(np.median(stroke / height)), middle / max(mask.shape),
        float(np.log(len(letters.left) / len(chain))))


def _letter_like(parts: Components, values: Values, shape: tuple[int, ...]) -> _Letters:
    """The parts with the size, slimness and even tone of letters. `values`: the contrast inside the mask, row by
    row."""
    starts = np.concatenate([[0], np.cumsum(parts.run_end - parts.run_start)[:-1]])

    def mean(of: Values) -> Values:
        return np.bincount(parts.run_part, np.add.reduceat(of, starts), len(parts)) / parts.area

    contrast = mean(values)
    uneven = np.sqrt(np.maximum(mean(values * values) - contrast**2, 0)) / np.maximum(contrast, 1)
    height, width = parts.bottom - parts.top, parts.right - parts.left
    stroke, fill = parts.area / parts.runs, parts.area / (height * width)
    inside = (parts.left > 0) & (parts.top > 0) & (parts.right < shape[1]) & (parts.bottom < shape[0])
    sized = (height >= 7) & (height <= 0.2 * max(shape)) & (width <= 1.5 * height) & (width >= 0.08 * height)
    drawn = (stroke <= 0.5 * height) & (stroke >= 0.05 * height) & (fill >= 0.18) & (fill <= 0.95) & (uneven <= 0.6)
    found = np.nonzero(inside & sized & drawn & (parts.area >= 8))[0]
    found = found[np.argsort(parts.left[found], kind="stable")][:_MOST_PARTS]
    return _Letters(*(values[found] for values in (parts.left, parts.top, parts.right, parts.bottom, height, stroke,
                                                   contrast, uneven)))


def _neighbours(letters: _Letters) -> NDArray[np.bool_]:
    """[N, N] whether the second may follow the first on a line."""
    def larger(values: NDArray) -> NDArray:
        return np.maximum(values[:, None], values)

    def smaller(values: NDArray) -> NDArray:
        return np.minimum(values[:, None], values)

    high, low = larger(letters.height), smaller(letters.height)
    gap = letters.left[None] - letters.right[:, None]
    near = (gap > -0.25 * low) & (gap < 0.8 * high) & (letters.left[None] > letters.left[:, None])
    slack = np.maximum(1, 0.12 * high)
    level = (np.abs(letters.bottom[:, None] - letters.bottom) <= slack) | (
        np.abs(letters.top[:, None] - letters.top) <= slack)
    alike = (high <= 1.9 * low) & (larger(letters.stroke) <= 1.8 * smaller(letters.stroke) + 0.5) & (
        larger(letters.contrast) <= 1.7 * smaller(letters.contrast))
    return near & level & alike


def _chain(follows: NDArray[np.bool_]) -> Sequence[int]:
    """The longest chain. The parts are sorted from left to right, so one pass finds it."""
    count = len(follows)
    length, before = np.ones(count, dtype=int), np.full(count, -1)
    for place in np.nonzero(follows.any(0))[0]:
        earlier = np.nonzero(follows[:, place])[0]
        before[place] = earlier[np.argmax(length[earlier])]
        length[place] = length[before[place]] + 1
    chain = [int(np.argmax(length))]
    while before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    return chain[::-1]
