"""A dataset as a kohya folder: `<repeats>_<concept>/` with PNG files, captions and masks, for this and other trainers.

The written files are recorded, so that saving again skips what is the same, removes what is no longer in the dataset,
and never touches images from elsewhere.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from ..common.errors import UserError
from ..common.events import Event, Events, Progress, Warned
from ..common.files import read_json, write_json
from ..common.names import checked_name
from ..pictures.images import IMAGE_SUFFIXES
from .dataset import CROPS_FILE, Dataset, Sample, save_samples
from .masks import MASKS_FOLDER

RECORD = "saved.json"


@dataclass(frozen=True)
class DatasetSaved(Event):
    """The last event of `save_dataset`.

    Attributes:
        dataset: the images as they are saved now.
        written: number of images that were written, because they are new or changed.
        removed: number of images of an earlier save that are no longer in the dataset.
    """

    dataset: Dataset
    written: int
    removed: int


def save_dataset(dataset: Dataset, folder: Path, concept: str) -> Events:
    """Write a dataset into `folder`, yielding Progress for each image and, last, DatasetSaved. Closing cancels.

    The sources are only read. An image that cannot be read is left out, and a Warned names it.

    Raises:
        UserError: no images, a concept that is not a folder name, or a folder with images from elsewhere.
    """
    if not len(dataset):
        raise UserError("the dataset has no images to save; add images.")
    concept = checked_name(concept, "concept")
    recorded = _read_record(folder)
    _refuse_others(dataset, folder, set(recorded))
    targets = {_relative(path, folder): path for path in _targets(dataset, folder, concept)}
    stale = sorted(recorded.keys() - targets.keys())
    # Before anything is written: recording a file that is never written does no harm, an unrecorded file would.
    claimed = {name: recorded.get(name, "") for name in (*recorded, *targets)}
    write_json(folder / RECORD, claimed)
    samples: list[Sample] = []
    written = 0
    for done, (sample, (name, path)) in enumerate(zip(dataset, targets.items(), strict=True), 1):
        try:
            saved, claimed[name], fresh = _save_sample(sample, path, claimed[name])
            samples.append(saved)
            written += fresh
        except UserError as error:
            yield Warned(f"not saved: {error}")
        yield Progress("saving", done, len(dataset))
    removed = sum(_remove(folder / name) for name in stale)
    write_json(folder / RECORD, {name: claimed[name] for name in targets})
    yield DatasetSaved(Dataset(tuple(samples), dataset.notes), written, removed)


def _save_sample(sample: Sample, path: Path, before: str) -> tuple[Sample, str, bool]:
    """(the sample as it lies at `path`, what it depends on, whether it had to be written)."""
    # The parent and the caption count too: they are in files beside it.
    told = repr((sample.content_hash, sample.mask_hash, sample.caption, sample.parent))
    key = hashlib.sha256(told.encode()).hexdigest()
    mask_path = path.parent / MASKS_FOLDER / path.name
    there = path.is_file() and path.with_suffix(".txt").is_file() and (sample.mask is None or mask_path.is_file())
    fresh = key != before or not there
    if fresh:
        save_samples(path.parent, [(sample.load(), sample.caption, {"name": path.stem, "parent": sample.parent})],
                     [sample.load_mask()])
    return replace(sample, path=path, crop=None, mask=None if sample.mask is None else mask_path), key, fresh


def _targets(dataset: Dataset, folder: Path, concept: str) -> list[Path]:
    """A file for each sample, with its own name, and a number if several have that name."""
    used: set[tuple[int, str]] = set()
    targets = []
    for sample in dataset:
        stem, number = sample.path.stem, 2
        while (sample.repeats, stem.casefold()) in used:
            stem, number = f"{sample.path.stem}_{number}", number + 1
        used.add((sample.repeats, stem.casefold()))
        targets.append(folder / f"{sample.repeats}_{concept}" / f"{stem}.png")
    return targets


def _read_record(folder: Path) -> dict[str, str]:
    if not (folder / RECORD).is_file():
        return {}
    value = read_json(folder / RECORD)
    if not isinstance(value, dict):
        raise UserError(f"{folder / RECORD} is damaged. Choose another folder.")
    home = folder.resolve()
    return {str(name): str(key) for name, key in value.items() if home in (folder / str(name)).resolve().parents}


def _refuse_others(dataset: Dataset, folder: Path, own: set[str]) -> None:
    home = folder.resolve()
    if inside := next((sample.path for sample in dataset if home in sample.path.resolve().parents), None):
        raise UserError(f"{inside.name} is in {folder} itself; save the dataset under another name.")
    others = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES
              and path.parent.name != MASKS_FOLDER and _relative(path, folder) not in own)
    if other := next(others, None):
        raise UserError(f"{folder} has images that were not saved there from a dataset ({other.name}); choose another "
                        "name.")


def _remove(path: Path) -> bool:
    there = path.is_file()
    for own in (path, path.with_suffix(".txt"), path.parent / MASKS_FOLDER / path.name):
        own.unlink(missing_ok=True)
    if path.parent.is_dir():
        crops = path.parent / CROPS_FILE
        if not any(path.parent.glob("*.png")):
            crops.unlink(missing_ok=True)
        for emptied in (path.parent / MASKS_FOLDER, path.parent):
            if emptied.is_dir() and not any(emptied.iterdir()):
                emptied.rmdir()
    return there


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
