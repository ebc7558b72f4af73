"""Datasets: kohya folders (`10_name`: ten repeats), flat and nested folders, captions, and the parents of crops.

Only headers are read here; pixels are read when a sample is loaded. A folder may hold a `crops.json`, written by
`save_samples`, with the parent of each of its images: {"file name": {"parent": "...", ...}}.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from ..common.errors import UserError
from ..common.files import atomic_path, atomic_write, file_hash, read_json, remove_file, write_json
from ..common.locks import locked
from ..common.schema import read_record
from ..pictures.crops import Box
from ..pictures.duplicates import is_flat
from ..pictures.flatten import parse_colour
from ..pictures.images import GROUND, IMAGE_SUFFIXES, image_size, open_image
from .buckets import Size, fit_to_bucket
from .controls import (
    FoundControls,
    Level,
    control_paths,
    crop_alike,
    is_control_folder,
    levels_below,
    saved_controls,
    scan_controls,
    unused_controls,
)
from .given_folder import find_given_folder
from .masks import MASKS_FOLDER, has_alpha, mask_tensor, read_mask, scan_masks
from .project_folders import has_preview_files, image_folders, is_previews, is_regularisation
from .sidecars import CAPTION_SUFFIXES, CaptionFinder, is_picture

CROPS_FILE = "crops.json"
_KOHYA_FOLDER = re.compile(r"(\d+)_(.+)")
_OTHER_PICTURES = frozenset((".gif", ".tif", ".tiff", ".avif", ".heic", ".jxl", ".psd", ".jfif"))
_MANY_REPEATS = 100
MOST_REPEATS = 10_000
"""A folder's name with a greater number is not a repeat count, but a work's number, as downloaders write it."""
_BLOCK = 1 << 14
_LOOKED_AT = 256
"""Side in pixels at which it is looked whether anything can be seen."""
_READING = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
"""Only Windows distinguishes text and binary; elsewhere a pipe would be waited for."""


@dataclass(frozen=True)
class Sample:
    """One image to train on, or a part of one.

    Attributes:
        path: the file.
        size: (width, height) in pixels of what is trained: upright, after the crop.
        caption: what it shows.
        repeats: how often it occurs in an epoch.
        crop: the part of the upright image to use; None: all of it.
        parent: the image it was made from; the file's stem if not given. Samples of one parent stay together when a
            validation set is split off.
        mask: the file that marks the part to train on in white, or `path` itself for its alpha channel; None: all of
            it.
        ground: the colour behind what is transparent.
        controls: the images that an edit model turns into this one.
        regularisation: whether it shows the class and not what is to be learnt; then its caption gets no trigger.
    """

    path: Path
    size: tuple[int, int]
    caption: str = ""
    repeats: int = 1
    crop: Box | None = None
    parent: str = ""
    mask: Path | None = None
    ground: str = GROUND
    controls: tuple[Path, ...] = ()
    regularisation: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.path, Path):
            object.__setattr__(self, "path", Path(self.path))
        if not self.parent:
            object.__setattr__(self, "parent", self.path.stem)

    def load(self, background: str | None = None, shown_at: int | None = None) -> Image.Image:
        """The upright RGB image, cropped, with `background` (None: its ground) where it was transparent; `shown_at` as
        in `open_image`. Raises UserError."""
        return self._crop(open_image(self.path, background or self.ground, None if self.crop else shown_at))

    def load_mask(self) -> Image.Image | None:
        """The mask in mode L, upright and cropped as the image is; None if there is none. Raises UserError."""
        if self.mask is None:
            return None
        return self._crop(read_mask(self.mask, self.path, whole_size(self)))

    def load_controls(self) -> list[Image.Image]:
        """The upright RGB control images. Where the image is a part of a larger one, so are those of the same shape.
        Raises UserError."""
        images = [open_image(path, self.ground) for path in self.controls]
        if self.crop is None or not images:
            return images
        whole = whole_size(self)
        return [crop_alike(image, self.crop, whole) for image in images]

    def _crop(self, image: Image.Image) -> Image.Image:
        if self.crop is None:
            return image
        left, top, right, bottom = self.crop
        if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
            raise UserError(f"crop {self.crop} is not inside {self.path}, which is {image.width} x {image.height} "
                            "pixels.")
        return image.crop(self.crop)

    @property
    def content_hash(self) -> str:
        """Hash of the image's bytes, the crop and the ground, the same wherever the file is. Raises UserError."""
        # On white the hash is the same as before there were other grounds, so that finished runs are still recognized.
        return _hash(_file_hash(self.path), self.crop, *(() if self.ground == GROUND else (self.ground,)))

    @property
    def mask_hash(self) -> str:
        """Hash of the mask's bytes, "alpha" for an alpha channel, "" without a mask. Raises UserError."""
        if self.mask is None:
            return ""
        return "alpha" if self.mask == self.path else _file_hash(self.mask)

    @property
    def controls_hash(self) -> str:
        """Hash of the control images' bytes, "" without any. Raises UserError."""
        return _hash(*map(_file_hash, self.controls)) if self.controls else ""


