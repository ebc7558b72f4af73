"""Finds an image's subject without a learned model: what cannot be reached from the border without crossing an edge
(minimum barrier distance: Zhang et al., "Minimum Barrier Salient Object Detection at 80 FPS", ICCV 2015), and where its
detail is (centre-surround contrast: Itti, Koch & Niebur, 1998). Works on drawings and photographs.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Map = NDArray[np.float64]

WORK_SIDE = 72
"""The longer side of the small copy that is analysed. The head of a full figure then still has some 20 pixels."""
_ALIKE = 0.12
"""Greatest distance, in opponent colours, at which two colours count as the same background."""
_NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))


@dataclass(frozen=True)
class Saliency:
    """Maps of the small copy, [H, W], each in 0..1.

    Attributes:
        subject: how much a place stands out from the surroundings at the border.
        mask: where the subject is, as 0 or 1.
        detail: how much colour changes there.
        skin: how near the colour is to skin, in photographs and in drawings.
        box: (left, top, right, bottom) of the subject, in pixels of the small copy.
    """

    subject: Map
    mask: Map
    detail: Map
    skin: Map
    box: tuple[int, int, int, int]


def find_subject(image: Image.Image) -> Saliency:
    """The maps of an RGB image. If nothing stands out, the whole image is the subject."""
    scale = WORK_SIDE / max(image.size)
    width, height = (max(4, round(side * scale)) for side in image.size)
    small = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BOX), dtype=np.float64) / 255
    colour = _opponent(small)
    subject = _unit(_measure_barriers(colour) * _weigh_middle(colour.shape[:2]))
    mask = _main_part(subject)
    return Saliency(subject, mask, _detail(colour), _skin(small), _box_of(mask))


def _opponent(rgb: Map) -> Map:
    """Lightness, red against green, yellow against blue; distances roughly match perception."""
    red, green, blue = np.moveaxis(np.sqrt(rgb), -1, 0)
    return np.stack([(red + green + blue) / 3, (red - green) / 2, (red + green) / 4 - blue / 2], axis=-1)


def _measure_barriers(colour: Map) -> Map:
    """Mean of two barrier maps: from all four borders, and from all but the lower one, which a figure often touches.

    A figure that is cut off at the bottom may also fill the lower corners. So these count as surroundings in the second
    map only if they look alike, as ground or a floor does.
    """
    height, width = colour.shape[:2]
    corner = max(1, height // 8), max(1, width // 12)
    left, right = colour[-corner[0]:, :corner[1]], colour[-corner[0]:, -corner[1]:]
    alike = np.abs(np.median(left, (0, 1)) - np.median(right, (0, 1))).sum() < _ALIKE
    top = [(0, x) for x in range(width)]
    sides = [(y, x) for y in range(height) for x in (0, width - 1)]
    upper_sides = sides if alike else [(y, x) for y, x in sides if y < height * 2 // 3]
    bottom = [(height - 1, x) for x in range(width)]
    return (_unit(_barrier(colour, top + upper_sides)) + _unit(_barrier(colour, top + sides + bottom))) / 2


def _barrier(colour: Map, seeds: list[tuple[int, int]]) -> Map:
    """For each place, the least spread of colours (highest minus lowest, summed over channels) on any path from a seed
    to it. It is found by Dijkstra's algorithm, which is a close approximation for this cost."""
    height, width = colour.shape[:2]
    pixels = colour.tolist()
    reached = np.full((height, width), np.inf)
    queue = [(0.0, y, x, pixels[y][x], pixels[y][x]) for y, x in seeds]
    for _, y, x, *_ in queue:
        reached[y, x] = 0.0
    best = reached.tolist()
    heapq.heapify(queue)
    while queue:
        cost, y, x, low, high = heapq.heappop(queue)
        if cost > best[y][x]:
            continue
        for dy, dx in _NEIGHBOURS:
            ny, nx = y + dy, x + dx
            if not (0 <= ny < height and 0 <= nx < width):
                continue
            a, b, c = pixels[ny][nx]
            lower = [min(low[0], a), min(low[1], b), min(low[2], c)]
            higher = [max(high[0], a), max(high[1], b), max(high[2], c)]
            spread = higher[0] - lower[0] + higher[1] - lower[1] + higher[2] - lower[2]
            if spread < best[ny][nx]:
                best[ny][nx] = spread
                heapq.heappush(queue, (spread, ny, nx, lower, higher))
    return np.array(best)


