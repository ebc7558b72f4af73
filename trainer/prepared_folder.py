"""The folder of a preparation: what it was made from, what is claimed in it, and what became of each picture.

`prepared.json` is what tells a prepared folder from other people's pictures, also one that was stopped half way.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .dataset import CROPS_FILE, Dataset, Sample
from .errors import UserError
from .events import Event
from .files import file_hash, read_json, write_json
from .images import IMAGE_SUFFIXES
from .masks import MASKS_FOLDER

if TYPE_CHECKING:
    from .prepare import PrepareConfig

RECORD = "prepared.json"
PREPARE_VERSION = 1
"""Raised whenever the same settings come to make other pictures."""
FLIPPED = "_flip"
"""Ends the name of a mirror image."""


@dataclass(frozen=True)
class Preparation:
    """What became of one picture.

    Attributes:
        source: the file it was.
        path: the file it is now; None if it was left out.
        done: what was done to it, or why it was left out, a phrase each.
    """

    source: Path
    path: Path | None
    done: tuple[str, ...]

    @property
    def text(self) -> str:
        """One line."""
        return f"{self.source.name}: {'; '.join(self.done) or 'as it was'}."


@dataclass(frozen=True)
class PrepareFinished(Event):
    """The last event of a preparation that was not stopped.

    Attributes:
        dataset: the prepared pictures; its notes name what was left out.
        pictures: what became of each, mirror images not counted.
        reused: the folder was there already, prepared from the same pictures with the same settings.
    """

    dataset: Dataset
    pictures: tuple[Preparation, ...]
    notes: tuple[str, ...] = ()
    reused: bool = False


def folder_key(dataset: Dataset, config: PrepareConfig) -> str:
    """Hash of what a prepared folder depends on: pictures, captions, masks, names, settings, files they name."""
    files = [file_hash(path) for path in (config.reference, config.background) if path and Path(path).is_file()]
    pictures = [(_content(s), s.caption, s.repeats, s.parent, s.path.name) for s in dataset]
    told = json.dumps([PREPARE_VERSION, pictures, dataclasses.asdict(config), files])
    return hashlib.sha256(told.encode()).hexdigest()


def _content(sample: Sample) -> str:
    try:
        return sample.content_hash + sample.mask_hash
    except UserError as error:  # a file that is gone is told of when its turn comes
        return str(error)


def claim(folder: Path, stems: Sequence[str]) -> list[str]:
    """Write down what will be written, before it is; returns the files, relative to the folder."""
    claimed = [f"{stem}{ending}.png" for stem in stems for ending in ("", FLIPPED)]
    write_json(folder / RECORD, {"key": "", "claimed": claimed})
    return claimed


def record(folder: Path, key: str, finished: PrepareFinished, claimed: Sequence[str]) -> None:
    """Write down what became of each picture, so that the folder can be used again."""
    def relative(path: Path | None) -> str | None:
        return None if path is None else path.relative_to(folder).as_posix()

    samples = [{**dataclasses.asdict(s), "path": relative(s.path), "mask": relative(s.mask)} for s in finished.dataset]
    write_json(folder / RECORD, {
        "key": key, "claimed": claimed, "samples": samples, "notes": finished.notes,
        "dataset_notes": finished.dataset.notes,
        "pictures": [{"source": str(p.source), "path": relative(p.path), "done": p.done} for p in finished.pictures]})


def prepared(folder: Path, key: str) -> PrepareFinished | None:
    """What was prepared there with this key, if all of it still is."""
    if not (folder / RECORD).is_file():
        return None
    try:
        found: dict[str, Any] = read_json(folder / RECORD)
        if found["key"] != key:
            return None
        samples = tuple(
            Sample(**{**s, "path": folder / s["path"], "size": tuple(s["size"]), "crop": None,
                      "mask": s["mask"] and folder / s["mask"]}) for s in found["samples"])
        pictures = tuple(Preparation(Path(p["source"]), p["path"] and folder / p["path"], tuple(p["done"]))
                         for p in found["pictures"])
    except (UserError, KeyError, TypeError):
        return None
    if not all(s.path.is_file() and (s.mask is None or s.mask.is_file()) for s in samples):
        return None
    return PrepareFinished(Dataset(samples, tuple(found["dataset_notes"])), pictures, tuple(found["notes"]), True)


def make_room(folder: Path, dataset: Dataset) -> None:
    """Remove what an earlier preparation wrote there. Raises UserError, before anything is removed, if the folder holds
    other pictures or the dataset's own."""
    home = folder.resolve()
    if inside := next((s.path for s in dataset if home in s.path.resolve().parents), None):
        raise UserError(f"{inside.name} lies in {folder}, where the prepared pictures shall go; give another folder.")
    claimed = set()
    if (folder / RECORD).is_file():
        paths = (folder / name for name in _claimed(folder / RECORD))
        claimed = {path for path in paths if home in path.resolve().parents}
    found = [path for path in folder.rglob("*")
             if path.suffix.lower() in IMAGE_SUFFIXES and path.parent.name != MASKS_FOLDER]
    if others := [path for path in found if path not in claimed]:
        raise UserError(f"{folder} holds pictures that were not prepared ({others[0].name}); give an empty folder.")
    for path in claimed:
        for own in (path, path.with_suffix(".txt"), path.parent / MASKS_FOLDER / path.name, path.parent / CROPS_FILE):
            own.unlink(missing_ok=True)




def _claimed(path: Path) -> list[str]:
    try:
        return [str(name) for name in read_json(path)["claimed"]]
    except (UserError, KeyError, TypeError):  # damaged: nothing is known to be ours
        return []
