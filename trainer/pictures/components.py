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
    row, start, end = _find_runs(mask)
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


def _find_runs(mask: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """(row, start, end) of each horizontal run of a [H, W] mask, row by row."""
    height, width = mask.shape
    # With an empty pixel before each row and after the last one, all rows can be laid in one line, in which starts and
    # ends of runs take turns.
    line = np.zeros(height * (width + 1) + 1, dtype=bool)
    line[1:].reshape(height, width + 1)[:, :width] = mask
    changes = np.flatnonzero(line[1:] != line[:-1])
    row, start = np.divmod(changes[::2], width + 1)
    return row, start, changes[1::2] - row * (width + 1)
