"""Connected parts of a mask, found by its runs: what `scipy.ndimage.label` does, with numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Components:
    """C parts that touch, corners counting. Boxes are half-open, in pixels.

    Attributes:
        left, top, right, bottom: [C] their boxes.
        area: [C] their pixels.
        runs: [C] their horizontal runs; area / runs is the mean width of a stroke seen along a row.
        run_row, run_start, run_end, run_part: [R] the runs themselves, and the part each belongs to.
    """

    left: Ints
    top: Ints
    right: Ints
    bottom: Ints
    area: Ints
    runs: Ints
    run_row: Ints
    run_start: Ints
    run_end: Ints
    run_part: Ints

    def __len__(self) -> int:
        return len(self.area)


def connected(mask: NDArray[np.bool_]) -> Components:
    """The parts of a [H, W] mask, in the order of their first pixel."""
    height, width = mask.shape
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    row, start = np.nonzero(edges == 1)
    end = np.nonzero(edges == -1)[1]
    part = _labels(row, start, end, width)
    count = int(part.max()) + 1 if len(part) else 0

    def extreme(values: Ints, ufunc: np.ufunc, initial: int) -> Ints:
        found = np.full(count, initial, dtype=np.int64)
        ufunc.at(found, part, values)
        return found

    return Components(
        extreme(start, np.minimum, width), extreme(row, np.minimum, height), extreme(end, np.maximum, 0),
        extreme(row + 1, np.maximum, 0), np.bincount(part, end - start, count).astype(np.int64),
        np.bincount(part, minlength=count), row, start, end, part)


def _labels(row: Ints, start: Ints, end: Ints, width: int) -> Ints:
    """The part of each run: runs of neighbouring rows that overlap or touch by a corner are joined, and the least
    label handed on until nothing changes (pointer jumping makes that a few rounds even for a spiral)."""
    label = np.arange(len(row))
    if not len(row):
        return label
    # Rows are told apart in one sorted axis, with room between them for the corners.
    stride = width + 3
    first = np.searchsorted((row * stride) + end, (row + 1) * stride + start)
    last = np.searchsorted((row * stride) + start, (row + 1) * stride + end, side="right")
    many = np.maximum(last - first, 0)
    upper = np.repeat(label, many)
    lower = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many) + np.repeat(first, many)
    while True:
        least = np.minimum(label[upper], label[lower])
        before = label.copy()
        for ends in (upper, lower):
            np.minimum.at(label, label[ends], least)
        while not np.array_equal(label, jumped := label[label]):
            label = jumped
        if np.array_equal(label, before):
            return np.unique(label, return_inverse=True)[1]
