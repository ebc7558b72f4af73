"""The losses of runs, as metrics.jsonl has them. What was read once is remembered, and only new lines are read: a panel
asks again and again while a training writes."""

from __future__ import annotations

import os
from array import array
from collections import OrderedDict, deque
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from ..trainer.pictures.curves import Point, Smoother, thinned
from ..trainer.training.runs import is_measured, read_metrics_row

MOST_LOGS = 8
"""Runs that are remembered; the one that was longest not asked for is forgotten first."""
PACE = 50
"""Steps whose mean time is the run's pace."""
_TAIL = 256
"""Bytes before the place reached that must still be the same, or the file is another one."""


@dataclass(frozen=True)
class Curves:
    """What a run has logged so far.

    Attributes:
        losses, smoothed: (step, loss) of the steps, and its running mean; at most 2,000 points each, evenly thinned.
        validation: (step, loss, ratio to the base's own loss).
        last: the last row with a loss; {} if there is none.
        pace: mean seconds of the last PACE steps; None if none were measured.
    """

    losses: list[Point]
    smoothed: list[Point]
    validation: list[tuple[int, float, Any]]
    last: dict[str, Any]
    pace: float | None


class _Log:
    """One run's metrics.jsonl, up to the last line that was complete."""

    def __init__(self, path: Path, steps: int) -> None:
        self.path, self.steps, self.lock = path, steps, Lock()  # routes work in several threads
        self._begin(None)

    def _begin(self, file: tuple[int, int] | None) -> None:
        self._steps, self._losses, self._smoothed = array("d"), array("d"), array("d")
        self._validation: list[tuple[int, float, Any]] = []
        self._last: dict[str, Any] = {}
        self._seconds: deque[float] = deque(maxlen=PACE)
        self._smoother = Smoother(self.steps)
        self._file, self._offset, self._tail = file, 0, b""

    def curves(self) -> Curves:
        pace = sum(self._seconds) / len(self._seconds) if self._seconds else None
        shown = thinned(range(len(self._steps)))
        losses: list[Point] = [(int(self._steps[at]), self._losses[at]) for at in shown]
        smoothed: list[Point] = [(int(self._steps[at]), self._smoothed[at]) for at in shown]
        return Curves(losses, smoothed, list(self._validation), self._last, pace)

    def read_on(self) -> None:
        """Add the lines that are new. A file that was replaced, shortened or written again is read from its start."""
        try:
            with open(self.path, "rb") as file:
                status = os.fstat(file.fileno())
                if (status.st_dev, status.st_ino) != self._file or not self._continues(file):
                    self._begin((status.st_dev, status.st_ino))
                file.seek(self._offset)
                lines, newline, _ = file.read().rpartition(b"\n")
        except FileNotFoundError:
            self._begin(None)
            return
        read = lines + newline
        self._offset += len(read)
        self._tail = (self._tail + read[-_TAIL:])[-_TAIL:]
        for line in lines.splitlines():
            self._add(read_metrics_row(line))

    def _continues(self, file: Any) -> bool:
        """Whether what was read is still there: a resumed training shortens the file, then writes on."""
        file.seek(self._offset - len(self._tail))
        return bool(file.read(len(self._tail)) == self._tail)

    def _add(self, row: dict[str, Any] | None) -> None:
        if row is None:
            return
        if is_measured(row.get("loss")):
            self._last = row
            self._steps.append(row["step"])
            self._losses.append(row["loss"])
            self._smoothed.append(self._smoother.add(row["loss"]))
            if is_measured(row.get("seconds")):
                self._seconds.append(row["seconds"])
        if is_measured(row.get("validation_loss")):
            self._validation.append((row["step"], row["validation_loss"], row.get("validation_ratio")))


class RunLogs:
    """The logs of the runs that were asked for last."""

    def __init__(self) -> None:
        self._logs: OrderedDict[tuple[Path, int], _Log] = OrderedDict()
        self._lock = Lock()

    def read(self, path: Path, steps: int) -> Curves:
        """The curves of a run of so many steps, with the lines that came since they were last asked for."""
        with self._lock:
            log = self._logs.setdefault((path, steps), _Log(path, steps))
            self._logs.move_to_end((path, steps))
            while len(self._logs) > MOST_LOGS:
                self._logs.popitem(last=False)
        with log.lock:
            log.read_on()
            return log.curves()
