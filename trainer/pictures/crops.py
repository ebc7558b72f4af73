"""One image → several training crops: the whole, the upper body, the face, then the parts with most to see.

There is no learned detector here. `saliency.py` separates the subject from its surroundings, the face is where the
upper part of the subject has most detail and skin, and the regions are those with most of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..common.errors import UserError
from .saliency import Map, Saliency, find_subject

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels of the upright image; right and bottom are exclusive."""

MAX_CROPS = 16
MAX_OVERLAP = 0.9
"""Two crops whose intersection is at least this share of their union count as the same."""
MIN_SIDE = 16
_FACE_SIZES = (0.24, 0.3, 0.36, 0.43, 0.5, 0.58)
"""Sides of the windows in which a face is sought, as shares of the subject's height or width, whichever is less."""
_REGION_SIZES = (0.45, 0.55, 0.66, 0.78)
_REGION_SHAPES = ((1.0, 1.0), (0.75, 1.0), (1.0, 0.75))


@dataclass(frozen=True)
class Crop:
    """A part of an image. Names are whole, upper, face, region_1…, or box_1… if the boxes were given."""

    name: str
    box: Box


def suggest_crops(image: Image.Image, count: int = 4, boxes: Sequence[Box] | None = None) -> list[Crop]:
    """At most `count` crops of an upright RGB image, no two nearly the same and none tiny. The first is the whole
    image.

    Args:
        count: 1 to 16. If the image is too small for so many, fewer are returned.
        boxes: if given, exactly these are checked and returned, and `count` is ignored.

    Raises UserError for an invalid count or box.
    """
    if boxes is not None:
        return [Crop(f"box_{number}", _check_box(box, image.size)) for number, box in enumerate(boxes, 1)]
    if not 1 <= count <= MAX_CROPS:
        raise UserError(f"count is {count}; it must be from 1 to {MAX_CROPS} crops.")
    crops = [Crop("whole", (0, 0, *image.size))]
    if count == 1:
        return crops
    saliency = find_subject(image)
    face = _face(saliency)
    for name, window in (("upper", _upper(saliency, face)), ("face", face)):
        box = _in_picture(window, saliency, image.size)
        if box and len(crops) < count and _is_new(box, crops):
            crops.append(Crop(name, box))
    crops += _regions(saliency, crops, count - len(crops), image.size)
    return crops


def find_face(image: Image.Image) -> Box | None:
    """Where the face of an upright RGB image most likely is; None if the image is tiny."""
    saliency = find_subject(image)
    return _in_picture(_face(saliency), saliency, image.size)


def box_overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0, width) * max(0, height)
    return both / (_area(a) + _area(b) - both)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def _check_box(box: Box, size: tuple[int, int]) -> Box:
    if len(box) != 4 or not (0 <= box[0] < box[2] <= size[0] and 0 <= box[1] < box[3] <= size[1]):
        raise UserError(f"crop box {tuple(box)} is not inside the image; it must be left, top, right, bottom with "
                        f"0 <= left < right <= {size[0]} and 0 <= top < bottom <= {size[1]}.")
    left, top, right, bottom = map(int, box)
    return left, top, right, bottom


def _is_new(box: Box, crops: Sequence[Crop]) -> bool:
    return all(box_overlap(box, crop.box) < MAX_OVERLAP for crop in crops)


def _in_picture(window: tuple[float, float, float, float], saliency: Saliency, size: tuple[int, int]) -> Box | None:
    """A window (centre x, centre y, width, height) of the small copy as a box of the image, moved to lie inside. A tiny
    box is enlarged; None if the image itself is tiny."""
    height, width = saliency.mask.shape
    scale = (size[0] / width, size[1] / height)
    least = max(MIN_SIDE, round(0.2 * min(size)))
    sides = [min(max(round(window[2 + axis] * scale[axis]), least), size[axis]) for axis in (0, 1)]
    if min(sides) < MIN_SIDE:
        return None
    starts = [min(max(round(window[axis] * scale[axis] - sides[axis] / 2), 0), size[axis] - sides[axis])
              for axis in (0, 1)]
    return starts[0], starts[1], starts[0] + sides[0], starts[1] + sides[1]


