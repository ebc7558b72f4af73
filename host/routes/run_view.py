"""What is known about a run, as the run route answers it: from its folder, and from the trainings in this process.

No host is needed here. The shapes are described in runs.py.
"""

from __future__ import annotations

import itertools
import math
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...trainer.common.errors import UserError
from ...trainer.training.runs import Run, read_run

MOST_POINTS = 2000
REMEMBERED = 100
"""Ended trainings whose end (cancelled, failed) is remembered while the server runs; everything else is in run.json."""
LIVE = ("preparing", "training")
ENDED_EARLY = ("cancelled", "failed")
"""Endings that a run's folder does not record, and this process remembers."""
_TICKS = itertools.count()


class Smoother:
    """A running mean of the loss over a twentieth of the run (10 to 200 steps), without the usual slow start."""

    def __init__(self, steps: int) -> None:
        self.decay = 1 - 1 / max(10, min(200, steps / 20))
        self.total = self.weight = 0.0

    def add(self, loss: float) -> float:
        self.total = self.decay * self.total + (1 - self.decay) * loss
        self.weight = self.decay * self.weight + (1 - self.decay)
        return self.total / self.weight


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


class Table:
    """The trainings of this process. Written by the thread that trains, read by the one that answers requests."""

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


TABLE = Table()


# -- the run route -----------------------------------------------------------------------------------------------------


def run_status(root: Path, name: str, table: Table = TABLE) -> dict[str, Any] | None:
    """The most recently changed run of that name below `root`, by its folder's name or its config's; None: no such run.

    `name` is compared with existing names, and never becomes part of a path.
    """
    training = table.find(name)
    if training is not None and training.live:
        # before its folder is known, an older run may have its name
        return describe(_run_at(root, training.folder) if training.folder else None, training)
    runs = [run for folder in run_folders(root) if (run := _run_at(root, folder.name)) and name in (run.name, _of(run))]
    latest = max(runs, key=_touched, default=None)
    if latest is None:
        return describe(None, training) if training is not None else None
    ended = table.find(latest.name)
    return describe(latest, ended if ended is not None and ended.folder == latest.name else None)


def run_folders(root: Path) -> list[Path]:
    """The folders directly below `root` that hold a run, by name."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.name[0] != "." and (path / "run.json").is_file())


def _of(run: Run) -> str:
    return str(run.facts["config"].get("name", ""))


def _run_at(root: Path, folder: str) -> Run | None:
    path = root / folder
    try:
        status = (path / "run.json").stat()
        return _read_run(path, status.st_mtime_ns, status.st_size)
    except (OSError, UserError, ValueError):
        return None


@lru_cache(maxsize=1024)
def _read_run(folder: Path, mtime_ns: int, size: int) -> Run:
    """The run as it was at that time; asked for again only when run.json changes. Not to be changed."""
    return read_run(folder)


def _touched(run: Run) -> float:
    """When something last happened to a run, in seconds since the epoch."""
    times = [path.stat().st_mtime for path in (run.folder / "run.json", run.metrics_path) if path.exists()]
    return max(times, default=0.0)


def describe(run: Run | None, training: Training | None) -> dict[str, Any]:
    """The run route's answer for a run on disk, a training in this process, or both of one run."""
    told = _from_folder(run) if run is not None else _nothing_yet(training)
    if training is None:
        return told
    told["node_id"] = training.node_id
    if run is not None and (training.live or (training.status in ENDED_EARLY and told["status"] == "interrupted")):
        told |= {"status": training.status, "message": training.message, "step": training.step,
                 "seconds_left": training.seconds_left, "memory": training.memory,
                 "seconds_per_step": training.seconds_per_step or told["seconds_per_step"]}
    return told


def _nothing_yet(training: Training) -> dict[str, Any]:
    return {"name": training.name, "run": training.run, "status": training.status, "node_id": training.node_id,
            "message": training.message, "step": training.step, "steps": training.steps, "seconds_left": None,
            "seconds_per_step": None, "memory": None, "learning_rate": None, "rank": None, "alpha": None,
            "losses": [], "smoothed": [], "validation": [], "samples": [], "checkpoints": []}


def _from_folder(run: Run) -> dict[str, Any]:
    config, rows = run.facts["config"], run.metrics()
    steps = [row for row in rows if _number(row.get("loss"))]
    pace = [row["seconds"] for row in steps[-50:] if _number(row.get("seconds"))]
    last = steps[-1] if steps else {}
    smoother = Smoother(config["steps"])
    losses = [[row["step"], row["loss"]] for row in steps]
    return {
        "name": _of(run), "run": run.name, "status": _disk_status(run), "node_id": None, "message": "",
        "step": run.step or last.get("step", 0), "steps": config["steps"], "seconds_left": None,
        "seconds_per_step": sum(pace) / len(pace) if pace else None, "memory": None,
        "learning_rate": last.get("learning_rate") or config["optimizer"]["learning_rate"],
        "rank": config["adapter"]["rank"], "alpha": config["adapter"]["alpha"],
        "losses": thinned(losses), "smoothed": thinned([[step, smoother.add(loss)] for step, loss in losses]),
        "validation": [[row["step"], row["validation_loss"], row.get("validation_ratio")] for row in rows
                       if _number(row.get("validation_loss"))],
        "samples": _samples(run), "checkpoints": [{"step": step, "filename": path.name}
                                                  for step, path in run.checkpoints()],
    }


def _disk_status(run: Run) -> str:
    if run.finished:
        return "finished"
    if run.facts["status"] == "stopped":
        return "stopped"
    return "training" if run.being_trained else "interrupted"


def _samples(run: Run) -> list[dict[str, Any]]:
    """Preview images, oldest first, in the form that the host's /view route accepts."""
    found = [(int(match[1]), path.name) for path in run.samples_folder.glob("step*.png")
             if (match := re.fullmatch(r"step(\d+)-\d+\.png", path.name))]
    subfolder = f"loras/{run.name}/samples"
    return [{"step": step, "filename": name, "subfolder": subfolder, "type": "output"} for step, name in sorted(found)]


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def thinned(points: Sequence[Any], most: int = MOST_POINTS) -> list[Any]:
    """At most `most` of the points, evenly spaced, including the first and the last."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[round(index * last / (most - 1))] for index in range(most)]


def smoothed_until(losses: Iterable[tuple[int, float]], steps: int) -> Smoother:
    """A smoother that has already counted these losses, for a run that continues."""
    smoother = Smoother(steps)
    for _, loss in losses:
        smoother.add(loss)
    return smoother