def _file_hash(path: Path) -> str:
    try:
        return file_hash(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from error


def _hash(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()


@dataclass(frozen=True)
class Dataset:
    """Samples in a fixed order, and notes about them (what was left out, and why)."""

    samples: tuple[Sample, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)

    @property
    def fingerprint(self) -> str:
        """Hash of everything a run depends on: pixels, captions, repeats, crops, parents, masks, control images and
        order, but not paths."""
        # Without masks, control images and regularisation the hash is the same as before these existed, so that
        # finished runs are still recognized.
        return _hash(*((s.content_hash, s.caption, s.repeats, s.parent) + ((s.mask_hash,) if s.mask else ())
                       + (("controls", s.controls_hash) if s.controls else ())
                       + (("regularisation",) if s.regularisation else ()) for s in self.samples))

    @property
    def paired(self) -> int:
        """How many samples have control images."""
        return sum(bool(sample.controls) for sample in self.samples)

    def with_captions(self, fn: Callable[[str], str]) -> Dataset:
        """The same samples, each caption replaced by `fn(caption)`."""
        return Dataset(tuple(dataclasses.replace(s, caption=fn(s.caption)) for s in self.samples), self.notes)

    def with_repeats(self, repeats: int) -> Dataset:
        """The same samples, each counting `repeats` times an epoch."""
        return Dataset(tuple(dataclasses.replace(s, repeats=repeats) for s in self.samples), self.notes)

    def concat(self, *others: Dataset) -> Dataset:
        """The samples of this and the others, one after the other."""
        parts = (self, *others)
        return Dataset(tuple(s for part in parts for s in part.samples),
                       tuple(dict.fromkeys(note for part in parts for note in part.notes)))


def load_folder(path: str | os.PathLike[str], *, recursive: bool = True, default_repeats: int = 1,
                caption_suffixes: Sequence[str] = CAPTION_SUFFIXES, background: str = GROUND,
                controls: str | os.PathLike[str] | None = None) -> Dataset:
    """The images of a folder, in the order of their names.

    In a subfolder named `10_name` each image counts ten times, and `name` is the caption of images without one
    (kohya's convention); elsewhere it counts `default_repeats` times. The caption of `a.png` is in `a.txt` or
    `a.caption`, its mask, if any, in `masks/a.png` or `a_mask.png`, its control image in `controls/a.png`,
    `a_control.png` or the folder `controls`. Of a kohya project only `img` is read; regularisation images and trainers'
    previews are left out wherever they are. Files that cannot be used are left out and named in the notes. What is
    transparent shows the `background`, a colour. Raises UserError if no image is left.
    """
    root = find_given_folder(Path(path))
    if default_repeats < 1:
        raise UserError(f"default_repeats is {default_repeats}; it must be 1 or more.")
    parse_colour(background)
    if controls is not None and not Path(controls).is_dir():
        raise UserError(f"{controls} is not a folder. Give the folder that holds the control images.")
    scan = FolderScan(root, recursive, tuple(caption_suffixes), background)
    scan.folder(root, default_repeats, "", ((Path(controls),),) if controls is not None else ())
    scan.finish()
    if controls is not None and not any(sample.controls for sample in scan.samples):
        raise UserError(f"no image in {controls} has the name of an image in {root}. Name each control image like the "
                        "image that it belongs to.")
    if not scan.samples:
        why = f" Found: {scan.notes[0]}" if scan.notes else ""
        raise UserError(f"{root} has no usable image ({', '.join(IMAGE_SUFFIXES)}). Put images into it.{why}")
    return Dataset(tuple(scan.samples), tuple(scan.notes))


class FolderScan:
    """The state of one walk through a folder."""

    def __init__(self, root: Path, recursive: bool, caption_suffixes: tuple[str, ...], ground: str) -> None:
        self.root, self.recursive, self.caption_suffixes, self.ground = root, recursive, caption_suffixes, ground
        self.samples: list[Sample] = []
        self.notes: list[str] = []
        self.uncaptioned: list[str] = []
        self.nearly: list[str] = []
        self.previews: list[tuple[Path, int, str]] = []
        self.control_homes: list[tuple[Path, int, str]] = []

    def finish(self) -> None:
        """Decide about folders of control images and previews, and note what concerns all images."""
        self._finish_controls()
        for folder, repeats, class_name in self.previews:
            if self.samples or has_preview_files(folder):
                self.notes.append(f"skipped folder {self._name(folder)}: it seems to hold a trainer's previews, which "
                                  "are not trained on. Rename it, or give it by itself, if you want them.")
            else:
                self.folder(folder, repeats, class_name)
        masked = [self._name(sample.path) for sample in self.samples if sample.mask]
        paired = [self._name(sample.path) for sample in self.samples if sample.controls]
        for names, text in ((self.nearly, "captions have nearly their image's name and are used"),
                            (masked, f"of {len(self.samples)} images have a mask"),
                            (paired, f"of {len(self.samples)} images have a control image"),
                            (self.uncaptioned, f"of {len(self.samples)} images have no caption")):
            if names:
                self.notes.append(f"{len(names)} {text}: {_some(names)}.")

    def _finish_controls(self) -> None:
        """Name the control images that belong to no image. A folder of them that belongs to none is skipped, unless
        there is nothing else to train on."""
        used = {control for sample in self.samples for control in sample.controls}
        for folder, repeats, class_name in self.control_homes:
            strays = list(unused_controls(folder, used))
            if any(folder in control.parents for control in used):
                self.notes += [f"skipped {self._name(stray)}: it is in {folder.name}, but belongs to no image."
                               for stray in strays]
            elif strays and self.samples:
                self.notes.append(f"skipped folder {self._name(folder)}: it seems to hold control images, but none has "
                                  "the name of an image. Name each like its image, or rename the folder to train on "
                                  "what is in it.")
            else:
                self.folder(folder, repeats, class_name)

    def folder(self, folder: Path, repeats: int, class_name: str, above: Sequence[Level] = ()) -> None:
        try:
            with os.scandir(folder) as found:
                entries = {entry.name: entry for entry in found if entry.name[0] != "."}
        except OSError as error:
            self.notes.append(f"skipped folder {folder.name}: {error.strerror}.")
            return
        crops = self._crops(folder) if CROPS_FILE in entries else {}
        captions = CaptionFinder(entries, self.caption_suffixes)
        masks, strays, pictures = scan_masks(folder, entries, captions)
        self.notes += [f"skipped {self._name(stray)}: it is in masks, but belongs to no image." for stray in strays]
        self.notes += [f"{self._name(folder / name)} counts as an image, not as a mask: {why}."
                       for name, why in pictures.items()]
        homes = {name for name, entry in entries.items() if is_control_folder(name) and _is_folder(entry)}
        levels = (*((tuple(folder / name for name in sorted(homes)),) if homes else ()), *above)
        controls = self._controls(folder, entries, captions, levels)
        outside = {home.name for level in above for home in level if home.parent == folder}
        taken = ({name.partition("/")[0] for name in masks.values()} | controls.beside | homes | outside
                 | self._left_out(folder, entries))
        self.control_homes += [(folder / name, repeats, class_name) for name in sorted(homes) if self.recursive]
        names = sorted(name for name in entries if not name.endswith(self.caption_suffixes) and name not in taken)
        for name in sorted(names, key=str.casefold):
            suffix = os.path.splitext(name)[1].lower()
            if suffix in IMAGE_SUFFIXES and self._is_file(folder, entries[name]):
                self._picture(folder, name, captions, repeats, class_name, crops.get(name), masks.get(name),
                              controls.of.get(name, ()))
            elif suffix in _OTHER_PICTURES:
                self.notes.append(f"skipped {self._name(folder / name)}: {suffix} is not supported; save it as png.")
            elif self.recursive and suffix not in IMAGE_SUFFIXES and _is_folder(entries[name]):
                self._folder_or_link(folder, entries[name], repeats, class_name, levels_below(levels, name))

    def _controls(self, folder: Path, names: Collection[str], captions: CaptionFinder,
                  levels: Sequence[Level]) -> FoundControls:
        found = scan_controls(folder, names, captions, levels)
        self.notes += [f"{self._name(folder / name)} counts as an image, not as a control image: {why}."
                       for name, why in found.pictures.items()]
        return found

    def _left_out(self, folder: Path, entries: Mapping[str, os.DirEntry]) -> set[str]:
        """What is not read of a kohya project: all but its folder of images."""
        folders = [name for name, entry in entries.items() if _is_folder(entry)] if self.recursive else []
        if not (taken := image_folders(folders)):
            return set()
        beside = {name for name in entries if name not in taken}
        left_out = sorted(name for name in beside
                          if (name in folders or is_picture(name)) and not is_control_folder(name))
        self.notes.append(f"{folder.name} is a project folder of a trainer: only {', '.join(taken)} is read, not "
                          f"{_some(left_out)}.")
        return beside

    def _is_file(self, folder: Path, entry: os.DirEntry) -> bool:
        """Whether it is a file, or a link to one; anything else with an image's ending is noted."""
        try:
            if entry.is_file():
                return True
            reason = "it is a folder" if entry.is_dir() else "it is not a file, or a broken link"
        except OSError as error:  # links in a circle
            reason = error.strerror or str(error)
        self.notes.append(f"skipped {self._name(folder / entry.name)}: {reason}. Remove or rename it.")
        return False

    def _folder_or_link(self, folder: Path, entry: os.DirEntry, repeats: int, class_name: str,
                        above: Sequence[Level]) -> None:
        if entry.is_symlink():  # a link may lead back to a folder above, which would never end
            self.notes.append(f"skipped folder {self._name(folder / entry.name)}: it is a link. Give its target.")
        else:
            self._subfolder(folder / entry.name, repeats, class_name, above)

    def _subfolder(self, folder: Path, repeats: int, class_name: str, above: Sequence[Level]) -> None:
        if is_regularisation(folder.name):
            self.notes.append(f"skipped folder {self._name(folder)}: it seems to hold regularisation images, which are "
                              "not trained on as the subject. Give it by itself as the regularisation of a training, "
                              "or rename it.")
            return
        if is_previews(folder.name):
            self.previews.append((folder, repeats, class_name))
            return
        kohya = _KOHYA_FOLDER.fullmatch(folder.name)
        if kohya and int(kohya[1]) > MOST_REPEATS:
            self.notes.append(f"the number in {folder.name} is not taken for repeats, because it is above "
                              f"{MOST_REPEATS}. Each image in it counts {_times(repeats)}.")
        elif kohya:
            repeats, class_name = int(kohya[1]), kohya[2].strip()
            if repeats == 0:
                self.notes.append(f"skipped folder {folder.name}: its name asks for 0 repeats.")
                return
            if repeats > _MANY_REPEATS:
                self.notes.append(f"each image in {folder.name} counts {repeats} times, as its name says; "
                                  "rename the folder if you do not want that.")
        self.folder(folder, repeats, class_name, above)

    def _picture(self, folder: Path, name: str, captions: CaptionFinder, repeats: int, class_name: str,
                 origin: Mapping[str, Any] | None, mask: str | None, controls: tuple[Path, ...]) -> None:
        path = folder / name
        try:
            size = image_size(path)
        except UserError as error:
            self.notes.append(f"skipped {self._name(path)}: {error}")
            return
        try:
            for control in controls:
                image_size(control)
        except UserError as error:
            self.notes.append(f"skipped {self._name(path)}, because of its control image: {error}")
            return
        found = captions.exact(name) or self._near(path, captions.near(name))
        caption = self._caption(f"{folder}{os.sep}{found}") if found else ""
        if not caption:
            self.uncaptioned.append(self._name(path))
            caption = class_name
        parent = str(origin.get("parent") or "") if isinstance(origin, Mapping) else os.path.splitext(name)[0]
        self.samples.append(Sample(path, size, caption, repeats, None, parent, None if mask is None else folder / mask,
                                   self.ground, controls))

    def _near(self, picture: Path, found: Sequence[str]) -> str:
        if len(found) == 1:
            self.nearly.append(f"{found[0]} for {self._name(picture)}")
            return found[0]
        if found:
            self.notes.append(f"which is the caption of {self._name(picture)}, {' or '.join(found)}? None is used; "
                              "rename one like the image.")
        return ""

    def _caption(self, path: str) -> str:
        try:
            text, encoding = decode_caption(_read(path))
        except OSError as error:
            self.notes.append(f"cannot read {self._name(path)}: {error.strerror}.")
            return ""
        if encoding != "utf-8":
            self.notes.append(f"{self._name(path)} is not UTF-8; read as {encoding}. Save it as UTF-8 to be sure.")
        return text

    def _crops(self, folder: Path) -> Mapping[str, Any]:
        try:
            crops = read_json(folder / CROPS_FILE)
        except UserError as error:
            self.notes.append(str(error))
            return {}
        return crops if isinstance(crops, Mapping) else {}

    def _name(self, path: str | Path) -> str:
        return Path(path).relative_to(self.root).as_posix()


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def _read(path: str) -> bytes:
    # Without a file object: there are as many captions as images, and creating one takes longer than reading.
    handle = os.open(path, _READING)
    try:
        data = os.read(handle, _BLOCK)
        while len(data) % _BLOCK == 0 and (more := os.read(handle, _BLOCK)):
            data += more
        return data
    finally:
        os.close(handle)


def _times(repeats: int) -> str:
    return "once" if repeats == 1 else f"{repeats} times"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def decode_caption(data: bytes) -> tuple[str, str]:
    """(the caption on one line, the encoding it was in). Never fails: bytes that are not UTF-8 are read as Shift-JIS if
    that gives kana, else as Windows-1252, else as Shift-JIS, else as Latin-1."""
    text, encoding = _decode(data)
    if (line := text.strip(" \t\r\n,")).isprintable():
        return line, encoding
    lines = [line.strip() for line in text.replace("\0", "").splitlines() if line.strip()]
    joined = " ".join(line if line.endswith((",", ".", "!", "?")) else line + "," for line in lines)
    return joined.rstrip(", "), encoding


def _decode(data: bytes) -> tuple[str, str]:
    try:
        return data.decode("utf-8-sig"), "utf-8"
    except UnicodeDecodeError:
        pass
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace"), "utf-16"
    found = {encoding: text for encoding in ("cp932", "cp1252", "latin-1")
             if (text := _strictly(data, encoding)) is not None}
    if not re.search("[\u3041-\u30fe]", found.get("cp932", "")) and "cp1252" in found:
        return found["cp1252"], "cp1252"
    return next((text, encoding) for encoding, text in found.items())


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    # Python's cp932 decodes bytes without a Shift-JIS character to private-use characters.
    return None if encoding == "cp932" and re.search("[\ue000-\uf8ff\x80]", text) else text


def save_samples(folder: str | os.PathLike[str],
                 items: Sequence[tuple[Image.Image, str, Mapping[str, Any]]],
                 masks: Sequence[Image.Image | None] = (),
                 controls: Sequence[Sequence[Image.Image]] = ()) -> list[Path]:
    """Write images (png), captions (txt), masks (masks/*.png), control images (controls/*.png), and the images' parents
    (crops.json), for `load_folder` to read.

    Args:
        items: (picture, caption, meta). In meta, "name" is the file's stem (a running number if not given) and
            "parent" the image it was made from; all of it is written to crops.json and must be JSON values.
        masks: one for each item, or none at all; None for an item without a mask.
        controls: those of each item, or none at all.

    Returns the images' paths. Files with other names are left alone; an existing crops.json is extended. Raises
    UserError for a name that is not a file name or occurs twice.
    """
    folder = Path(folder)
    names = [str(meta.get("name") or f"{number:04d}") for number, (_, _, meta) in enumerate(items)]
    for name in names:
        if Path(name).name != name or name.startswith("."):
            raise UserError(f"{name!r} is not a file name; use one without path separators and leading dots.")
    if len({name.casefold() for name in names}) < len(names):
        raise UserError(f"two images have the same name in {folder}; give each a different one.")
    paths = [folder / f"{name}.png" for name in names]
    columns = zip(paths, items, masks or [None] * len(items), controls or [()] * len(items), strict=True)
    for path, (image, caption, _), mask, own in columns:
        _save_png(path, image)
        atomic_write(folder / f"{path.stem}.txt", (caption + "\n").encode())
        if mask is not None:
            _save_png(folder / MASKS_FOLDER / path.name, mask.convert("L"))
        else:  # the mask of an earlier image with that name must not be used for this one
            remove_file(folder / MASKS_FOLDER / path.name)
        for stale in saved_controls(path)[len(own):]:  # likewise
            remove_file(stale)
        for target, control in zip(control_paths(path, len(own)), own, strict=True):
            _save_png(target, control)
    metas = {path.name: dict(meta) for path, (_, _, meta) in zip(paths, items, strict=True)}
    with locked(folder / CROPS_FILE):
        crops = read_record(folder / CROPS_FILE, dict) if (folder / CROPS_FILE).exists() else {}
        write_json(folder / CROPS_FILE, {**crops, **metas})
    return paths


def _save_png(path: Path, image: Image.Image) -> None:
    with atomic_path(path) as temp:
        image.save(temp, format="PNG")


def split_validation(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """(training, validation): about `fraction` of the samples are held back, the same ones for the same seed.

    All samples of one parent are on the same side. If no parent can be held back without taking half of the samples,
    all are trained on, and a note says so. Raises UserError for a fraction outside 0 to 1.
    """
    if not 0 <= fraction < 1:
        raise UserError(f"validation_fraction is {fraction}; it must be from 0 to below 1.")
    if fraction == 0:
        return dataset, Dataset(())
    held = _choose_held_back(dataset, max(1, round(fraction * len(dataset))), seed)
    if not held:
        note = (f"no validation: the {len(dataset)} images come from too few originals to hold any back, so all are "
                "trained on.")
        return Dataset(dataset.samples, (*dataset.notes, note)), Dataset(())
    train = tuple(s for s in dataset if s.parent not in held)
    return Dataset(train, dataset.notes), Dataset(tuple(s for s in dataset if s.parent in held))


def _choose_held_back(dataset: Dataset, target: int, seed: int) -> set[str]:
    """Parents to hold back: random ones that fit the target; if none does, the smallest one below half of all."""
    sizes: dict[str, int] = {}
    for sample in dataset:
        sizes[sample.parent] = sizes.get(sample.parent, 0) + 1
    order = sorted(sizes)
    random.Random(f"{seed}:validation").shuffle(order)
    held: set[str] = set()
    count = 0
    for parent in order:
        if count + sizes[parent] <= target:
            held.add(parent)
            count += sizes[parent]
    smallest = min(order, key=sizes.__getitem__, default=None)
    if not held and smallest is not None and 2 * sizes[smallest] < len(dataset):
        held.add(smallest)
    return held


def with_masks(dataset: Dataset, masks: Mapping[Path, Path]) -> Dataset:
    """The same samples, those in `masks` (image → mask file) with that mask."""
    samples = (dataclasses.replace(s, mask=masks[s.path]) if s.path in masks else s for s in dataset)
    return dataclasses.replace(dataset, samples=tuple(samples))


def with_alpha_masks(dataset: Dataset) -> Dataset:
    """The same samples; those without a mask whose image has transparent parts use its alpha channel as the mask.

    It opens the images. One that cannot be read is left unchanged, for others to report.
    """
    found = {}
    for sample in dataset:
        if sample.mask is None and has_alpha(sample.path):
            found[sample.path] = sample.path
    return with_masks(dataset, found)


def whole_size(sample: Sample) -> tuple[int, int]:
    """(width, height) of the whole upright image, of which the sample may be a part."""
    return sample.size if sample.crop is None else image_size(sample.path)


def hidden_by_ground(sample: Sample) -> str:
    """Why nothing can be seen in a sample, and what to do, if its ground hides what is drawn on transparency; "" if
    something can be seen, or it is not transparent. Raises UserError if it cannot be read."""
    if not is_flat(np.asarray(sample.load(shown_at=_LOOKED_AT))) or not has_alpha(sample.path):
        return ""
    shown = next((colour for colour in ("black", "gray", GROUND)
                  if not is_flat(np.asarray(sample.load(colour, shown_at=_LOOKED_AT)))), "")
    return shown and (f"nothing can be seen in it on {sample.ground}, which is put behind transparent parts; choose "
                      f"another background in Load Dataset (--background), such as {shown}.")


def bucket_mask(sample: Sample, bucket: Size, flip: bool = False) -> Tensor | None:
    """The sample's mask as [1, H, W] in 0..1, cropped and resized as its image is by `fit_to_bucket`, and mirrored with
    `flip`; None if it has none. Raises UserError as `Sample.load_mask` does."""
    mask = sample.load_mask()
    if mask is None:
        return None
    fitted = mask_tensor(fit_to_bucket(mask, bucket))
    return fitted.flip(-1) if flip else fitted
