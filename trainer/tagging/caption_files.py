"""Captions in files beside the images: writes them, and finds the images that have none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..common.errors import UserError
from ..common.events import Events, Progress
from ..common.files import atomic_write
from ..datasets.dataset import Dataset, Sample
from ..datasets.sidecars import CaptionFinder, caption_file

_EVERY = 50
"""Number of files between two events: an event for each would take longer than the writing."""


def has_caption_file(sample: Sample) -> bool:
    """Whether there is a caption file beside the image, even an empty one."""
    return caption_file(sample.path) is not None


def without_folder_names(dataset: Dataset) -> Dataset:
    """The dataset with only the captions from files: `load_folder` gives an image without one the name of its folder
    (kohya's `10_name`), which is no reason not to tag it."""
    finders = _finders(dataset)
    return Dataset(tuple(sample if finders[sample.path.parent].find(sample.path.name) else replace(sample, caption="")
                         for sample in dataset), dataset.notes)


def write_captions(dataset: Dataset, before: Dataset | None = None) -> Events:
    """Write each caption as a .txt beside its image, or into the .txt that it was read from, yielding Progress now and
    then.

    Args:
        before: the same samples as they were read; only captions that differ from it are written.

    Raises:
        UserError: a folder that cannot be written to, or two samples of one image with different captions.
    """
    pairs = list(zip(dataset, before or [None] * len(dataset), strict=True))
    changed = [new for new, old in pairs if old is None or new.caption != old.caption]
    _refuse_two_captions(changed)
    finders = _finders(changed)
    for number, sample in enumerate(changed, 1):
        atomic_write(_target(sample.path, finders[sample.path.parent]), (sample.caption + "\n").encode())
        if number % _EVERY == 0 or number == len(changed):
            yield Progress("writing captions", number, len(changed))


def _finders(samples: Iterable[Sample]) -> dict[Path, CaptionFinder]:
    return {folder: CaptionFinder.of(folder) for folder in {sample.path.parent for sample in samples}}


def _target(picture: Path, finder: CaptionFinder) -> Path:
    found = finder.find(picture.name)  # a second file beside A.TXT would be the same one on another system
    return picture.with_name(found) if found.lower().endswith(".txt") else picture.with_suffix(".txt")


def _refuse_two_captions(samples: Sequence[Sample]) -> None:
    captions: dict[object, str] = {}
    for sample in samples:
        path = sample.path.with_suffix(".txt")  # a.png and a.jpg share one file
        if captions.setdefault(path, sample.caption) != sample.caption:
            raise UserError(f"{path} would have to hold two captions, {captions[path][:40]!r} and "
                            f"{sample.caption[:40]!r}. Give each image a different name.")
