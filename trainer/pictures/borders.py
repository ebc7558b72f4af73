"""Finds bars that do not belong to an image: letterboxes, pillarboxes and frames, which are plain strips with a
straight edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .crops import Box

Pixels = NDArray[np.float32]

THINNEST, WIDEST = 0.012, 0.45
"""Limits of a bar's depth, as a share of the image's side."""
_LEVELS = 12
"""A pixel that differs from the bar by more than this, of 255 in any channel, is not part of the bar."""
_RINGING = 8
"""Width of one JPEG block in pixels; JPEG smears a bar's edge over at most that."""
_PLAIN = (20, 235)
"""A bar is black up to the first level, and white from the second."""


@dataclass(frozen=True)
class _Bar:
    depth: int = 0
    plain: bool = False
    """Black or white."""
    clear: bool = False
    """Whether nearly the whole line beyond it differs from it."""


def content_box(rgb: Pixels) -> Box:
    """The box inside the bars of an image [H, W, 3] in 0..255; the whole image if it has no bars.

    A bar on one side only counts if it is black or white and its edge is clear, because drawn skies also have bands.
    """
    box = [0, 0, rgb.shape[1], rgb.shape[0]]
    for _ in range(2):  # bars of two colours may lie inside one another
        for axis in (1, 0):
            part = rgb[box[1]:box[3], box[0]:box[2]]
            lines = part if axis else part.swapaxes(0, 1)
            near, far = _bar(lines), _bar(lines[::-1])
            both = near.depth > 0 and far.depth > 0
            box[axis] += near.depth if both or (near.plain and near.clear) else 0
            box[axis + 2] -= far.depth if both or (far.plain and far.clear) else 0
    left, top, right, bottom = box
    return left, top, right, bottom


def _bar(lines: Pixels) -> _Bar:
    """The bar at the beginning of lines [N, L, 3]."""
    count = len(lines)
    least = max(1, round(THINNEST * count))
    if count < 8:
        return _Bar()
    colour = np.median(lines[:least].reshape(-1, 3), axis=0)
    differs = (np.abs(lines - colour).max(2) > _LEVELS).mean(1)
    depth = int(np.argmax(differs >= 0.5))
    if not least <= depth <= WIDEST * count or not _ends_at(lines, differs, depth):
        return _Bar()
    plain = bool(colour.max() <= _PLAIN[0] or colour.min() >= _PLAIN[1])
    inner = lines[depth + 2]
    if np.abs(inner - np.median(inner, axis=0)).max(1).mean() < 4:
        # What follows is plain too, so this is a band of a drawn sky, unless the two differ like a bar and paper.
        if not plain or np.median(np.abs(inner - colour).max(1)) < 60:
            return _Bar()
    return _Bar(depth, plain, bool(differs[depth + 1] >= 0.8))


def _ends_at(lines: Pixels, differs: NDArray[np.float64], depth: int) -> bool:
    """Whether the bar ends there along a straight line and is clean up to it, apart from JPEG's ringing."""
    soft = max(1, min(_RINGING, round(0.03 * len(lines))))
    clean = differs[: max(1, depth - soft)].max() <= 0.04
    rung = differs[max(0, depth - soft) : max(0, depth - 2)].max(initial=0.0) <= 0.35
    if not (clean and rung and differs[depth + 1] >= 0.6):
        return False
    step = np.abs(lines[max(0, depth - 2)] - lines[depth + 1]).max(1)
    return bool((step > _LEVELS).mean() >= 0.45)