class _Sums:
    """Means over many windows of a map at once, from its running sums."""

    def __init__(self, values: Map) -> None:
        self.shape = values.shape
        self._sums = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)

    def mean(self, x: Map, y: Map, width: float, height: float) -> Map:
        """Means over the parts of windows with centres (x, y) that lie inside the map."""
        left, right = self._span(x, width, self.shape[1])
        top, bottom = self._span(y, height, self.shape[0])
        s = self._sums
        return (s[bottom, right] - s[top, right] - s[bottom, left] + s[top, left]) / ((bottom - top) * (right - left))

    @staticmethod
    def _span(centre: Map, side: float, limit: int) -> tuple[Map, Map]:
        start = np.clip(np.rint(centre - side / 2), 0, limit - 1).astype(int)
        return start, np.clip(np.rint(centre + side / 2).astype(int), start + 1, limit)


def _face(saliency: Saliency) -> tuple[float, float, float, float]:
    """The window that the head most likely fills: high up, with more detail and skin than its surroundings."""
    left, top, right, bottom = saliency.box
    width, height = right - left, bottom - top
    evidence = _Sums((0.4 * saliency.detail + 0.3 * saliency.subject + 0.6 * saliency.skin) * saliency.mask)
    y, x = np.mgrid[top:bottom, left:right] + 0.5
    best, window = -np.inf, ((left + right) / 2, top + height / 3, width / 2, height / 2)
    for share in _FACE_SIZES:
        side = share * min(width, height)
        inner, outer = evidence.mean(x, y, side, side), evidence.mean(x, y, 1.7 * side, 1.7 * side)
        down, across = (y - top) / height, (x - left) / width
        prior = np.exp(-0.5 * ((down - 0.36) / 0.16) ** 2 - 0.5 * ((across - 0.5) / 0.25) ** 2)
        score = (inner - 0.6 * outer) * prior * side**0.5
        place = np.unravel_index(int(np.argmax(score)), score.shape)
        if score[place] > best:
            best, window = float(score[place]), (float(x[place]), float(y[place]), side, side)
    # The evidence is the features; hair and chin lie around them.
    return window[0], window[1], 1.5 * window[2], 1.5 * window[3]


def _upper(saliency: Saliency, face: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """A nearly square window from above the subject's top down to its middle, around the face."""
    left, top, right, bottom = saliency.box
    start = max(0.0, top - 0.03 * (bottom - top))
    end = min(max(top + 0.6 * (bottom - top), face[1] + 0.55 * face[3]), bottom)
    height = end - start
    width = min(max(1.05 * (right - left), 0.8 * height), 1.25 * height)
    centre = ((left + right) / 2 + face[0]) / 2
    return centre, (start + end) / 2, width, height


def _regions(saliency: Saliency, crops: Sequence[Crop], count: int, size: tuple[int, int]) -> Iterator[Crop]:
    """The best remaining windows, one after the other. Each has much to see inside, edges that do not cut through it
    (an eye, say), and little that earlier windows show."""
    value = _Sums(0.5 * saliency.detail * (0.3 + 0.7 * saliency.mask) + 0.3 * saliency.mask + 0.2 * saliency.subject)
    candidates: dict[Box, float] = {}
    height, width = saliency.mask.shape
    for share in _REGION_SIZES:
        for shape in _REGION_SHAPES:
            wide, high = (share * side * min(width, height) for side in shape)
            for y in np.linspace(high / 2, height - high / 2, 9):
                for x in np.linspace(wide / 2, width - wide / 2, 9):
                    box = _in_picture((x, y, wide, high), saliency, size)
                    if box:
                        inside = float(value.mean(x, y, wide, high))
                        heart = float(value.mean(x, y, 0.85 * wide, 0.85 * high))
                        candidates[box] = (inside + 0.8 * (heart - inside)) * share**0.5
    taken = list(crops)
    for number in range(1, count + 1):
        fresh = {box: worth * (1 - max(box_overlap(box, crop.box) for crop in taken)) ** 2
                 for box, worth in candidates.items() if _is_new(box, taken)}
        if not fresh:
            return
        taken.append(Crop(f"region_{number}", max(fresh, key=fresh.__getitem__)))
        yield taken[-1]
