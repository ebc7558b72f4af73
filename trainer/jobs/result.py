"""Writes the result of a job as one zip: the run's folder, the sweep with its scores, and the log.

A result that is not finished also holds the job's images, the training state, and the latents and text embeddings that
were computed, so that the job goes on from it on any machine, to the same bits where machine and libraries are alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..common.errors import UserError
from ..common.tensor_cache import ENTRY_NAME
from ..records.zips import is_safe, list_files
from ..sweeps.cells import Sweep
from ..training.runs import Run
from .forms import CACHE, JOB_FORM, LOG, RESULT, RUNS, SWEEPS, Result
from .job import FILES, FORMAT, IMAGES, JOB, LORAS
from .pack import used_versions, write_zip
from .run import find_missing
from .work import Work


@dataclass(frozen=True)
class PackedResult:
    """A written result.

    Attributes:
        missing: what is left to do, in words; "" if nothing is.
        left_out: names of files that do not belong to a result.
    """

    file: Path
    bytes: int
    finished: bool
    missing: str
    left_out: tuple[str, ...]


def pack_result(work: Work, file: Path, device: str = "") -> PackedResult:
    """Write what a job's folder holds; an existing zip is replaced.

    Args:
        device: name of what trained it, for the record.

    Raises UserError if nothing was trained yet, while the run is being trained, and if the zip cannot be written.
    """
    run, missing = work.find_run(), find_missing(work)
    if run is None:
        raise UserError(f"{work.folder} holds no run yet, so there is no result to pack. Run the job first.")
    if run.being_trained:
        raise UserError(f"run {run.name!r} is being trained now. Stop it first, which packs its result too.")
    sweep = work.sweep_folder
    result = Result(
        format=FORMAT, job=work.job.id, finished=not missing, step=_last_step(run), steps=run.config.steps,
        run=run.name, sweep=sweep.name if sweep and (sweep / "manifest.json").is_file() else "",
        base=str(run.lineage.get("base", "")), missing=missing, versions={**used_versions(), "device": device})
    found = dict(_files(work, run, whole=bool(missing)))
    fitting = {name: path for name, path in found.items() if JOB_FORM.find_kind(name) and is_safe(name)}
    write_zip(file, {JOB: work.job.to_dict(), RESULT: result.to_dict()}, fitting.items())
    return PackedResult(file, file.stat().st_size, result.finished, missing, tuple(found.keys() - fitting.keys()))


def _last_step(run: Run) -> int:
    return max((step for step, _ in run.checkpoints()), default=0)


def _files(work: Work, run: Run, whole: bool) -> Iterator[tuple[str, Path]]:
    """(name in the zip, path) of what is packed. `whole`: with all that the job needs to go on."""
    if work.log.is_file():
        yield LOG, work.log
    for path, inner in list_files(run.folder):
        yield f"{RUNS}/{run.name}/{inner}", path
    sweep = work.sweep_folder
    if sweep and (sweep / "manifest.json").is_file():
        yield from _sweep_files(sweep)
    if whole:
        yield IMAGES, work.folder / IMAGES
        for part in (FILES, LORAS):
            yield from ((f"{part}/{inner}", path) for path, inner in list_files(work.folder / part))
        yield from ((f"{CACHE}/{inner}", path) for path, inner in list_files(work.cache)
                    if ENTRY_NAME.fullmatch(inner))


def _sweep_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Without its page, which an import writes anew, and without cells of an earlier plan."""
    keys = {cell.key for cell in Sweep.load(folder).everything}
    for path, inner in list_files(folder):
        if path.suffix != ".html" and (not inner.startswith("cells/") or path.stem in keys):
            yield f"{SWEEPS}/{folder.name}/{inner}", path
