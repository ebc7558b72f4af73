"""What preparation does to pixels: it resizes, matches colours, replaces backgrounds, and tests for symmetry."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..captions.coverage import kinds_in, plain, says
from ..captions.coverage_words import ASYMMETRIC_WORDS, AXES
from ..captions.tags import join_tags, split_tags
from ..pictures.duplicates import WINDOWS, difference, fingerprint_picture
from ..pictures.filters import lab_to_rgb, resize_bicubic, rgb_to_lab
from ..pictures.images import to_image, to_tensor
from .buckets import Size

SYMMETRIC = 0.17
"""Up to this difference of the worst block, a figure seen from the front counts as the same as its mirror image;
measured on drawn characters with and without an odd eye or a hairpin."""
_STRETCH = (0.5, 2.0)
"""Limits of the factor by which a colour match narrows or widens the spread of a channel."""


def resize_image(image: Image.Image, size: Size) -> Image.Image:
    """The whole image at (width, height), antialiased when it shrinks; RGB or L."""
    if image.size == tuple(size):
        return image
    pixels = to_tensor(image)[None]
    scaled = resize_bicubic(pixels, size[1], size[0]).clamp(0, 1)
    return to_image(scaled).convert(image.mode)


def lab_statistics(image: Image.Image, mask: Image.Image | None = None) -> Tensor:
    """[2, 3] mean and standard deviation of CIELAB L*, a*, b*; only of the masked part if there is a mask."""
    lab = rgb_to_lab(to_tensor(image)[None])[0].flatten(1)
    if mask is not None:
        inside = torch.from_numpy(np.array(mask.convert("L")) >= 128).flatten()
        lab = lab[:, inside] if inside.sum() >= 16 else lab
    return torch.stack([lab.mean(1), lab.std(1)])


def match_colours(image: Image.Image, target: Tensor, strength: float = 1.0,
                  mask: Image.Image | None = None) -> Image.Image:
    """The image with its colours' mean and spread matched to those of `target` (Reinhard et al., "Color Transfer
    between Images", 2001), in CIELAB.

    Args:
        target: [2, 3] of the reference, as `lab_statistics` returns it.
        strength: 0 leaves the image unchanged, 1 matches it fully.
        mask: if given, the colours of the masked part are matched, and the rest changes along with them.
    """
    own = lab_statistics(image, mask)
    stretch = (target[1] / own[1].clamp(min=1e-3)).clamp(*_STRETCH)
    lab = rgb_to_lab(to_tensor(image)[None])
    mean, aim, stretch = (values.view(1, 3, 1, 1) for values in (own[0], target[0], stretch))
    moved = (lab - mean) * stretch + aim
    return to_image(lab_to_rgb(lab + strength * (moved - lab)).clamp(0, 1))


def on_background(image: Image.Image, mask: Image.Image, background: Image.Image | str) -> Image.Image:
    """The masked subject on a colour, or on an image that is resized and cropped to cover the frame."""
    if isinstance(background, str):
        ground = Image.new("RGB", image.size, background)
    else:
        ground = cover_size(background, image.size)
    return Image.composite(image, ground, mask.convert("L"))


def cover_size(image: Image.Image, size: Size) -> Image.Image:
    """The middle of the image at (width, height)."""
    scale = max(size[0] / image.width, size[1] / image.height)
    wide, high = size[0] / scale, size[1] / scale
    left, top = (image.width - wide) / 2, (image.height - high) / 2
    box = (round(left), round(top), round(left + wide), round(top + high))
    return resize_image(image.crop(box), size)


def replace_background_tags(caption: str, background: str) -> str:
    """The tags with those of the old background and light replaced by the new background's; prose is left unchanged."""
    tags = split_tags(caption)
    if len(tags) < 2:
        return caption
    words = [word for name in ("background", "lighting") for kind in AXES[name].kinds.values() for word in kind.words]
    kept = [tag for tag in tags if plain(tag) not in words]
    return join_tags([*kept, background] if background else kept)


def asymmetric_words(captions: Sequence[str]) -> str:
    """The first word in captions that makes a mirror image wrong, such as an eyepatch; "" if there is none."""
    for caption in captions:
        for word in ASYMMETRIC_WORDS:
            if says(plain(caption), (word,)):
                return word
    return ""


def asymmetry(image: Image.Image) -> float:
    """How much the worst block of an image differs from the same block of its mirror image; 0: symmetric."""
    own = fingerprint_picture(image).thumb
    return difference(own, own, WINDOWS)[1]


def is_front_view(caption: str) -> bool:
    """Whether a caption says that the subject is seen from the front."""
    return kinds_in(caption, "view") == ("front",)
