"""Any of Pillow's modes → RGB on a plain ground, in strips, so that no more is held than the source and the result."""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
from PIL import Image, ImageCms, ImageColor

from ..common.errors import UserError

_SRGB = ImageCms.createProfile("sRGB")
_STRIP_PIXELS = 1 << 20
_KEPT_DECODERS = frozenset(("WEBP",))
"""Formats whose decoder holds its own copy of the pixels for as long as the image lives."""


def flatten(image: Image.Image, ground: tuple[int, int, int], shrink: int = 1) -> Image.Image:
    """A decoded image as RGB: colours converted from its ICC profile to sRGB, transparency placed on `ground`, 16-bit
    greys scaled, and `shrink` times smaller (the mean of each block of pixels)."""
    in_place = image.mode == "RGB" and shrink == 1 and image.format not in _KEPT_DECODERS
    to_srgb = _Conversion(image)
    if in_place and not (image.has_transparency_data or to_srgb.needed):
        image.info = {}
        return image
    size = (-(-image.width // shrink), -(-image.height // shrink))
    result = image if in_place else Image.new("RGB", size)
    rows = max(1, _STRIP_PIXELS // image.width // shrink) * shrink
    for top in range(0, image.height, rows):
        part = image.crop((0, top, image.width, min(top + rows, image.height)))
        part = _composite(to_srgb(_eight_bit(part)), ground)
        result.paste(part.reduce(shrink) if shrink > 1 else part, (0, top // shrink))
    result.info = {}
    return result


def opacity(image: Image.Image) -> Image.Image | None:
    """How opaque each pixel of a decoded image is, in mode L; None if its format says that all of it is opaque."""
    if not image.has_transparency_data or image.mode.startswith("I"):
        return None
    if image.mode in ("LA", "RGBA"):
        return image.getchannel("A")
    result = Image.new("L", image.size)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        part = image.crop((0, top, image.width, min(top + rows, image.height)))
        result.paste(part.convert("RGBA").getchannel("A"), (0, top))
    return result


def parse_colour(name: str) -> tuple[int, int, int]:
    """(red, green, blue) of a colour's name or "#rrggbb". Raises UserError."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UserError(f"background {name!r} is not a colour; use a name such as 'white', or '#rrggbb'.") from None


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit greys as 8-bit greys (Pillow's own conversion clips them at 255)."""
    if not image.mode.startswith("I"):
        return image
    grey = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((grey + 128) // 257).astype(np.uint8))


class _Conversion:
    """Turns the strips of an image into sRGB, as RGB, or as RGBA if anything is transparent."""

    def __init__(self, image: Image.Image) -> None:
        self.grey = image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
        self.mode = "CMYK" if image.mode == "CMYK" else "L" if self.grey else "RGB"
        self.transform = _transform(image.info.get("icc_profile"), self.mode)

    @property
    def needed(self) -> bool:
        """Whether colours change."""
        return self.transform is not None

    def __call__(self, part: Image.Image) -> Image.Image:
        alpha = None
        if part.has_transparency_data:
            part = part if part.mode == "RGBA" else part.convert("RGBA")
            alpha = part.getchannel("A")
        part = part if part.mode == self.mode else part.convert(self.mode)
        if self.transform is not None:
            part = ImageCms.applyTransform(part, self.transform) or part
        part = part if part.mode == "RGB" else part.convert("RGB")
        if alpha is not None:
            part.putalpha(alpha)
        return part


def _transform(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From the profile to sRGB; None if nothing changes."""
    if profile:
        with suppress(ImageCms.PyCMSError, OSError):  # a damaged profile, or one for another mode, is ignored
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if not (mode == "RGB" and ImageCms.getProfileDescription(source).startswith("sRGB")):
                return ImageCms.buildTransform(source, _SRGB, mode, "RGB")
    return None


def _composite(image: Image.Image, ground: tuple[int, int, int]) -> Image.Image:
    if image.mode == "RGB":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (*ground, 255)), image).convert("RGB")
