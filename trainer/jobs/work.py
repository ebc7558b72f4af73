"""The folder in which a job is run: its files, and an output folder with the run and the sweep, as at a desk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..common.cache_folder import folder_beside
from ..common.errors import UserError
from ..common.files import make_folder, plain_errors, sync_folder
from ..common.leftovers import remove_leftovers, temporary_path
from ..datasets.dataset import Dataset, Sample
from ..lora.hashes import tensor_hash
from ..records.zips import unpack
from ..stacks.stack import StackEntry
from ..sweeps.cells import Sweep
from ..training.runs import Run, read_run, run_folders
from .forms import CACHE, JOB_FORM, LOG, RUNS, SWEEPS
from .job import IMAGES, JOB, Job, PackedImage, PackedSets
from .pack import JobSets


@dataclass(frozen=True)
class Work:
    """A job's folder: `job.json`, `images.json`, `files/`, `loras/`, `log.txt`, and `output/` with what is made."""

    folder: Path
    job: Job

    @property
    def loras(self) -> Path:
        return _loras(self.folder)

    @property
    def sweeps(self) -> Path:
        return _sweeps(self.folder)

    @property
    def cache(self) -> Path:
        return folder_beside(self.loras)

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def sweep_folder(self) -> Path | None:
        return self.sweeps / self.job.sweep.name if self.job.sweep else None

    def find_run(self) -> Run | None:
        """The job's run, as far as it was begun; of several, the one that was changed last."""
        folders = run_folders(self.loras)
        latest = max(folders, key=lambda folder: (folder / "run.json").stat().st_mtime_ns, default=None)
        return None if latest is None else read_run(latest)

    def count_done(self) -> tuple[int, int]:
        """How far the job came: the last step whose LoRA is saved, and the number of cells that are drawn."""
        run, cells = self.find_run(), 0
        with suppress(UserError):  # not planned yet
            cells = Sweep.load(self.sweep_folder).counts()["done"] if self.sweep_folder else 0
        return max((step for step, _ in run.checkpoints()), default=0) if run else 0, cells

    def load_sets(self) -> JobSets:
        """The job's images. Raises UserError if they are not those that it was packed with."""
        if not (self.folder / IMAGES).is_file():
            raise UserError(f"{self.folder} holds no images to train on, as the folder of a finished result. Import "
                            "its zip at the desk, or run the job's own zip.")
        packed = PackedSets.load(self.folder / IMAGES)
        given = (packed.train, packed.validation, packed.regularisation)
        sets = JobSets(*(None if images is None else self._dataset(images)  # type: ignore[arg-type]
                         for images in given))
        found = sets.fingerprints(self.job.settings)
        if wrong := [name for name, value in found.items() if value != getattr(self.job, name)]:
            raise UserError(f"the images of the job are not those that it was packed with ({', '.join(wrong)}). Pack "
                            "the job again, or copy its zip again.")
        return sets

    def _dataset(self, images: Sequence[PackedImage]) -> Dataset:
        return Dataset(tuple(
            Sample(self._file(image.file), image.size, image.caption, image.repeats, image.crop, image.parent,
                   self._file(image.mask) if image.mask else None, image.ground) for image in images))

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise UserError(f"the job has no {name}, which it lists as an image. Pack the job again.")
        return path

    def find_beside(self, given: Sequence[Path] = ()) -> list[StackEntry]:
        """The LoRAs beside the training: those in the job, or else files of the same weights among `given` or beside
        the job's folder. Raises UserError for one that is not there."""
        near = sorted(self.folder.parent.glob("*.safetensors"))
        by_hash = {tensor_hash(path): path for path in (*near, *given)} if self.job.beside else {}
        entries = []
        for lora in self.job.beside:
            path = self.folder / lora.file if lora.packed else by_hash.get(lora.tensors)
            if path is None or not path.is_file() or tensor_hash(path) != lora.tensors:
                raise UserError(f"the job trains beside {lora.name}, and no file here has its weights "
                                f"({lora.tensors[:12]}). Give it with --beside FILE.")
            entries.append(StackEntry(path=path, strength=lora.strength))
        return entries


def open_work(source: Path, folder: Path | None = None,
              tell: Callable[[str], None] = lambda text: None) -> Work:
    """The folder of a job, which is made from a zip unless it is there already.

    Args:
        source: the zip of a job, the zip of a result that goes on, or a folder of this kind, such as one that was
            copied from another machine.
        folder: where to unpack a zip; None: beside it, under its name without .zip.

    Raises UserError for a zip that is damaged, hostile or of another form, and for a folder of another job.
    """
    source = Path(os.path.abspath(source))
    if source.is_dir():
        if not (source / JOB).is_file():
            raise UserError(f"{source} is not the folder of a job: it has no {JOB}. Give the zip of a job, or the "
                            "folder into which lora-bootstrap run unpacked one.")
        return Work(source, Job.load(source / JOB))
    folder = Path(os.path.abspath(folder)) if folder else source.with_suffix("")
    temp = temporary_path(folder)
    make_folder(folder.parent)
    remove_leftovers(folder.parent)
    try:
        return _unpacked(source, temp, folder, tell)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def _unpacked(source: Path, temp: Path, folder: Path, tell: Callable[[str], None]) -> Work:
    make_folder(temp)
    unpack(source, JOB_FORM, lambda name: place_of(temp, name))
    job = Job.load(temp / JOB)
    if folder.is_file():
        raise UserError(f"{folder} is a file; give a folder with --work.")
    if folder.exists():
        there = Job.load(folder / JOB) if (folder / JOB).is_file() else None
        if there is None and any(folder.iterdir()):
            raise UserError(f"{folder} is not empty, and holds no job. Give another folder with --work.")
        if there is not None and there.id != job.id:
            raise UserError(f"{folder} holds another job ({there.name}, {there.id}), not {job.name}, {job.id}. Give "
                            "another folder with --work.")
        if there is not None:
            _check_not_behind(Work(folder, there), Work(temp, job), source)
            tell(f"going on in {folder}, which holds this job already")
            return Work(folder, there)
        with suppress(OSError):
            folder.rmdir()
    with plain_errors("write", folder):
        os.rename(temp, folder)
    sync_folder(folder.parent)
    return Work(folder, job)


def _check_not_behind(here: Work, brought: Work, source: Path) -> None:
    """Raises UserError if the zip of a result came further than the folder, which would train again what is in it."""
    (step, cells), (later, more) = here.count_done(), brought.count_done()
    if (later, more) > (step, cells):
        raise UserError(f"{here.folder} holds this job at step {step} with {cells} cells, and {source.name} holds it "
                        f"at step {later} with {more} cells. Give another folder with --work to go on from the zip, "
                        "or run the folder itself.")



def place_of(folder: Path, name: str) -> Path:
    """Where a file of a job's or a result's zip lies in a job's folder."""
    first, _, rest = name.partition("/")
    roots = {RUNS: _loras(folder), SWEEPS: _sweeps(folder), CACHE: folder_beside(_loras(folder))}
    return roots[first] / rest if first in roots else folder / name


def _loras(folder: Path) -> Path:
    return folder / "output" / "loras"


def _sweeps(folder: Path) -> Path:
    return folder / "output" / "sweeps"
