"""The folder of a preparation: its sources, the files that belong to it, and what was done to each image.

`prepared.json` marks a folder as prepared, even if the preparation was stopped half way; without it, the images in a
folder are the user's own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..common.errors import UserError, unknown_name
from ..common.events import Event
from ..common.files import file_hash, remove_file, write_json
from ..common.names import checked_name
from ..common.schema import read_record
from ..models.families import get_family
from ..pictures.images import IMAGE_SUFFIXES
from .controls import is_beside, saved_controls
from .dataset import CROPS_FILE, Dataset, Sample
from .masks import MASKS_FOLDER
from .saved_files import PREPARED, Original, SavedFile, read_prepared, refuse_loss

CROPS = {"subject": "so that the subject fills the wanted share of the frame", "none": "not at all"}


SHAPES = {"bucket": "the family's bucket nearest in shape", "square": "a square"}


FLIPS = {"never": "no mirror images", "symmetric": "mirror images unless the character is asymmetric",
         "always": "mirror images of all"}


@dataclass(frozen=True, kw_only=True)
class PrepareConfig:
    """What is done to each image, in this order: background, colours, crop, resize, mirror image.

    Attributes:
        family: the model family to be trained, a key of `FAMILIES`.
        resolution: side in pixels of the square to train at; None: the family's own.
        crop: a key of `CROPS`. The subject is where the mask is, or else what stands out.
        subject: smallest and largest share of the frame's area that the subject's box should fill (seed guide 001:
            40-60 %).
        shape: a key of `SHAPES`.
        upscale: enlarge images below the resolution; otherwise they keep their pixels, in a smaller bucket.
        reference: an image whose colours all others are matched to; "": none.
        strength: how far colours are matched, 0..1.
        background: what to put behind masked subjects: a colour, or an image's path; "" keeps the background.
        background_tag: the tag that captions then get for it; "": none.
        flip: a key of `FLIPS`.
        alpha_masks: use transparency as the mask of images that have no mask.
        name: second half of the images' folder, `<repeats>_<name>`.

    Raises UserError for invalid values.
    """

    family: str = "sdxl"
    resolution: int | None = None
    crop: str = "subject"
    subject: tuple[float, float] = (0.4, 0.6)
    shape: str = "bucket"
    upscale: bool = False
    reference: str = ""
    strength: float = 1.0
    background: str = ""
    background_tag: str = "simple background"
    flip: str = "never"
    alpha_masks: bool = True
    name: str = "prepared"

    def __post_init__(self) -> None:
        step = get_family(self.family).bucket_step
        for name, valid in (("crop", CROPS), ("shape", SHAPES), ("flip", FLIPS)):
            if getattr(self, name) not in valid:
                raise unknown_name(name, getattr(self, name), valid)
        if self.resolution is not None and self.resolution < 2 * step:
            raise UserError(f"resolution is {self.resolution}; it must be at least {2 * step} pixels.")
        if len(self.subject) != 2 or not 0 < self.subject[0] <= self.subject[1] <= 1:
            raise UserError(f"subject is {self.subject}; it must be two shares such as (0.4, 0.6), the smaller first.")
        if not 0 <= self.strength <= 1:
            raise UserError(f"strength is {self.strength}; it must be from 0 to 1.")
        object.__setattr__(self, "name", checked_name(self.name))

    @property
    def side(self) -> int:
        """The resolution in pixels."""
        return self.resolution or get_family(self.family).resolution


PREPARE_VERSION = 1
"""Increased whenever the same settings produce other images."""
FLIPPED = "_flip"
"""Ending of a mirror image's name."""


@dataclass(frozen=True)
class Preparation:
    """What was done to one image.

    Attributes:
        source: the original file.
        path: the prepared file; None if the image was left out.
        done: what was done to it, or why it was left out, one phrase each.
    """

    source: Path
    path: Path | None
    done: tuple[str, ...]

    @property
    def text(self) -> str:
        """One line."""
        return f"{self.source.name}: {('; '.join(self.done) or 'unchanged').rstrip('.')}."


@dataclass(frozen=True)
class PrepareFinished(Event):
    """The last event of a preparation that was not stopped.

    Attributes:
        dataset: the prepared images; its notes name what was left out.
        pictures: what was done to each image, without the mirror images.
        reused: whether the folder already existed, prepared from the same images with the same settings.
    """

    dataset: Dataset
    pictures: tuple[Preparation, ...]
    notes: tuple[str, ...] = ()
    reused: bool = False


def folder_key(dataset: Dataset, config: PrepareConfig) -> str:
    """Hash of what a prepared folder depends on: images, captions, masks, control images, names, settings, and the
    files these name."""
    files = [file_hash(path) for path in (config.reference, config.background) if path and Path(path).is_file()]
    pictures = [(_content(s), s.caption, s.repeats, s.parent, s.path.name) for s in dataset]
    told = json.dumps([PREPARE_VERSION, pictures, dataclasses.asdict(config), files])
    return hashlib.sha256(told.encode()).hexdigest()


