"""Reads the result of a job, which may come from a stranger, into an output folder, where a desk expects what it has
trained and swept itself. A bare LoRA file is read too.

Everything is unpacked into hidden temporary folders and checked there. Nothing that exists is overwritten: what is
there already stays, and what has a taken name gets a number.

A run that was trained without ComfyUI has another fingerprint of its base than the same training in ComfyUI, and so
another key. A finished run of the job's own base gets the key that the desk would give it (`desk_key`), so that the
desk finds it instead of training again; lineage.trained_away keeps what it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import make_folder, plain_errors, read_json, sync_folder, write_json
from ..common.leftovers import remove_leftovers, temporary_path
from ..common.locks import locked
from ..common.names import checked_name, with_ending
from ..common.new_files import write_new
from ..lora.layers import read_header
from ..lora.tensors import TensorFile
from ..models.families import get_family
from ..records.zips import unpack
from ..sweeps.cells import CHECKPOINT, Sweep
from ..sweeps.html import write_html
from ..sweeps.log import SCORES, SHEET, add_to_log, refuse_name_of_the_log
from ..training.config import TrainConfig
from ..training.runs import Run, find_run, latest_checkpoint, read_run, run_key
from .forms import RESULT, RESULT_FORM, RUNS, SWEEPS, Result
from .job import JOB, Job

ENDING = ".safetensors"


@dataclass(frozen=True)
class ImportedResult:
    """What was imported.

    Attributes:
        lora: the run's last LoRA file, or the imported file.
        run: the run's folder; None for a bare LoRA.
        sweep: the sweep's folder; None without one.
        notes: what the user should know, one line each.
    """

    lora: Path | None
    run: Path | None = None
    sweep: Path | None = None
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """For people."""
        found = (("run", self.run), ("LoRA", self.lora), ("sweep", self.sweep))
        return "\n".join((*(f"{what:5} {path}" for what, path in found if path), *self.notes))


def import_result(root: Path, file: Path, name: str = "") -> ImportedResult:
    """Read a result, or a LoRA file, into an output folder.

    Args:
        root: the output folder, with `loras/` and `sweeps/` in it.
        name: of the run or the LoRA here; "": its own, or the first free one with a number.

    Raises UserError for a zip that is damaged, hostile or of another form, for a file that is not a LoRA, and if the
    desk has the same run unfinished. Then nothing was written.
    """
    root = Path(os.path.abspath(root))
    wanted = checked_name(name, "run") if name else ""
    if file.suffix.lower() == ENDING:
        return _import_lora(root, file, wanted)
    with _staged(root) as stage:
        unpack(file, RESULT_FORM, stage.place)
        if not (stage.rest / JOB).is_file():
            raise UserError(f"the result holds no {JOB}. Pack the result again.")
        result, job = Result.load(stage.rest / RESULT), Job.load(stage.rest / JOB)
        _check_parts(stage, result, job)
        with locked(root / "loras" / "import"):
            return _Desk(root, stage, result, job).take(wanted)


def desk_key(job: Job, run: Run) -> str:
    """The key that the desk which packed the job gives the same training."""
    config = run.config.replace(precision=job.desk.precision) if job.desk.precision else run.config
    return _key(job, job.desk.base, job.desk.family, config)


def own_key(job: Job, run: Run) -> str:
    """The key of a run of this job, as it was trained."""
    return _key(job, str(run.lineage.get("base", "")), job.base.family, run.config)


def _key(job: Job, base: str, family: str, config: TrainConfig) -> str:
    beside = [[lora.tensors, lora.strength] for lora in job.beside]
    given = {**({"beside": beside} if beside else {}),
             **({"regularisation": job.regularisation} if job.regularisation else {})}
    return run_key(config, base, job.dataset, job.validation, get_family(family), "", given)


# -- a bare LoRA -------------------------------------------------------------------------------------------------------


def _import_lora(root: Path, file: Path, name: str) -> ImportedResult:
    if not file.is_file():
        raise UserError(f"there is no file at {file}; give the zip of a result, or a .safetensors LoRA.")
    TensorFile(file)
    if not read_header(file).names:
        raise UserError(f"{file.name} is not a LoRA: none of its tensors belongs to a layer's LoRA. Give the zip of a "
                        "result, or a .safetensors LoRA.")
    target = root / "loras" / f"{name or checked_name(file.stem, 'LoRA')}{ENDING}"
    make_folder(target.parent)
    path = write_new(target, lambda temp: shutil.copyfile(file, temp), lambda there: _same_bytes(there, file))
    return ImportedResult(path)


def _same_bytes(path: Path, other: Path) -> bool:
    return path.is_file() and path.stat().st_size == other.stat().st_size and path.read_bytes() == other.read_bytes()


# -- a result ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stage:
    """The temporary folders into which a result is unpacked; runs and sweeps are on the disk of their places."""

    runs: Path
    sweeps: Path
    rest: Path

    def place(self, name: str) -> Path:
        first, _, inner = name.partition("/")
        return {RUNS: self.runs, SWEEPS: self.sweeps}[first] / inner if first in (RUNS, SWEEPS) else self.rest / name


@contextmanager
def _staged(root: Path) -> Iterator[_Stage]:
    places = root / "loras", root / "sweeps"
    for place in places:
        make_folder(place)
        remove_leftovers(place)
    folders = [temporary_path(place / "import") for place in (*places, places[0])]
    try:
        for folder in folders:
            make_folder(folder)
        yield _Stage(*folders)
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def _check_parts(stage: _Stage, result: Result, job: Job) -> None:
    """Raises UserError unless the result has one run, which is the job's, and at most one sweep."""
    runs, sweeps = ([path.name for path in sorted(folder.iterdir())] for folder in (stage.runs, stage.sweeps))
    if result.job != job.id:
        raise UserError("result.json and job.json are of different jobs. Pack the result again.")
    if not result.run or runs != [result.run] or not (stage.runs / result.run / "run.json").is_file():
        raise UserError(f"the result should hold the run {result.run!r} with its run.json, and holds "
                        f"{', '.join(runs) or 'none'}. Pack the result again.")
    if sweeps != [name for name in [result.sweep] if name]:
        raise UserError(f"the result should hold the sweep {result.sweep or 'none'}, and holds "
                        f"{', '.join(sweeps) or 'none'}. Pack the result again.")
    if result.sweep:
        refuse_name_of_the_log(result.sweep)
        if not (stage.sweeps / result.sweep / "manifest.json").is_file():
            raise UserError(f"the result holds sweeps/{result.sweep} without its manifest.json. Pack the result again.")
    run = read_run(stage.runs / result.run)
    if own_key(job, run) != run.key:
        raise UserError(f"run {result.run!r} is not of the job that it came with: its settings, images or base are "
                        "others. Pack the result again.")


