"""Prepares a dataset so that it trains well: images cropped to the subject, with matching colours, in whole buckets.

The result is a kohya folder of PNG files, captions and masks. For every image it is reported what was done to it, or
why it was left out. A folder that was prepared from the same images with the same settings is reused.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageOps
from torch import Tensor

from ..common.errors import UserError
from ..common.events import Events, Interrupted, Progress
from ..common.leftovers import remove_leftovers
from ..common.locks import locked
from ..models.families import get_family
from ..pictures.crops import Box
from ..pictures.duplicates import is_flat
from ..pictures.images import open_image
from .controls import control_paths, crop_alike
from .dataset import Dataset, Sample, hidden_by_ground, save_samples, with_alpha_masks
from .framing import frame_subject, largest_frame, share_of_frame, subject_box, suitable_bucket, trained_size
from .masks import MASKS_FOLDER
from .prepared_folder import (
    FLIPPED,
    Preparation,
    PrepareConfig,
    PrepareFinished,
    claim,
    find_prepared,
    folder_key,
    make_room,
    record,
)
from .retouch import (
    SYMMETRIC,
    asymmetric_words,
    asymmetry,
    is_front_view,
    lab_statistics,
    match_colours,
    on_background,
    replace_background_tags,
    resize_image,
)
from .saved_files import originals_of

_FRONTS = 24
"""Number of front views that are enough to tell whether both sides are alike."""


def prepare(dataset: Dataset, config: PrepareConfig, folder: str | Path, *,
            should_stop: Callable[[], bool] = lambda: False) -> Events:
    """Prepare a dataset into `folder`, yielding Progress for each image and, last, PrepareFinished.

    The sources are only read. To cancel, close the iterator or raise where it is consumed; with `should_stop` the last
    event is Interrupted. Raises UserError if no image is left, a named file cannot be read, the folder has images
    that were not prepared there, or somebody else is preparing images into it.
    """
    folder = Path(folder)
    dataset = with_alpha_masks(dataset) if config.alpha_masks else dataset
    with locked(folder):
        yield from _prepare(dataset, config, folder, should_stop)


def _prepare(dataset: Dataset, config: PrepareConfig, folder: Path, should_stop: Callable[[], bool]) -> Events:
    key = folder_key(dataset, config)
    if (before := find_prepared(folder, key)) is not None:
        yield before
        return
    tools = _Tools.of(dataset, config)
    names = _unique_names(dataset)
    originals = originals_of(dataset)
    remove_leftovers(folder, depth=2)
    make_room(folder, dataset, originals)
    claimed = claim(folder, [f"{sample.repeats}_{config.name}/{name}"
                             for sample, name in zip(dataset, names, strict=True)], originals)
    saved: list[Sample] = []
    pictures: list[Preparation] = []
    for done, (sample, name) in enumerate(zip(dataset, names, strict=True), 1):
        try:
            samples, what = _prepare_one(sample, name, tools, folder)
        except UserError as error:
            samples, what = (), (str(error),)
        saved += samples
        pictures.append(Preparation(sample.path, samples[0].path if samples else None, what))
        yield Progress("prepare", done, len(dataset))
        if should_stop():
            yield Interrupted("prepare")
            return
    left_out = tuple(f"left out {picture.text}" for picture in pictures if picture.path is None)
    if not saved:
        raise UserError(f"nothing is left to train on: {left_out[0] if left_out else 'the dataset is empty.'}")
    finished = PrepareFinished(Dataset(tuple(saved), (*dataset.notes, *left_out)), tuple(pictures), tools.notes)
    record(folder, key, finished, claimed)
    yield finished


@dataclass(frozen=True)
class _Tools:
    """What is the same for all images."""

    config: PrepareConfig
    flip: bool
    target: Tensor | None
    background: Image.Image | str
    notes: tuple[str, ...]

    @classmethod
    def of(cls, dataset: Dataset, config: PrepareConfig) -> _Tools:
        flip, note = _may_flip(dataset, config.flip)
        target = lab_statistics(open_image(config.reference)) if config.reference else None
        return cls(config, flip, target, _background(config.background), (note,) if note else ())


def _background(text: str) -> Image.Image | str:
    if not text or _is_colour(text):
        return text
    if not Path(text).is_file():
        raise UserError(f"background {text!r} is neither a colour nor a file; use a name such as 'white', '#rrggbb', "
                        "or the path of an image.")
    return open_image(text)


def _is_colour(text: str) -> bool:
    try:
        return bool(ImageColor.getrgb(text))
    except ValueError:
        return False


def _may_flip(dataset: Dataset, flip: str) -> tuple[bool, str]:
    """(whether mirror images are made, why not)."""
    if flip != "symmetric":
        return flip == "always", ""
    if word := asymmetric_words([sample.caption for sample in dataset]):
        return False, f"no mirror images: the captions name {word!r}, which is on one side."
    fronts = []
    for sample in [sample for sample in dataset if is_front_view(sample.caption)][:_FRONTS]:
        with suppress(UserError):  # it is left out, and named, when its turn comes
            fronts.append(asymmetry(sample.load()))
    if not fronts:
        return False, ("no mirror images: no caption says front view, so whether the character is the same on both "
                       "sides cannot be measured.")
    if (measured := statistics.median(fronts)) > SYMMETRIC:
        return False, (f"no mirror images: seen from the front, left and right differ by {measured:.2f}; symmetric "
                       f"characters differ by up to {SYMMETRIC}.")
    return True, ""


@dataclass
class _Work:
    """One image being prepared."""

    image: Image.Image
    mask: Image.Image | None
    controls: list[Image.Image]
    caption: str
    done: list[str]
    box: Box


def _prepare_one(sample: Sample, name: str, tools: _Tools, folder: Path) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    image = sample.load()
    work = _Work(image, sample.load_mask(), sample.load_controls(), sample.caption, [], (0, 0, *image.size))
    subject = subject_box(work.image, work.mask)
    _replace_background(work, tools)
    if is_flat(np.asarray(work.image)) and (hidden := hidden_by_ground(sample)):
        work.done.append(hidden.rstrip("."))
    if tools.target is not None:
        work.image = match_colours(work.image, tools.target, tools.config.strength, work.mask)
        work.done.append("colours matched")
    if work.controls and (tools.target is not None or tools.background):
        work.done.append("its control image keeps its colours and background")
    _crop(work, subject, tools.config)
    _resize(work, tools.config)
    items: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (work.image, work.caption, {"name": name, "parent": sample.parent, "box": list(work.box)})]
    masks, controls = [work.mask], [work.controls]
    if tools.flip:
        meta = {**items[0][2], "name": f"{name}{FLIPPED}", "flip": True}
        items.append((ImageOps.mirror(work.image), work.caption, meta))
        masks.append(work.mask and ImageOps.mirror(work.mask))
        controls.append([ImageOps.mirror(control) for control in work.controls])
        work.done.append("mirror image added")
    target = folder / f"{sample.repeats}_{tools.config.name}"
    paths = save_samples(target, items, masks, controls)
    samples = tuple(
        Sample(path, image.size, caption, sample.repeats, None, sample.parent,
               None if mask is None else path.parent / MASKS_FOLDER / path.name,
               controls=control_paths(path, len(work.controls)))
        for path, (image, caption, _), mask in zip(paths, items, masks, strict=True))
    return samples, tuple(work.done)


def _replace_background(work: _Work, tools: _Tools) -> None:
    if not tools.background:
        return
    if work.mask is None:
        work.done.append("background left unchanged, because it has no mask")
        return
    work.image = on_background(work.image, work.mask, tools.background)
    work.caption = replace_background_tags(work.caption, tools.config.background_tag)
    work.done.append("background replaced")


def _crop(work: _Work, subject: Box, config: PrepareConfig) -> None:
    size, step = work.image.size, get_family(config.family).bucket_step
    square = (config.side // step * step,) * 2
    bucket = square if config.shape == "square" else suitable_bucket(size, subject, config.subject, config.side, step)
    aspect = bucket[0] / bucket[1]
    if config.crop == "subject":
        # If the frame has fewer pixels than the bucket, the subject gains size but loses sharpness.
        frame = frame_subject(size, subject, config.subject, aspect, 0 if config.upscale else bucket[0])
    elif config.shape == "square":
        frame = largest_frame(size, subject, aspect)
    else:
        return
    if frame == (0, 0, *size):
        return
    before, after = share_of_frame(subject, (0, 0, *size)), share_of_frame(subject, frame)
    work.done.append(f"cropped to {frame[2] - frame[0]} x {frame[3] - frame[1]}, the subject fills {after:.0%} of it "
                     f"instead of {before:.0%}")
    if share_of_frame(frame, subject) < 0.98:
        work.done.append("part of the subject is cut off")
    work.box = frame
    _cut(work, frame)


def _cut(work: _Work, box: Box) -> None:
    """Keep this part of the image, of its mask, and of the control images that have its shape."""
    work.controls = [crop_alike(control, box, work.image.size) for control in work.controls]
    work.image = work.image.crop(box)
    work.mask = work.mask and work.mask.crop(box)


def _resize(work: _Work, config: PrepareConfig) -> None:
    """Resize to the bucket; what overhangs is cut off evenly."""
    step = get_family(config.family).bucket_step
    size = trained_size(work.image.size, config.side, step, config.shape == "square", config.upscale)
    scale = max(size[0] / work.image.width, size[1] / work.image.height)
    if work.image.size == size:
        return
    wide, high = min(work.image.width, round(size[0] / scale)), min(work.image.height, round(size[1] / scale))
    left, top = (work.image.width - wide) // 2, (work.image.height - high) // 2
    box = (left, top, left + wide, top + high)
    work.box = (work.box[0] + left, work.box[1] + top, work.box[0] + left + wide, work.box[1] + top + high)
    _cut(work, box)
    work.image = resize_image(work.image, size)
    work.mask = work.mask and resize_image(work.mask, size)
    if scale > 1.001:
        work.done.append(f"enlarged {scale:.2f} times to {size[0]} x {size[1]}")
    elif scale < 0.999:
        work.done.append(f"shrunk to {size[0]} x {size[1]}")
    else:
        work.done.append(f"trimmed to {size[0]} x {size[1]}")


def _unique_names(dataset: Dataset) -> Sequence[str]:
    """A file name for each sample: its own, with a number if several have it (such as the crops of one image)."""
    used: set[str] = set()
    names = []
    for sample in dataset:
        name, number = sample.path.stem, 2
        while name.casefold() in used or f"{name}{FLIPPED}".casefold() in used:
            name, number = f"{sample.path.stem}_{number}", number + 1
        used |= {name.casefold(), f"{name}{FLIPPED}".casefold()}
        names.append(name)
    return names
