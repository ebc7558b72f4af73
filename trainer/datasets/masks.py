"""Masks: which part of an image to train on. White is the subject, black its surroundings; grey is in between.

The mask of `x.png` is `masks/x.png`, `x_mask.png` or `x-masklabel.png` (kohya, OneTrainer), or its own alpha channel.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..common.errors import UserError
from ..pictures.images import IMAGE_SUFFIXES, image_size, open_alpha, open_image

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
    if abs(mask.width * size[1] / (mask.height * size[0]) - 1) > _SAME_SHAPE:
        raise UserError(f"{what} is {mask.width} x {mask.height}, but its image is {size[0]} x {size[1]}; make the "
                        "mask as large as the image.")
    return mask.resize(size, Image.Resampling.BILINEAR)


def alpha_of(picture: Path) -> Image.Image:
    """How opaque each pixel of the upright image is, in mode L; all white if nothing is transparent."""
    return open_alpha(picture) or Image.new("L", image_size(picture), 255)


def scan_masks(folder: Path, entries: Collection[str]) -> tuple[dict[str, str], list[Path]]:
    """(image → its mask, relative to the folder; files in its `masks` folder that belong to no image).

    A `masks` folder without any file named after an image is a folder like any other.
    """
    inside: list[str] = []
    if MASKS_FOLDER in entries:
        with suppress(OSError):
            inside = sorted(os.listdir(folder / MASKS_FOLDER))
    elif not any(ending in name for name in entries for ending in MASK_ENDINGS):
        return {}, []
    linked = linked_masks(entries, inside)
    used = {name.removeprefix(f"{MASKS_FOLDER}/") for name in linked.values() if "/" in name}
    return linked, [folder / MASKS_FOLDER / name for name in inside if used and name not in used]


def linked_masks(names: Collection[str], in_folder: Collection[str] = ()) -> dict[str, str]:
    """Image → its mask, relative to the folder, for the files of one folder.

    Args:
        names: file names in the folder.
        in_folder: file names in its `masks` folder, which take precedence.
    """
    pictures = {os.path.splitext(name)[0]: name for name in names if _is_picture(name)}
    linked = {}
    for stem, name in pictures.items():
        for ending in MASK_ENDINGS:
            if stem.endswith(ending) and stem.removesuffix(ending) in pictures:
                linked[pictures[stem.removesuffix(ending)]] = name
    for name in sorted(in_folder):
        stem = os.path.splitext(name)[0]
        for ending in ("", *MASK_ENDINGS):
            if _is_picture(name) and stem.endswith(ending) and stem.removesuffix(ending) in pictures:
                linked[pictures[stem.removesuffix(ending)]] = f"{MASKS_FOLDER}/{name}"
                break
    return linked


def _is_picture(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


def has_alpha(path: Path) -> bool:
    """Whether anything in the image is transparent; False if it cannot be read."""
    with suppress(UserError):
        alpha = open_alpha(path)
        return alpha is not None and alpha.getextrema() != (255, 255)
    return False


def mask_tensor(mask: Image.Image) -> Tensor:
    """[1, H, W] float32 in 0..1."""
    return torch.from_numpy(np.array(mask.convert("L"), dtype=np.float32)[None] / 255)