@dataclass(frozen=True)
class _Desk:
    """Puts a checked result in its places.

    Attributes:
        root: the output folder.
    """

    root: Path
    stage: _Stage
    result: Result
    job: Job

    def take(self, wanted: str) -> ImportedResult:
        staged = read_run(self.stage.runs / self.result.run)
        notes = self._settle_key(staged)
        staged = read_run(staged.folder)
        there = find_run(self.root / "loras", wanted or staged.config.name, staged.key)
        if there is not None and not there.finished and _last_step(staged) > _last_step(there):
            raise UserError(f"run {there.name!r} is the same training, which was stopped here before its end. Rename "
                            f"or delete output/loras/{there.name}, and import again.")
        if there is not None:
            notes.append(f"run {there.name} is here already, and was left unchanged")
            run = there
        else:
            run = read_run(self._place(staged.folder, wanted or staged.config.name))
        sweep = self._place_sweep(staged.folder.name, run.name) if self.result.sweep else None
        lora = latest_checkpoint(run)[1] if run.checkpoints() else None
        if self.result.missing:
            notes.append(f"the job is not finished; missing: {self.result.missing}")
        return ImportedResult(lora, run.folder, sweep, tuple(notes))

    def _settle_key(self, run: Run) -> list[str]:
        """Give a run the desk's key if the desk would train the same; returns what to say of it. The state of another
        kind of base fits nothing here, so it is left out."""
        job, base = self.job, str(run.lineage.get("base", ""))
        if base != job.base.fingerprint:
            return ["it was trained on another base than the job's, so the desk does not take it for a run of its own"]
        key = desk_key(job, run)
        if key == run.key:
            return []
        shutil.rmtree(run.folder / "state", ignore_errors=True)
        if not run.finished:
            return ["its training state is of a base as it is loaded without ComfyUI, so only lora-bootstrap run goes "
                    "on with it; it is listed with the checkpoints that it has"]
        away = {"base": base, "key": run.key, "precision": run.config.precision}
        lineage = {**run.lineage, "base": job.desk.base, "trained_away": away}
        write_json(run.folder / "run.json", {**run.facts, "key": key, "lineage": lineage})
        return ["the desk takes it for its own: a training with the same images and settings finds it"]

    def _place(self, folder: Path, name: str) -> Path:
        """Move a folder beside those of its kind under the first free name; returns its new place."""
        root = self.root / ("loras" if folder.parent == self.stage.runs else "sweeps")
        taken = {entry.casefold() for entry in os.listdir(root)}
        target = root / next(free for free in _numbered(name) if free.casefold() not in taken)
        for here, _, _ in os.walk(folder):
            sync_folder(Path(here))
        with plain_errors("write", target):
            os.rename(folder, target)
        sync_folder(root)
        return target

    def _place_sweep(self, old: str, new: str) -> Path:
        """The sweep's folder here, with its page, in the log of sweeps. `old` and `new` are the run's names."""
        staged = self.stage.sweeps / self.result.sweep
        if old != new:
            write_json(staged / "manifest.json", rename_run(read_json(staged / "manifest.json"), old, new))
        names = takewhile(lambda name: (self.root / "sweeps" / name).exists(), _numbered(self.result.sweep))
        for there in (self.root / "sweeps" / name for name in names):
            if _same_cells(there, staged):
                return there
        sweep = Sweep.load(self._place(staged, self.result.sweep))
        write_html(sweep)
        for file, kind in (("grid.png", SHEET), ("scores.png", SCORES)):
            if (sweep.folder / file).is_file():
                add_to_log(sweep, sweep.folder / file, kind)
        return sweep.folder


