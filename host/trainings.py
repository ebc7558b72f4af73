"""The trainings of this process, from before their folder is known until after their end. No host is needed here."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from ..trainer.common.errors import UserError
from ..trainer.proofs.proof import Proof

REMEMBERED = 100
"""Ended trainings whose end (cancelled, failed) is remembered while the server runs; everything else is in run.json."""
LIVE = ("preparing", "training")
ENDED_EARLY = ("cancelled", "failed")
"""Endings that a run's folder does not record, and this process remembers."""
_TICKS = itertools.count()


@dataclass
class Training:
    """One training in this process, from before its folder is known until after its end."""

    name: str
    node_id: str | None = None
    folder: str = ""
    """The name of the run's folder, once it is known."""
    status: str = "preparing"
    message: str = ""
    step: int = 0
    steps: int = 0
    memory: int | None = None
    notes: tuple[str, ...] = ()
    """What there is to know besides the status: memory that a step takes, and the latest warnings."""
    proofs: tuple[Proof, ...] = ()
    stop: threading.Event = field(default_factory=threading.Event)
    order: int = field(default_factory=lambda: next(_TICKS))
    _ends: deque[float] = field(default_factory=lambda: deque(maxlen=50))

    @property
    def run(self) -> str:
        """The run's name in answers and events: its folder's name, or its own until the folder is known."""
        return self.folder or self.name

    @property
    def live(self) -> bool:
        return self.status in LIVE

    def step_done(self, step: int) -> None:
        self.step = step
        self._ends.append(time.monotonic())

    @property
    def seconds_per_step(self) -> float | None:
        """Measured by the clock over the last steps, so that previews and saving count; None before the second step."""
        if len(self._ends) < 2:
            return None
        return (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)

    @property
    def seconds_left(self) -> float | None:
        pace = self.seconds_per_step
        return None if pace is None or not self.live else pace * (self.steps - self.step)


class TrainingTable:
    """The trainings of this process. The training thread writes, the thread that answers requests reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._trainings: list[Training] = []
        self._resumed: dict[str, int] = {}

    def begin(self, name: str, node_id: str | None = None) -> Training:
        training = Training(name, node_id)
        with self._lock:
            self._trainings = [*self._trainings[-REMEMBERED:], training]
        return training

    def find(self, name: str) -> Training | None:
        """The latest training of that run, by its folder's name or else by the run's."""
        with self._lock:
            latest = self._trainings[::-1]
        return next((training for key in ("run", "name") for training in latest if getattr(training, key) == name),
                    None)

    def stop(self, run: str) -> None:
        """Ask a training to stop after its current step and save what it has. Raises UserError if none is running."""
        training = self.find(run)
        if training is None or not training.live:
            raise UserError(f"run {run!r} is not being trained now, so there is nothing to stop.")
        training.stop.set()

    def resume(self, name: str) -> None:
        """Let the next queueing of a workflow continue the run's training, although nothing in the workflow has
        changed."""
        with self._lock:
            self._resumed[name] = self._resumed.get(name, 0) + 1

    def resumed(self, name: str | None) -> int:
        """How often `resume` was requested for that name; None: for any name."""
        with self._lock:
            return sum(self._resumed.values()) if name is None else self._resumed.get(name, 0)