def _detail(colour: Map) -> Map:
    total = sum(np.abs(_blur(colour, small) - _blur(colour, large)).sum(-1)
                for small, large in ((0, 2), (1, 4), (2, 8)))
    return _unit(_blur(total[..., None], 1)[..., 0])


def _skin(rgb: Map) -> Map:
    """Chroma near that of skin, which varies little (YCbCr, Cr about 150 and Cb about 110 of 255), if not too dark."""
    red, green, blue = np.moveaxis(rgb * 255, -1, 0)
    cb = 128 - 0.169 * red - 0.331 * green + 0.5 * blue
    cr = 128 + 0.5 * red - 0.419 * green - 0.081 * blue
    light = np.clip((0.299 * red + 0.587 * green + 0.114 * blue - 40) / 60, 0, 1)
    return light * np.exp(-(((cb - 110) / 12) ** 2 + ((cr - 148) / 12) ** 2) / 2)


def _blur(values: Map, radius: int) -> Map:
    """Mean over a square of 2 radius + 1, edges repeated; [H, W, C]."""
    side = 2 * radius + 1
    return ndimage.uniform_filter(values, (side, side, 1), mode="nearest")


def _weigh_middle(shape: tuple[int, ...]) -> Map:
    """A mild preference for the middle, where subjects mostly are."""
    y, x = (np.linspace(-1, 1, side) for side in shape)
    return np.exp(-0.5 * (x[None, :] ** 2 + 0.6 * y[:, None] ** 2))


def _unit(values: Map) -> Map:
    """The values scaled to 0..1 by the 98th percentile, so that one bright dot does not dim the rest."""
    top = np.percentile(values, 98) or values.max()
    return np.clip(values / top, 0, 1) if top > 1e-3 else np.zeros_like(values)


def _threshold(values: Map) -> float:
    """The value that best divides the histogram into two classes (Otsu, 1979)."""
    counts, edges = np.histogram(values, bins=64, range=(0, 1))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    mean_below = np.cumsum(counts * middles) / np.maximum(below, 1)
    mean_above = (np.sum(counts * middles) - np.cumsum(counts * middles)) / np.maximum(above, 1)
    return float(edges[1 + int(np.argmax(below * above * (mean_below - mean_above) ** 2))])


def _main_part(subject: Map) -> Map:
    """The heaviest connected part above the threshold, with others that are not much lighter."""
    if subject.max() == 0:
        return np.ones_like(subject)
    # Around a subject on a plain background nothing stands out, so even the faintest difference belongs to the subject.
    margin = max(1, min(subject.shape) // 12)
    rim = np.concatenate([subject[:margin].ravel(), subject[:, :margin].ravel(), subject[:, -margin:].ravel()])
    level = np.clip(2 * np.percentile(rim, 75), 0.06, max(0.06, 0.4 * _threshold(subject)))
    labels, count = ndimage.label(subject >= level)
    weights = ndimage.sum_labels(subject, labels, range(1, count + 1))
    return np.isin(labels, 1 + np.flatnonzero(weights >= 0.2 * weights.max())).astype(subject.dtype)


def _box_of(mask: Map) -> tuple[int, int, int, int]:
    """The box of all but the outermost few thousandths of the mask on each side."""
    spans = []
    for axis in (0, 1):
        share = np.cumsum(mask.sum(axis)) / mask.sum()
        spans.append((int(np.searchsorted(share, 0.004)), int(np.searchsorted(share, 0.996)) + 1))
    (left, right), (top, bottom) = spans
    return left, top, right, bottom
