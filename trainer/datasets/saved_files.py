"""What an earlier save left in a folder, so that a later one takes nothing away that is not its own to replace.

A save records for each image which original it was made from and how its files looked. A later save may replace or
remove an image if it is from the same source and nobody has edited its files since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import UserError
from ..common.files import file_hash, read_json
from ..pictures.duplicates import fingerprint_picture, same_picture
from ..pictures.images import open_image
from .controls import saved_controls
from .dataset import CROPS_FILE, Dataset, Sample
from .masks import MASKS_FOLDER

SAVED, PREPARED = "saved.json", "prepared.json"
"""The records of `save_dataset` and of `prepare`, in the folder that they write."""
_MOST_COMPARED = 64
"""How many images of equal names are looked at to tell whether two sources are the same."""
NO_FILE = "none"
"""In place of a hash: a later file of that name is somebody's own."""


@dataclass(frozen=True)
class Original:
    """The image that a saved one was made from: its path, and the hash of its bytes."""

    path: str = ""
    hash: str = ""

    @property
    def folder(self) -> str:
        return str(Path(self.path).parent)

    @property
    def is_there(self) -> bool:
        """Whether it still exists as it was."""
        return bool(self.path) and self.hash == _hash_of(Path(self.path))


@dataclass(frozen=True)
class SavedFile:
    """The record of a saved image.

    Attributes:
        key: hash of what it depends on; "" while it is being written.
        original: what it was made from; without a path if an earlier version saved it.
        image, caption, mask, controls: hashes of the files as they were written; "" if that is not known, and NO_FILE
            for an image without a mask or control images.
    """

    key: str = ""
    original: Original = Original()
    image: str = ""
    caption: str = ""
    mask: str = ""
    controls: str = ""

    @classmethod
    def read(cls, value: Any) -> SavedFile:
        """From JSON: an object, or only the key, as earlier versions recorded it. What is damaged is left out."""
        if not isinstance(value, Mapping):
            return cls(key=value if isinstance(value, str) else "")
        parts = {name: str(value.get(name) or "") for name in ("key", "image", "caption", "mask", "controls")}
        found = value.get("original")
        found = found if isinstance(found, Mapping) else {}
        return cls(original=Original(str(found.get("path") or ""), str(found.get("hash") or "")), **parts)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_written(self, path: Path) -> SavedFile:
        """The same record, with how the files look now."""
        return SavedFile(self.key, self.original, _hash_of(path), _hash_of(path.with_suffix(".txt")),
                         _hash_of(_mask_of(path)) or NO_FILE, _hash_of_controls(path) or NO_FILE)


def _mask_of(path: Path) -> Path:
    return path.parent / MASKS_FOLDER / path.name


def _hash_of_controls(path: Path) -> str:
    """One hash of all of an image's control images; "" without any."""
    hashes = [_hash_of(control) for control in saved_controls(path)]
    return hashlib.sha256(repr(hashes).encode()).hexdigest() if hashes else ""


def _hash_of(path: Path) -> str:
    """Hash of a file's bytes; "" if it cannot be read."""
    try:
        return file_hash(path) if path.is_file() else ""
    except OSError:
        return ""


def caption_hash(caption: str) -> str:
    """The hash of the file that a caption is saved in."""
    return hashlib.sha256((caption + "\n").encode()).hexdigest()


def originals_of(dataset: Dataset) -> list[Original]:
    """What each image was made from. An image that was itself saved or prepared counts as its own original's."""
    records: dict[Path, Mapping[str, SavedFile]] = {}
    return [_original_of(sample, records) for sample in dataset]


def _original_of(sample: Sample, records: dict[Path, Mapping[str, SavedFile]]) -> Original:
    path = sample.path.resolve()
    home = path.parent.parent
    if home not in records:
        records[home] = {**read_saved(home), **read_prepared(home)}
    known = records[home].get(path.relative_to(home).as_posix())
    return known.original if known and known.original.path else Original(str(path), _hash_of(path))


def read_saved(folder: Path) -> dict[str, SavedFile]:
    """The record of `save_dataset` in a folder. Raises UserError if it is damaged."""
    if not (folder / SAVED).is_file():
        return {}
    value = read_json(folder / SAVED)
    if not isinstance(value, dict):
        raise UserError(f"{folder / SAVED} is damaged. Choose another folder.")
    return _inside(folder, {name: SavedFile.read(entry) for name, entry in value.items()})


def read_prepared(folder: Path) -> dict[str, SavedFile]:
    """The record of `prepare` in a folder: all files that it claims. Empty if it is damaged: no file is known to be
    its own then."""
    try:
        value = read_json(folder / PREPARED) if (folder / PREPARED).is_file() else {"claimed": []}
        claimed = {str(name): SavedFile() for name in value["claimed"]}
        files = value.get("files") or _files_of_earlier_version(value)
        return _inside(folder, {**claimed, **{str(name): SavedFile.read(entry) for name, entry in files.items()}})
    except (UserError, KeyError, TypeError, AttributeError):
        return {}


