"""Control images: what an edit model is given beside the caption, to turn into the image that it is trained on.

The control image of `x.png` is `controls/x.png` (or `control`; any image format), as musubi-tuner and ai-toolkit pair
two folders by file names, or `x_control.png` beside it. If there are several, they are `controls/x_0.png`,
`controls/x_1.png` (musubi-tuner, docs/dataset_config.md), or `x.png` in `controls`, `controls_2`, `controls_3` (the
several folders of ai-toolkit's control_path).
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ..pictures.crops import Box
from .masks import MASKS_FOLDER, same_shape
from .sidecars import CaptionFinder, fold, is_picture

CONTROLS_FOLDER = "controls"
_FOLDER = re.compile(r"controls?([ _-]?(images?|imgs?))?([ _-]?\d)?")
_BESIDE = re.compile(r"(.+)[_-]control(?:[_-]?(\d{1,4}))?")
_NUMBERED = re.compile(r"(.+)_(\d{1,4})")

Level = tuple[Path, ...]
"""Folders of control images; an image's control images are in the first of several levels that has any."""


def control_folder(number: int) -> str:
    """The name of the folder that holds every image's control image of that number, counted from 0."""
    return CONTROLS_FOLDER if number == 0 else f"{CONTROLS_FOLDER}_{number + 1}"


def is_control_folder(name: str) -> bool:
    """Whether a folder's name says that it holds control images."""
    return bool(_FOLDER.fullmatch(fold(name)))


def is_beside(name: str) -> bool:
    """Whether a folder's name says that it holds masks or control images, not images to train on."""
    return name == MASKS_FOLDER or is_control_folder(name)


@dataclass(frozen=True)
class FoundControls:
    """The control images of one folder's images.

    Attributes:
        of: image → its control images, in order.
        beside: the files in the folder itself that are control images.
        pictures: a file in the folder that is named like a control image → why it is not one.
    """

    of: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    beside: frozenset[str] = frozenset()
    pictures: Mapping[str, str] = field(default_factory=dict)


def scan_controls(folder: Path, names: Collection[str], captions: CaptionFinder,
                  levels: Sequence[Level] = ()) -> FoundControls:
    """The control images of the images in a folder.

    Args:
        names: file names in the folder.
        captions: finds the captions in the folder. A file that has one is an image.
        levels: folders of control images, the nearest first. They take precedence over files beside the images.
    """
    marked = [name for name in names if "control" in name.lower() and is_picture(name)]
    if not marked and not any(levels):
        return FoundControls()
    stems = {os.path.splitext(name)[0]: name for name in names if is_picture(name)}
    folded = {fold(stem): name for stem, name in stems.items()}
    links: dict[str, list[tuple[int, Path]]] = {}
    pictures = {}
    for name in sorted(marked):
        match = _BESIDE.fullmatch(fold(os.path.splitext(name)[0]))
        if match and (owner := folded.get(match[1])):
            if captions.find(name):
                pictures[name] = "it has a caption of its own"
            else:
                links.setdefault(owner, []).append((int(match[2] or 0), folder / name))
    beside = frozenset(path.name for rows in links.values() for _, path in rows)
    of = {name: tuple(path for _, path in sorted(rows)) for name, rows in links.items()}
    for level in reversed(levels):
        of |= _matched(level, {stem: name for stem, name in stems.items() if name not in beside})
    return FoundControls(of, beside, pictures)


def _matched(level: Level, stems: Mapping[str, str]) -> dict[str, tuple[Path, ...]]:
    """Image → its control images in these folders, for images by their stems."""
    folded = {fold(stem): name for stem, name in stems.items()}
    found: dict[str, list[Path]] = {}
    for home in level:
        rows: dict[str, dict[int, Path]] = {}
        for name in control_names(home):
            stem = os.path.splitext(name)[0]
            owner, number = stems.get(stem) or folded.get(fold(stem)), -1
            if owner is None and (match := _NUMBERED.fullmatch(stem)):
                owner, number = stems.get(match[1]) or folded.get(fold(match[1])), int(match[2])
            if owner is not None:
                rows.setdefault(owner, {}).setdefault(number, home / name)
        for owner, numbered in rows.items():
            found.setdefault(owner, []).extend(path for _, path in sorted(numbered.items()))
    return {name: tuple(paths) for name, paths in found.items()}


def control_names(home: Path) -> list[str]:
    """The images' names in a folder, sorted; none if it cannot be read."""
    with suppress(OSError):
        return sorted(name for name in os.listdir(home) if is_picture(name) and name[0] != ".")
    return []


def levels_below(levels: Sequence[Level], name: str) -> tuple[Level, ...]:
    """The levels for a subfolder of that name: each may have a folder of the same name."""
    return tuple(level for above in levels for level in (
        tuple(home / name for home in above if (home / name).is_dir()), above) if level)


def unused_controls(home: Path, used: Collection[Path]) -> Iterator[Path]:
    """The images in a folder, and below it, that are no image's control image."""
    for folder, _, names in os.walk(home):
        for name in sorted(filter(is_picture, names)):
            if Path(folder, name) not in used:
                yield Path(folder, name)


def control_paths(path: Path, count: int) -> tuple[Path, ...]:
    """Where `save_samples` writes an image's control images."""
    return tuple(path.parent / control_folder(number) / path.name for number in range(count))


def saved_controls(path: Path) -> list[Path]:
    """The control images that `save_samples` wrote for an image."""
    found = (path.parent / control_folder(number) / path.name for number in itertools.count())
    return list(itertools.takewhile(Path.is_file, found))


def crop_alike(image: Image.Image, box: Box, size: tuple[int, int]) -> Image.Image:
    """The part of a control image that an image of that size keeps of itself in `box`, if both have the same shape and
    so may show the same scene; else all of it."""
    if not same_shape(image.size, size):
        return image
    across, down = image.width / size[0], image.height / size[1]
    left, top, right, bottom = box
    return image.crop((round(left * across), round(top * down), round(right * across), round(bottom * down)))
