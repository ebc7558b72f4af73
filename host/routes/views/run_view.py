"""What is known about a run, as the run route answers it: from its folder, and from the trainings in this process.

The shapes are described in runs.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from ....trainer.common.errors import UserError
from ....trainer.proofs.proof import proof_rows
from ....trainer.records.differences import compare_runs, describe_differences
from ....trainer.training.checkpoint import saved_step
from ....trainer.training.presets import word_figures
from ....trainer.training.runs import Run, read_run, run_folders
from ...session import current_session
from ...trainings import ENDED_EARLY, Training, TrainingTable
from .outlier_view import list_outliers


def run_status(root: Path, name: str, table: TrainingTable | None = None) -> dict[str, Any] | None:
    """The most recently changed run of that name below `root`, by its folder's name or its config's; None: no such run.

    `name` is compared with existing names, and never becomes part of a path.
    """
    table = table or current_session().trainings
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


MOST_OTHERS = 100


def other_runs(root: Path, name: str) -> list[str]:
    """Folders of the runs that the one of that name can be compared with: those of its project first, then the latest.
    """
    runs = [run for folder in run_folders(root) if (run := _run_at(root, folder.name))]
    mine = next((run for run in runs if run.name == name), None)
    project = mine.lineage.get("project") or _of(mine) if mine else ""
    others = sorted((run for run in runs if run is not mine), key=_touched, reverse=True)
    others.sort(key=lambda run: (run.lineage.get("project") or _of(run)) != project)
    return [run.name for run in others[:MOST_OTHERS]]


def run_differences(root: Path, first: str, second: str) -> list[str]:
    """What differs between the runs in two folders below `root`, as text. Raises UserError if there is no such run.

    The names are compared with existing ones, and never become part of a path.
    """
    runs = {folder.name: folder for folder in run_folders(root)}
    if missing := [name for name in (first, second) if name not in runs]:
        raise UserError(f"there is no run {missing[0]!r}.")
    return describe_differences(first, second, compare_runs(read_run(runs[first]), read_run(runs[second])))


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
    """The run as it was at that time. It is read again only when run.json changes, and must not be modified."""
    return read_run(folder)


def _touched(run: Run) -> float:
    """When something last happened to a run, in seconds since the epoch."""
    times = [path.stat().st_mtime for path in (run.folder / "run.json", run.metrics_path) if path.exists()]
    return max(times, default=0.0)


def describe(run: Run | None, training: Training | None) -> dict[str, Any]:
    """The run route's answer for a run on disk, a training in this process, or both of one run."""
    if run is None:
        assert training is not None, "neither a run nor a training"
        return _nothing_yet(training)
    told = _from_folder(run)
    if training is None:
        return told
    told |= {"node_id": training.node_id, "notes": list(training.notes)}
    if (training.live or (training.status in ENDED_EARLY and told["status"] == "interrupted")):
        told |= {"status": training.status, "message": training.message, "step": training.step,
                 "seconds_left": training.seconds_left, "memory": training.memory,
                 "seconds_per_step": training.seconds_per_step or told["seconds_per_step"]}
    return told


def _nothing_yet(training: Training) -> dict[str, Any]:
    return {"name": training.name, "run": training.run, "status": training.status, "node_id": training.node_id,
            "message": training.message, "step": training.step, "steps": training.steps, "seconds_left": None,
            "seconds_per_step": None, "memory": None, "learning_rate": None, "rank": None, "alpha": None, "figures": "",
            "losses": [], "smoothed": [], "validation": [], "samples": [], "checkpoints": [],
            "proofs": proof_rows(training.proofs), "notes": list(training.notes), "outliers": [],
            "resumes_from": None}


def _from_folder(run: Run) -> dict[str, Any]:
    config, status = run.config, _disk_status(run)
    curves = current_session().run_logs.read(run.metrics_path, config.steps)
    return {
        "name": _of(run), "run": run.name, "status": status, "node_id": None, "message": "",
        "step": run.step or curves.last.get("step", 0), "steps": config.steps, "seconds_left": None,
        "seconds_per_step": curves.pace, "memory": None,
        "learning_rate": curves.last.get("learning_rate") or config.optimizer.learning_rate,
        "rank": config.adapter.rank, "alpha": config.adapter.alpha, "figures": word_figures([config]),
        "losses": _lists(curves.losses), "smoothed": _lists(curves.smoothed),
        "validation": _lists(curves.validation),
        "samples": _samples(run), "checkpoints": [{"step": step, "filename": path.name}
                                                  for step, path in run.checkpoints()],
        "proofs": proof_rows(run.proofs), "notes": [],
        "outliers": list_outliers(run.folder, in_training=status == "training"),
        "resumes_from": _resumes_from(run, status),
    }


def _lists(points: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(point) for point in points]


def _disk_status(run: Run) -> str:
    if run.finished:
        return "finished"
    if run.facts["status"] == "stopped":
        return "stopped"
    return "training" if run.being_trained else "interrupted"


def _resumes_from(run: Run, status: str) -> int | None:
    """The step that the run would go on from. The state of a run in training is not opened: some systems do not replace
    a file that is open."""
    return saved_step(run.state_path) or 0 if status in ("stopped", "interrupted") else None


def _samples(run: Run) -> list[dict[str, Any]]:
    """Preview images, oldest first, in the form that the host's /view route accepts."""
    found = [(int(match[1]), path.name) for path in run.samples_folder.glob("step*.png")
             if (match := re.fullmatch(r"step(\d+)-\d+\.png", path.name))]
    subfolder = f"loras/{run.name}/samples"
    return [{"step": step, "filename": name, "subfolder": subfolder, "type": "output"} for step, name in sorted(found)]
