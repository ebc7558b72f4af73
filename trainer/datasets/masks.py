"""Masks: which part of an image to train on. White is the subject, black its surroundings; grey is in between.

The mask of `x.png` is `masks/x.png`, `x_mask.png` or `x-masklabel.png` (kohya, OneTrainer), or its own alpha channel.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..common.errors import UserError
from ..pictures.images import has_colours, image_size, open_alpha, open_image
from .sidecars import CaptionFinder, fold, is_picture

MASKS_FOLDER = "masks"
MASK_ENDINGS = ("_mask", "-masklabel")
_SAME_SHAPE = 0.02
"""A mask of another size is accepted if its aspect differs by at most this share."""


def read_mask(mask: Path, picture: Path, size: tuple[int, int]) -> Image.Image:
    """The mask as an upright image in mode L, of the image's size.

    Args:
        mask: its file; the image's own path for the image's alpha channel.
        size: (width, height) of the whole upright image.

    Raises UserError if it cannot be read, or has another shape.
    """
    found = alpha_of(picture) if mask == picture else open_image(mask, "black").convert("L")
    return scaled_mask(found, size, f"mask {mask}")


def scaled_mask(mask: Image.Image, size: tuple[int, int], what: str = "the mask") -> Image.Image:
    """The mask at its image's size. Raises UserError, which calls it `what`, if it has another shape."""
    if mask.size == size:
        return mask
    if not same_shape(mask.size, size):
        raise UserError(f"{what} is {mask.width} x {mask.height}, but its image is {size[0]} x {size[1]}; make the "
                        "mask as large as the image.")
    return mask.resize(size, Image.Resampling.BILINEAR)


def same_shape(first: tuple[int, int], second: tuple[int, int]) -> bool:
    """Whether two sizes have the same aspect, apart from rounding."""
    return abs(first[0] * second[1] / (first[1] * second[0]) - 1) <= _SAME_SHAPE


def alpha_of(picture: Path) -> Image.Image:
    """How opaque each pixel of the upright image is, in mode L; all white if nothing is transparent."""
    return open_alpha(picture) or Image.new("L", image_size(picture), 255)


def scan_masks(folder: Path, entries: Collection[str], captions: CaptionFinder
               ) -> tuple[dict[str, str], list[Path], dict[str, str]]:
    """(image → its mask, relative to the folder; files in its `masks` folder that belong to no image; file beside an
    image that is named like a mask → why it is not one).

    A `masks` folder without any file named after an image is a folder like any other.
    """
    inside: list[str] = []
    if MASKS_FOLDER in entries:
        with suppress(OSError):
            inside = sorted(os.listdir(folder / MASKS_FOLDER))
    elif not any(ending in name.lower() for name in entries for ending in MASK_ENDINGS):
        return {}, [], {}
    linked = linked_masks(entries, inside)
    pictures = {name: why for name in linked.values() if "/" not in name
                if (why := _why_no_mask(folder / name, captions))}
    linked = {name: mask for name, mask in linked.items() if mask not in pictures}
    used = {name.removeprefix(f"{MASKS_FOLDER}/") for name in linked.values() if "/" in name}
    strays = [folder / MASKS_FOLDER / name for name in inside if used and name not in used]
    return linked, strays, pictures


def _why_no_mask(path: Path, captions: CaptionFinder) -> str:
    """Why a file that is named like a mask is an image; "" if it may be a mask."""
    if captions.find(path.name):
        return "it has a caption of its own"
    with suppress(UserError):  # a damaged mask is named when it is read
        return "it has colours" if has_colours(path) else ""
    return ""


def linked_masks(names: Collection[str], in_folder: Collection[str] = ()) -> dict[str, str]:
    """Image → its mask, relative to the folder, for the files of one folder.

    Args:
        names: file names in the folder.
        in_folder: file names in its `masks` folder, which take precedence.
    """
    pictures = {os.path.splitext(name)[0]: name for name in names if is_picture(name)}
    folded = {fold(stem): name for stem, name in pictures.items()}
    linked = {}
    for stem, name in pictures.items():
        for ending in MASK_ENDINGS:
            if found := _named_by(stem, ending, pictures, folded):
                linked[found] = name
    for name in sorted(filter(is_picture, in_folder)):
        stem = os.path.splitext(name)[0]
        named = (_named_by(stem, ending, pictures, folded) for ending in ("", *MASK_ENDINGS))
        if found := next(filter(None, named), ""):
            linked[found] = f"{MASKS_FOLDER}/{name}"
    return linked


def _named_by(stem: str, ending: str, pictures: Mapping[str, str], folded: Mapping[str, str]) -> str:
    """The image that a mask's stem with that ending names, exactly or nearly; "" if there is none."""
    if not fold(stem).endswith(ending):
        return ""
    start = stem[:len(stem) - len(ending)]
    return pictures.get(start) or folded.get(fold(start), "")


def has_alpha(path: Path) -> bool:
    """Whether anything in the image is transparent; False if it cannot be read."""
    with suppress(UserError):
        alpha = open_alpha(path)
        return alpha is not None and alpha.getextrema() != (255, 255)
    return False


def mask_tensor(mask: Image.Image) -> Tensor:
    """[1, H, W] float32 in 0..1."""
    return torch.from_numpy(np.array(mask.convert("L"), dtype=np.float32)[None] / 255)
