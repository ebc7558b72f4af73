"""Finds bars that do not belong to an image: letterboxes, pillarboxes and frames, which are plain strips with a
straight edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .crops import Box

Pixels = NDArray[np.float32]
Shares = NDArray[np.float64]

THINNEST, WIDEST = 0.012, 0.45
"""Limits of a bar's depth, as a share of the image's side."""
_LEVELS = 12
"""A pixel that differs from the bar by more than this, of 255 in any channel, is not part of the bar."""
_RINGING = 8
"""Width of one JPEG block in pixels; JPEG smears a bar's edge over at most that."""
_CLEAN, _RUNG, _OVER = 0.04, 0.35, 0.5
"""Largest share of a line that may differ from the bar: within it, where JPEG rings, and where it is still the bar."""
_LINES_AT_ONCE = 32
"""Lines compared in one call after the first few; most images end before, a letterbox takes some calls."""
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
        before = list(box)
        for axis in (1, 0):
            part = rgb[box[1]:box[3], box[0]:box[2]]
            lines = part if axis else part.swapaxes(0, 1)
            near, far = _bar(lines), _bar(lines[::-1])
            both = near.depth > 0 and far.depth > 0
            box[axis] += near.depth if both or (near.plain and near.clear) else 0
            box[axis + 2] -= far.depth if both or (far.plain and far.clear) else 0
        if box == before:
            break
    left, top, right, bottom = box
    return left, top, right, bottom


def _bar(lines: Pixels) -> _Bar:
    """The bar at the beginning of lines [N, L, 3]."""
    count = len(lines)
    least = max(1, round(THINNEST * count))
    if count < 8:
        return _Bar()
    colour = np.median(lines[:least].reshape(-1, 3), axis=0)
    differs = _shares_up_to_edge(lines, colour, least)
    depth = len(differs) - 2
    if depth < least or not _ends_at(lines, differs, depth):
        return _Bar()
    plain = bool(colour.max() <= _PLAIN[0] or colour.min() >= _PLAIN[1])
    inner = lines[depth + 2]
    if _apart(inner, np.median(inner, axis=0)).mean() < 4:
        # What follows is plain too, so this is a band of a drawn sky, unless the two differ like a bar and paper.
        if not plain or np.median(_apart(inner, colour)) < 60:
            return _Bar()
    return _Bar(depth, plain, bool(differs[depth + 1] >= 0.8))


def _shares_up_to_edge(lines: Pixels, colour: Pixels, least: int) -> Shares:
    """The share of each line that differs from `colour`, up to one line beyond the first of which half does.

    It ends early, empty, once no bar of `least` to WIDEST lines can follow: for most images at the first few lines, so
    the others are never looked at.
    """
    limit, soft = int(WIDEST * len(lines)), _soft_lines(lines)
    differs, at_once = np.empty(0), least
    while len(differs) <= limit and differs[: max(1, len(differs) - soft)].max(initial=0.0) <= _CLEAN:
        # One line more than are judged, because the line beyond the edge is returned too.
        more = _share_differing(lines[len(differs) : len(differs) + at_once + 1], colour)
        over = np.flatnonzero(more[:at_once] >= _OVER)
        if len(over):
            differs = np.concatenate([differs, more[: over[0] + 2]])
            return differs if len(differs) - 2 <= limit else np.empty(0)
        differs, at_once = np.concatenate([differs, more[:at_once]]), _LINES_AT_ONCE
    return np.empty(0)


def _share_differing(lines: Pixels, colour: Pixels) -> Shares:
    return (_apart(lines, colour) > _LEVELS).mean(1)


def _apart(pixels: Pixels, colour: Pixels) -> Pixels:
    """The largest difference in a channel [...] between pixels [..., 3] and a colour [3] or a line of them [3, L].
    Channel by channel, because a maximum over a last axis of three takes ten times as long."""
    red, green, blue = (np.abs(pixels[..., channel] - colour[channel]) for channel in range(3))
    return np.maximum(np.maximum(red, green), blue)


def _soft_lines(lines: Pixels) -> int:
    """Lines before a bar's edge that JPEG's ringing may touch."""
    return max(1, min(_RINGING, round(0.03 * len(lines))))


def _ends_at(lines: Pixels, differs: Shares, depth: int) -> bool:
    """Whether the bar ends there along a straight line and is clean up to it, apart from JPEG's ringing."""
    soft = _soft_lines(lines)
    clean = differs[: max(1, depth - soft)].max() <= _CLEAN
    rung = differs[max(0, depth - soft) : max(0, depth - 2)].max(initial=0.0) <= _RUNG
    if not (clean and rung and differs[depth + 1] >= 0.6):
        return False
    step = _apart(lines[max(0, depth - 2)], lines[depth + 1].T)
    return bool((step > _LEVELS).mean() >= 0.45)