def _content(sample: Sample) -> str:
    try:
        return sample.content_hash + sample.mask_hash + sample.controls_hash
    except UserError as error:  # a missing file is reported when its turn comes
        return str(error)


def claim(folder: Path, stems: Sequence[str], originals: Sequence[Original]) -> dict[str, SavedFile]:
    """Record the files before they are written; returns them, by their paths in the folder.

    Args:
        stems: path of each image in the folder, without `.png`.
        originals: what each was made from.
    """
    claimed = {f"{stem}{ending}.png": SavedFile(original=original)
               for stem, original in zip(stems, originals, strict=True) for ending in ("", FLIPPED)}
    _write(folder, claimed, {"key": ""})
    return claimed


def _write(folder: Path, claimed: Mapping[str, SavedFile], more: Mapping[str, Any]) -> None:
    files = {name: entry.to_dict() for name, entry in claimed.items()}
    write_json(folder / PREPARED, {**more, "claimed": list(claimed), "files": files})


def record(folder: Path, key: str, finished: PrepareFinished, claimed: Mapping[str, SavedFile]) -> None:
    """Record what was done to each image, so that the folder can be reused."""
    def relative(path: Path | None) -> str | None:
        return None if path is None else path.relative_to(folder).as_posix()

    samples = [{**dataclasses.asdict(s), "path": relative(s.path), "mask": relative(s.mask),
                "controls": [relative(control) for control in s.controls]} for s in finished.dataset]
    _write(folder, {name: entry.as_written(folder / name) for name, entry in claimed.items()}, {
        "key": key, "samples": samples, "notes": finished.notes, "dataset_notes": finished.dataset.notes,
        "pictures": [{"source": str(p.source), "path": relative(p.path), "done": p.done} for p in finished.pictures]})


def find_prepared(folder: Path, key: str) -> PrepareFinished | None:
    """The preparation with this key in the folder, if all of its files still exist; else None."""
    if not (folder / PREPARED).is_file():
        return None
    with suppress(UserError):  # what is damaged is prepared again
        saved = read_record(folder / PREPARED, _Prepared)
        samples = tuple(Sample(_own_file(folder, sample.path), sample.size, sample.caption, sample.repeats,
                               parent=sample.parent, mask=sample.mask and _own_file(folder, sample.mask) or None,
                               controls=tuple(_own_file(folder, control) for control in sample.controls))
                        for sample in saved.samples)
        pictures = tuple(Preparation(Path(picture.source), picture.path and _own_file(folder, picture.path) or None,
                                     picture.done) for picture in saved.pictures)
        files = (path for s in samples for path in (s.path, s.mask, *s.controls) if path is not None)
        if saved.key == key and all(path.is_file() for path in files):
            return PrepareFinished(Dataset(samples, saved.dataset_notes), pictures, saved.notes, True)
    return None


def _own_file(folder: Path, name: str) -> Path:
    """A file that the record names. Raises UserError if it is not in the folder: other images are never trained."""
    if folder.resolve() not in (folder / name).resolve().parents:
        raise UserError(f"{folder / PREPARED} names {name!r}, which is not in its folder. Repair or delete it.")
    return folder / name


@dataclass(frozen=True)
class _PreparedSample:
    path: str
    size: tuple[int, int]
    caption: str = ""
    repeats: int = 1
    parent: str = ""
    mask: str | None = None
    controls: tuple[str, ...] = ()


@dataclass(frozen=True)
class _PreparedPicture:
    source: str
    path: str | None
    done: tuple[str, ...]


@dataclass(frozen=True)
class _Prepared:
    """What prepared.json holds once the folder is complete."""

    key: str
    samples: tuple[_PreparedSample, ...]
    pictures: tuple[_PreparedPicture, ...]
    notes: tuple[str, ...]
    dataset_notes: tuple[str, ...]


def make_room(folder: Path, dataset: Dataset, originals: Sequence[Original]) -> None:
    """Remove what an earlier preparation wrote there.

    Raises UserError, before anything is removed, if the folder has other images, the dataset's own, images that were
    prepared from another source, or files that somebody edited.
    """
    home = folder.resolve()
    if inside := next((s.path for s in dataset if home in s.path.resolve().parents), None):
        raise UserError(f"{inside.name} is in {folder}, the folder for the prepared images; choose another folder.")
    claimed = read_prepared(folder)
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*")
             if path.suffix.lower() in IMAGE_SUFFIXES and not is_beside(path.parent.name)}
    if others := sorted(found - claimed.keys()):
        raise UserError(f"{folder} has images that were not prepared there ({Path(others[0]).name}); choose an empty "
                        "folder.")
    refuse_loss(folder, claimed, dataset, originals, claimed)
    for path in map(folder.joinpath, claimed):
        for own in (path, path.with_suffix(".txt"), path.parent / MASKS_FOLDER / path.name, *saved_controls(path),
                    path.parent / CROPS_FILE):
            remove_file(own)
