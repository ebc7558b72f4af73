"""Connected parts of a mask, with their boxes and the width of their strokes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Components:
    """C connected parts; pixels that touch at a corner are connected. Boxes are half-open, in pixels.

    Attributes:
        left, top, right, bottom: [C] their boxes.
        area: [C] their numbers of pixels.
        runs: [C] their numbers of horizontal runs; area / runs is the mean width of a stroke along a row.
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
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    part = labels[row, start].astype(np.int64) - 1

    def extreme(values: Ints, ufunc: np.ufunc, initial: int) -> Ints:
        found = np.full(count, initial, dtype=np.int64)
        ufunc.at(found, part, values)
        return found

    return Components(
        extreme(start, np.minimum, width), extreme(row, np.minimum, height), extreme(end, np.maximum, 0),
        extreme(row + 1, np.maximum, 0), np.bincount(part, end - start, count).astype(np.int64),
        np.bincount(part, minlength=count), row, start, end, part)
