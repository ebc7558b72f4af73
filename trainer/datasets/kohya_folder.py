"""A dataset as a kohya folder: `<repeats>_<concept>/` with PNG files, captions, masks and control images, for this and
other trainers.

The written files are recorded, so that saving again skips what is the same, removes what is no longer in the dataset,
and never touches images from elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..common.errors import UserError
from ..common.events import Event, Events, Progress, Warned
from ..common.files import remove_file, write_json
from ..common.leftovers import remove_leftovers
from ..common.locks import locked
from ..common.names import checked_name
from ..pictures.images import IMAGE_SUFFIXES
from .controls import control_paths, is_beside, saved_controls
from .dataset import CROPS_FILE, Dataset, Sample, save_samples
from .masks import MASKS_FOLDER
from .saved_files import SAVED, SavedFile, originals_of, read_saved, refuse_loss


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
        UserError: no images, a concept that is not a folder name, a folder with images from elsewhere or to which
            somebody else is saving, or a save that would take away what another source saved or somebody edited.
    """
    if not len(dataset):
        raise UserError("the dataset has no images to save; add images.")
    concept = checked_name(concept, "concept")
    with locked(folder):
        yield from _save(dataset, folder, concept)


def _save(dataset: Dataset, folder: Path, concept: str) -> Events:
    remove_leftovers(folder, depth=2)
    recorded = read_saved(folder)
    _refuse_others(dataset, folder, set(recorded))
    plan, unreadable = _plan(dataset, folder, concept, recorded)
    targets = {_relative(path, folder) for path in _targets(dataset, folder, concept)}
    stale = {name: entry for name, entry in recorded.items() if name not in targets}
    replaced = {one.name: recorded[one.name] for one in plan if one.fresh and one.name in recorded}
    refuse_loss(folder, {**stale, **replaced}, dataset, [one.entry.original for one in plan], recorded)
    # Before anything is written: recording a file that is never written does no harm, an unrecorded file would.
    entries = {**recorded, **{one.name: replace(one.entry, key="") if one.fresh else one.entry for one in plan}}
    _write_record(folder, entries)
    for message in unreadable:
        yield Warned(f"not saved: {message}")
    samples: list[Sample] = []
    written = 0
    for done, one in enumerate(plan, 1):
        try:
            samples.append(one.save(folder))
            entries[one.name] = one.entry.as_written(folder / one.name) if one.fresh else one.entry
            written += one.fresh
        except UserError as error:
            yield Warned(f"not saved: {error}")
        yield Progress("saving", done + len(dataset) - len(plan), len(dataset))
    removed = sum(_remove(folder / name) for name in stale)
    _write_record(folder, {name: entry for name, entry in entries.items() if name not in stale})
    yield DatasetSaved(Dataset(tuple(samples), dataset.notes), written, removed)


@dataclass(frozen=True)
class _Planned:
    """A sample to be saved: its path in the folder, its record, and whether its files have to be written."""

    sample: Sample
    name: str
    entry: SavedFile
    fresh: bool

    def save(self, folder: Path) -> Sample:
        """Write it if it is new or changed; returns it as it is in the folder. Raises UserError."""
        path, sample = folder / self.name, self.sample
        if self.fresh:
            save_samples(path.parent, [(sample.load(), sample.caption, {"name": path.stem, "parent": sample.parent})],
                         [sample.load_mask()], [sample.load_controls()])
        mask = None if sample.mask is None else path.parent / MASKS_FOLDER / path.name
        return replace(sample, path=path, crop=None, mask=mask, controls=control_paths(path, len(sample.controls)))


def _plan(dataset: Dataset, folder: Path, concept: str,
          recorded: Mapping[str, SavedFile]) -> tuple[list[_Planned], list[str]]:
    """(what is to be saved, why others cannot be read)."""
    plan, unreadable = [], []
    rows = zip(dataset, originals_of(dataset), _targets(dataset, folder, concept), strict=True)
    for sample, original, path in rows:
        name = _relative(path, folder)
        before = recorded.get(name, SavedFile())
        try:
            # The parent and the caption count too: they are in files beside it.
            told = repr((sample.content_hash, sample.mask_hash, sample.caption, sample.parent,
                         *((sample.controls_hash,) if sample.controls else ())))
        except UserError as error:
            unreadable.append(str(error))
            continue
        key = hashlib.sha256(told.encode()).hexdigest()
        fresh = key != before.key or not _is_there(sample, path)
        entry = SavedFile(key, original) if fresh else replace(before, original=original)
        plan.append(_Planned(sample, name, entry, fresh))
    return plan, unreadable


def _is_there(sample: Sample, path: Path) -> bool:
    mask = path.parent / MASKS_FOLDER / path.name
    controls = len(saved_controls(path)) == len(sample.controls)
    return (path.is_file() and path.with_suffix(".txt").is_file() and controls
            and (sample.mask is None or mask.is_file()))


def _write_record(folder: Path, entries: Mapping[str, SavedFile]) -> None:
    write_json(folder / SAVED, {name: entry.to_dict() for name, entry in entries.items()})


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


def _refuse_others(dataset: Dataset, folder: Path, own: set[str]) -> None:
    home = folder.resolve()
    if inside := next((sample.path for sample in dataset if home in sample.path.resolve().parents), None):
        raise UserError(f"{inside.name} is in {folder} itself; save the dataset under another name.")
    others = (path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES
              and not is_beside(path.parent.name) and _relative(path, folder) not in own)
    if other := next(others, None):
        raise UserError(f"{folder} has images that were not saved there from a dataset ({other.name}); choose another "
                        "name.")


def _remove(path: Path) -> bool:
    there = path.is_file()
    controls = saved_controls(path)
    for own in (path, path.with_suffix(".txt"), path.parent / MASKS_FOLDER / path.name, *controls):
        remove_file(own)
    if path.parent.is_dir():
        crops = path.parent / CROPS_FILE
        if not any(path.parent.glob("*.png")):
            remove_file(crops)
        for emptied in (path.parent / MASKS_FOLDER, *(control.parent for control in controls), path.parent):
            if emptied.is_dir() and not any(emptied.iterdir()):
                with suppress(OSError):  # somebody else may have put something there meanwhile
                    emptied.rmdir()
    return there


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
