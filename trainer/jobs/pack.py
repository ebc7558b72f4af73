"""Makes a job from a training, and writes it as one zip. Images go in as their files are, byte for byte."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import atomic_path, file_hash
from ..common.names import name_from, with_ending
from ..common.versions import library_versions
from ..datasets.dataset import Dataset, Sample, split_validation
from ..lora.hashes import tensor_hash
from ..records.zips import fold_name
from ..stacks.stack import StackEntry
from ..training.config import AUTO_PRECISION, FULL, TrainConfig
from ..training.preserving.beside import check_beside
from ..training.preserving.regularisation import as_regularisation
from ..training.runs import settle_full_precision
from .job import FILES, FORMAT, IMAGES, JOB, BesideLora, Desk, Job, JobBase, PackedImage, PackedSets, SweepPlan

LIBRARIES = ("torch", "diffusers", "transformers", "peft", "safetensors")


@dataclass(frozen=True)
class JobSets:
    """The images of a training, as they are given to `train`."""

    train: Dataset
    validation: Dataset | None = None
    regularisation: Dataset | None = None

    def split(self, config: TrainConfig) -> tuple[Dataset, Dataset]:
        """(training, validation), as `train` splits them."""
        if self.validation is not None:
            return self.train, self.validation
        return split_validation(self.train, config.data.validation_fraction, config.seed)

    def fingerprints(self, config: TrainConfig) -> dict[str, str]:
        """Those that a job records, by its fields."""
        train, validation = self.split(config)
        regularisation = as_regularisation(self.regularisation)
        return {"dataset": train.fingerprint, "validation": validation.fingerprint,
                "regularisation": regularisation.fingerprint if len(regularisation) else ""}


@dataclass(frozen=True)
class PackedJob:
    """A written job."""

    file: Path
    bytes: int
    images: int
    job: Job


@dataclass(frozen=True)
class JobRequest:
    """What is packed.

    Attributes:
        beside: LoRAs that are beside the training.
        beside_inside: whether their files go into the zip; otherwise the job only has their hashes.
    """

    config: TrainConfig
    sets: JobSets
    base: JobBase
    desk: Desk
    beside: Sequence[StackEntry] = ()
    beside_inside: bool = False
    sweep: SweepPlan | None = None

    def make_job(self) -> Job:
        """Raises UserError for images with control images, and for a file that cannot be read."""
        for dataset in filter(None, (self.sets.train, self.sets.validation, self.sets.regularisation)):
            if dataset.paired:
                raise UserError(f"{dataset.paired} of {len(dataset)} images have a control image, but edit models are "
                                "trained in ComfyUI only. Remove the control images, or train here.")
        train, _ = self.sets.split(self.config)
        return Job(format=FORMAT, config=self.config.to_dict(), base=self.base, desk=self.desk, images=len(train),
                   **self.sets.fingerprints(self.config), beside=tuple(map(self._packed_lora, self._beside)),
                   sweep=self.sweep, versions=used_versions())

    @property
    def _beside(self) -> tuple[StackEntry, ...]:
        return check_beside(self.beside, self.config)

    def _packed_lora(self, entry: StackEntry) -> BesideLora:
        name = with_ending(name_from(entry.path.stem, "lora"), ".safetensors")
        return BesideLora(name, tensor_hash(entry.path), float(entry.strength), self.beside_inside)

    def write(self, file: Path) -> PackedJob:
        """Write the zip; an existing one is replaced. Raises UserError if an image or LoRA cannot be read, or if the
        zip cannot be written."""
        job, names = self.make_job(), _Names()
        given = (self.sets.train, self.sets.validation, self.sets.regularisation)
        sets = PackedSets(*(None if dataset is None else tuple(map(names.pack, dataset))  # type: ignore[arg-type]
                            for dataset in given))
        loras = {lora.file: entry.path for lora, entry in zip(job.beside, self._beside, strict=True) if lora.packed}
        if len(loras) < sum(lora.packed for lora in job.beside):
            raise UserError("two LoRAs beside the training have files of the same name. Rename one of them.")
        records = {JOB: job.to_dict(), IMAGES: sets.to_dict()}
        write_zip(file, records, {**{name: path for path, name in names}, **loras}.items())
        return PackedJob(file, file.stat().st_size, job.images, job)


def find_desk_precision(config: TrainConfig, chosen: str) -> str:
    """`Desk.precision` of a desk that would train a LoRA on the base in the `chosen` precision."""
    if config.precision != AUTO_PRECISION:
        return ""
    return settle_full_precision(chosen) if config.method == FULL else chosen


def used_versions() -> dict[str, str]:
    """Versions of this pack and of the libraries that train."""
    from ... import __version__

    return {"lora-bootstrap": __version__, **library_versions(LIBRARIES)}


def write_zip(file: Path, records: Mapping[str, Any], files: Iterable[tuple[str, Path]]) -> int:
    """Write a zip of JSON records and of files as they are, by their names in it; returns how many are in it. Raises
    UserError if a file cannot be read, or if the zip cannot be written."""
    with atomic_path(file) as temp, zipfile.ZipFile(temp, "w", strict_timestamps=False) as archive:
        for name, value in records.items():
            archive.writestr(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n", zipfile.ZIP_DEFLATED)
        for name, path in files:
            try:
                packed = Path(name).suffix in (".json", ".jsonl", ".txt", ".csv")
                archive.write(path, name, zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED)
            except FileNotFoundError as error:
                raise UserError(f"{path} was removed while the zip was written. Pack again.") from error
        return len(archive.namelist())


@dataclass
class _Names:
    """The names that files get in a job: the hash of their bytes, and the file's own name."""

    taken: dict[str, tuple[Path, str]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[Path, str]]:
        return iter(self.taken.values())

    def pack(self, sample: Sample) -> PackedImage:
        mask = "" if sample.mask is None else self._name(sample.mask)
        return PackedImage(self._name(sample.path), sample.size, sample.caption, sample.repeats, sample.crop,
                           sample.parent, mask, sample.ground)

    def _name(self, path: Path) -> str:
        try:
            digest = file_hash(path)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}.") from error
        name = f"{FILES}/{digest}/{with_ending(name_from(path.stem, 'image'), path.suffix)}"
        return self.taken.setdefault(fold_name(name), (path, name))[1]