def _files_of_earlier_version(value: Mapping[str, Any]) -> dict[str, Any]:
    """The originals and captions that earlier versions recorded under other names."""
    sources = {entry["path"]: str(Path(entry["source"]).resolve()) for entry in value.get("pictures", ())
               if entry["path"]}
    return {entry["path"]: {"original": {"path": sources.get(entry["path"], "")},
                            "caption": caption_hash(entry["caption"])} for entry in value.get("samples", ())}


def _inside(folder: Path, files: Mapping[str, SavedFile]) -> dict[str, SavedFile]:
    home = folder.resolve()
    return {name: entry for name, entry in files.items() if home in (folder / name).resolve().parents}


def refuse_loss(folder: Path, doomed: Mapping[str, SavedFile], dataset: Dataset, originals: Sequence[Original],
                known: Mapping[str, SavedFile]) -> None:
    """Raise UserError if a save would take away what another source saved, or what somebody edited.

    Args:
        doomed: what the save would replace or remove, by its path in the folder.
        originals: what each image of the dataset was made from, as from `originals_of`.
        known: all that was saved in the folder before.
    """
    there = {name: entry for name, entry in doomed.items() if (folder / name).is_file()}
    if edited := next((file for name, entry in there.items() for file in _edited(folder / name, entry)), None):
        raise _was_edited(edited)
    source = _Source(folder, dataset, originals, known)
    if foreign := [name for name, entry in there.items() if not source.owns(entry)]:
        first = there[foreign[0]].original
        of = f" from {first.folder}" if first.path else ""
        if first.folder == source.name:
            of += ", from images that have all been changed or replaced since"
        raise UserError(f"{folder} has {len(foreign)} images that were saved there{of} ({Path(foreign[0]).name}), and "
                        f"this save would replace them by {len(dataset)} images from {source.name}. Choose another "
                        "name, or delete that folder first.")


def refuse_edited_captions(folder: Path, captions: Mapping[str, str]) -> None:
    """Raise UserError if one of these captions, by its image's file name, would take the place of one that somebody
    edited since it was written there. `save_samples` records how it was written, if it is given `caption_hash`."""
    crops = read_json(folder / CROPS_FILE) if (folder / CROPS_FILE).is_file() else {}
    for name, caption in captions.items():
        path, entry = (folder / name).with_suffix(".txt"), crops.get(name) if isinstance(crops, Mapping) else None
        before = str(entry.get("caption_hash") or "") if isinstance(entry, Mapping) else ""
        if before and path.is_file() and _hash_of(path) not in (before, caption_hash(caption)):
            raise _was_edited(path)


def _was_edited(path: Path) -> UserError:
    return UserError(f"{path} was edited after it was saved, and this save would overwrite or delete it. Choose "
                     "another name, or move the file away first.")


def _edited(path: Path, entry: SavedFile) -> list[Path]:
    pairs = ((path, entry.image), (path.with_suffix(".txt"), entry.caption), (_mask_of(path), entry.mask))
    edited = [file for file, before in pairs if before and file.is_file() and _hash_of(file) != before]
    now = _hash_of_controls(path)
    return edited + [control for control in saved_controls(path) if entry.controls and now != entry.controls]


def _shows_the_same(sample: Sample, saved: Path) -> bool:
    with suppress(UserError):
        mine, theirs = (fingerprint_picture(image).thumb for image in (sample.load(), open_image(saved)))
        return np.array_equal(mine, theirs) or same_picture(mine, theirs)
    return False


class _Source:
    """Where the images of a save come from."""

    def __init__(self, folder: Path, dataset: Dataset, originals: Sequence[Original],
                 known: Mapping[str, SavedFile]) -> None:
        self.folder, self.dataset, self.known = folder, dataset, known
        self.folders = {original.folder for original in originals}
        self.hashes = {original.hash for original in originals if original.hash}
        self.name = min(self.folders, default="")

    @cached_property
    def overlaps(self) -> bool:
        """Whether an image of the earlier save is still among these, perhaps retouched under its name."""
        if any(entry.original.hash in self.hashes for entry in self.known.values()):
            return True
        saved = {Path(name).stem: self.folder / name for name in self.known}
        named = ((sample, saved[sample.path.stem]) for sample in self.dataset if sample.path.stem in saved)
        return any(_shows_the_same(sample, path) for sample, path in islice(named, _MOST_COMPARED))

    def owns(self, entry: SavedFile) -> bool:
        """Whether an image was saved from here: from the same folder, if any image of the earlier save is still among
        these, or the image itself is still in its folder. A folder that was moved is known by its images."""
        original = entry.original
        if not original.path:  # saved by an earlier version
            return self.overlaps
        if original.folder in self.folders:
            return self.overlaps or not original.hash or original.is_there
        return self.overlaps and (original.is_there or not Path(original.path).exists())
