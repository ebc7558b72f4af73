"""The loss of every draw of an image, in `image_losses.jsonl` beside the run's metrics.

    {"images": ["a.png", ...]}                       the images that are trained on, in the order of their numbers
    {"step": 12, "draws": [[0, 0.731, 0.0213], ...]} number of the image, time t, loss; draws without caption are left
                                                     out, because their loss is not that of image and caption together
    {"step": 40, "set_aside": [3]}                   images that later steps do not draw

Lines of steps that a resumed run takes again are dropped, as in metrics.jsonl.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from ...common.files import atomic_write, plain_errors
from ..runs import is_measured

FILE = "image_losses.jsonl"
MOST_BYTES = 2**30
"""A larger file is not a run's, and is not read."""
_DIGITS = 5


class LossDraw(NamedTuple):
    """One draw of an image, by its number, at time t in 0..1."""

    image: int
    t: float
    loss: float


@dataclass
class LossTable:
    """What the file of a run holds, in the order of its steps.

    Attributes:
        names: file name of each image.
        steps, images, times, losses: one entry a draw.
        set_aside: the step after which each image that was set aside was no longer drawn, by its number.
    """

    names: tuple[str, ...] = ()
    steps: array[int] = field(default_factory=lambda: array("L"))
    images: array[int] = field(default_factory=lambda: array("L"))
    times: array[float] = field(default_factory=lambda: array("d"))
    losses: array[float] = field(default_factory=lambda: array("d"))
    set_aside: dict[int, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.losses)

    def add(self, step: int, draws: Sequence[LossDraw]) -> None:
        for draw in draws:
            self.steps.append(step)
            self.images.append(draw.image)
            self.times.append(draw.t)
            self.losses.append(draw.loss)


class LossFile:
    """The table of a run in training, and its file, which grows by a line a step."""

    def __init__(self, folder: Path, names: Sequence[str], step: int, writes: bool = True) -> None:
        """Goes on after `step`, or begins anew if the file is that of other images. Without `writes` the file is left
        unchanged."""
        self.path, self._writes = folder / FILE, writes
        self.table = LossTable(tuple(names))
        self._file: FileIO | None = None
        lines = [line for line in _lines(self.path) if line.get("step", 0) <= step] if step else []
        if lines and lines[0].get("images") == list(names):
            for line in lines[1:]:
                _read_line(line, self.table)
        else:
            lines = [{"images": list(names)}]
        if writes:
            atomic_write(self.path, "".join(map(_written, lines)).encode())

    def add(self, step: int, draws: Sequence[LossDraw]) -> None:
        """Record the draws of a step."""
        rounded = [LossDraw(draw.image, round(draw.t, _DIGITS), _rounded(draw.loss)) for draw in draws]
        if rounded:
            self._append({"step": step, "draws": rounded})
            self.table.add(step, rounded)

    def set_aside(self, step: int, images: Sequence[int]) -> None:
        """Record that steps after this one do not draw these images."""
        self._append({"step": step, "set_aside": list(images)})
        self.table.set_aside |= dict.fromkeys(images, step)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, line: dict[str, Any]) -> None:
        if not self._writes:
            return
        with plain_errors("write", self.path):
            if self._file is None:
                self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (kept open)
            self._file.write(_written(line).encode())


def read_losses_by_image(folder: Path) -> LossTable:
    """What the run in a folder recorded; an empty table for runs of earlier versions. Damaged lines are skipped."""
    table = LossTable()
    for line in _lines(folder / FILE):
        names = line.get("images")
        if isinstance(names, list) and not table.names:
            table.names = tuple(map(str, names))
        else:
            _read_line(line, table)
    return table


def _rounded(loss: float) -> float:
    return float(f"{loss:.{_DIGITS}g}")


def _written(line: dict[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n"


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of the file."""
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        return
    with open(path, "rb") as file:
        for text in file:
            with suppress(ValueError, RecursionError):
                line = json.loads(text.decode(errors="replace"))
                if isinstance(line, dict) and type(line.get("step", 0 if "images" in line else None)) is int:
                    yield line


def _read_line(line: dict[str, Any], table: LossTable) -> None:
    """Add what a line holds to the table, as far as it is whole."""
    step, draws, aside = line.get("step"), line.get("draws"), line.get("set_aside")
    if type(step) is not int or not 0 <= step < 2**32:
        return
    if isinstance(draws, list):
        table.add(step, [LossDraw(*row) for row in draws if _is_draw(row, len(table.names))])
    if isinstance(aside, list):
        table.set_aside |= {image: step for image in aside if _is_image(image, len(table.names))}


def _is_draw(row: Any, images: int) -> bool:
    return (isinstance(row, list) and len(row) == 3 and _is_image(row[0], images)
            and all(type(value) in (int, float) and is_measured(value) for value in row[1:]))


def _is_image(value: Any, images: int) -> bool:
    return type(value) is int and 0 <= value < images