def _numbered(name: str) -> Iterator[str]:
    """The name, and then the same with a number."""
    return (name if number == 1 else with_ending(name, f"-{number}") for number in count(1))


def _last_step(run: Run) -> int:
    """The last step that has a LoRA file."""
    return max((step for step, _ in run.checkpoints()), default=0)


def rename_run(manifest: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """A sweep's manifest with the files of a run found under its new name. That changes no cell's key."""
    def renamed(choice: Mapping[str, Any]) -> dict[str, Any]:
        lora = str(choice["facts"].get("lora", ""))
        moved = f"{new}/{lora.removeprefix(f'{old}/')}" if lora.startswith(f"{old}/") else lora
        return {**choice, "facts": {**choice["facts"], "lora": moved}}

    axes = [{**axis, "choices": [renamed(choice) for choice in axis["choices"]]} if axis["name"] == CHECKPOINT else axis
            for axis in manifest["axes"]]
    return {**manifest, "axes": axes}


def _same_cells(there: Path, staged: Path) -> bool:
    """Whether the desk has a sweep of the same cells, all of them drawn."""
    theirs = Sweep.load(staged)
    with suppress(UserError):  # somebody else's folder, or a damaged sweep
        mine = Sweep.load(there)
        return [cell.key for cell in mine.everything] == [cell.key for cell in theirs.everything] and not mine.missing()
    return False
