"""Reads images: any file a user has → upright sRGB pixels on a plain background, or one clear line why not."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, ImageColor
from torch import Tensor

from ..common.errors import UserError
from .headers import HEAD_BYTES, plain_size

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MAX_PIXELS = 250_000_000
"""A file with more pixels counts as a decompression bomb. The largest phone photos have 200 million pixels."""

_T = Image.Transpose
_UPRIGHT = {2: _T.FLIP_LEFT_RIGHT, 3: _T.ROTATE_180, 4: _T.FLIP_TOP_BOTTOM, 5: _T.TRANSPOSE,
            6: _T.ROTATE_270, 7: _T.TRANSVERSE, 8: _T.ROTATE_90}
"""The transpose that turns an image upright, by EXIF orientation (EXIF 2.3, tag 0x0112)."""
_SIDEWAYS = (5, 6, 7, 8)
_ORIENTATION_HOLDERS = frozenset(("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"))
_SRGB = ImageCms.createProfile("sRGB")
_open_lock = threading.Lock()


def open_image(path: str | os.PathLike[str], background: str = "white") -> Image.Image:
    """The image as RGB: turned upright by its EXIF, colours converted from its ICC profile to sRGB, transparency placed
    on `background` (a colour name or "#rrggbb"), 16-bit greys scaled.

    Raises UserError if it is not an image, is damaged, or has more than MAX_PIXELS.
    """
    colour = _colour(background)
    try:
        with open(path, "rb") as file:
            image = _open_header(path, file)
            orientation, profile = _orientation(image), image.info.get("icc_profile")
            image.load()
            image = _composite(_in_srgb(_eight_bit(image), profile), colour)
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise _unreadable(path, error) from error
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) in pixels of the upright image. Reads only the header, unless the file looks cut short.

    Raises UserError as `open_image` does, also for a truncated file.
    """
    try:
        size, whole = _peek(path)
        if size is None:
            with open(path, "rb") as file:
                image = _open_header(path, file)
                size = image.size[::-1] if _orientation(image) in _SIDEWAYS else image.size
        _check_pixels(path, size)
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if not whole:
        open_image(path)
    return size


def pixel_hash(image: Image.Image) -> str:
    """sha256 of an image's pixels. It is the same in every lossless file format."""
    return hashlib.sha256(repr((image.mode, image.size)).encode() + image.tobytes()).hexdigest()


def to_tensor(image: Image.Image) -> Tensor:
    """RGB image → [3, H, W] float32 in 0..1."""
    array = np.array(image.convert("RGB"), dtype=np.uint8)
    return torch.from_numpy(array).permute(2, 0, 1).float().div_(255)


def to_image(tensor: Tensor) -> Image.Image:
    """[3, H, W] or [1, 3, H, W] in 0..1 → RGB image; values outside are clipped."""
    if tensor.ndim == 4 and len(tensor) == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or len(tensor) != 3:
        raise ValueError(f"expected [3, H, W] or [1, 3, H, W], got {list(tensor.shape)}")
    array = tensor.detach().float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0)
    return Image.fromarray(array.cpu().contiguous().numpy(), "RGB")


def _colour(name: str) -> tuple[int, int, int]:
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UserError(f"background {name!r} is not a colour; use a name such as 'white', or '#rrggbb'.") from None


def _unreadable(path: str | os.PathLike[str], error: Exception) -> UserError:
    if isinstance(error, Image.UnidentifiedImageError):
        reason = "it is not an image in a known format"
    else:
        reason = str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0]
    return UserError(f"cannot read {path}: {reason}. Replace it with an intact png, jpg, webp, or bmp, or remove it.")


def _open_header(path: str | os.PathLike[str], file: BinaryIO) -> Image.Image:
    # Pillow's own limit is a global that would refuse 200-megapixel images; ours is checked before any pixel is read.
    with _open_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    _check_pixels(path, image.size)
    return image


def _check_pixels(path: str | os.PathLike[str], size: tuple[int, int]) -> None:
    if size[0] * size[1] > MAX_PIXELS:
        raise UserError(f"{path} has {size[0]} x {size[1]} pixels; at most {MAX_PIXELS // 10**6} million are allowed. "
                        "Make it smaller.")


def _orientation(image: Image.Image) -> int:
    if _ORIENTATION_HOLDERS.isdisjoint(image.info):
        return 1
    with suppress(Exception):  # a damaged EXIF block does not make the image unusable
        # The base class's method, because the PNG reader's own would decode all pixels to look for late chunks.
        return Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    return 1


def _peek(path: str | os.PathLike[str]) -> tuple[tuple[int, int] | None, bool]:
    """(the size if the header is plain, whether the file ends as its format requires).

    It avoids a file object, which takes as long to create as all of this. A file that does not end as it should may
    still be whole (phones append videos to photos); only decoding can tell.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        head = os.read(handle, HEAD_BYTES)
        length = os.lseek(handle, max(-12, -len(head)), os.SEEK_END) + min(12, len(head))
        tail = os.read(handle, 12)
    finally:
        os.close(handle)
    for start, is_whole in _WHOLE.items():
        if head.startswith(start):
            return plain_size(head), is_whole(head, tail, length)
    return None, False


def _says_its_length(at: int, beyond: int) -> Callable[[bytes, bytes, int], bool]:
    """A check that the file is as long as its header says at `at`, not counting `beyond` bytes."""
    return lambda head, tail, length: int.from_bytes(head[at:at + 4], "little") + beyond <= length


_WHOLE: dict[bytes, Callable[[bytes, bytes, int], bool]] = {
    b"\xff\xd8": lambda head, tail, length: b"\xff\xd9" in tail,
    b"\x89PNG": lambda head, tail, length: b"IEND" in tail,
    b"RIFF": _says_its_length(4, 8),
    b"BM": _says_its_length(2, 0),
}
"""The file's first bytes → a check whether it ends as its format requires, from its head, its tail, and its length."""


def _eight_bit(image: Image.Image) -> Image.Image:
    """16- or 32-bit greys as 8-bit greys (Pillow's own conversion clips them at 255)."""
    if not image.mode.startswith(("I", "F")):
        return image
    grey = np.asarray(image).astype(np.float64)
    peak = float(grey.max()) if grey.size else 0.0
    if image.mode.startswith("I;16") or image.format == "PNG":
        top = 65535.0
    else:
        top = next((top for top in (1.0, 255.0, 65535.0) if peak <= top), peak)
    return Image.fromarray((grey * (255 / top)).round().clip(0, 255).astype(np.uint8), "L")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The image in sRGB, as RGB, or as RGBA if anything is transparent."""
    alpha = None
    if image.has_transparency_data:
        grey, image = image.mode in ("L", "LA", "La"), image.convert("RGBA")
        alpha, image = image.getchannel("A"), image.convert("L" if grey else "RGB")
    elif image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    if profile:
        with suppress(ImageCms.PyCMSError, OSError):  # a damaged profile, or one for another mode, is ignored
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if not (image.mode == "RGB" and ImageCms.getProfileDescription(source).startswith("sRGB")):
                image = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB") or image
    image = image.convert("RGB")
    if alpha is not None:
        image.putalpha(alpha)
    return image


def _composite(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode == "RGB":
        return image
    ground = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def load_pixels(paths: Sequence[Path], size: tuple[int, int]) -> Tensor:
    """[N, 3, H, W] in 0..1: the images at (width, height)."""
    if not paths:
        return torch.zeros(0, 3, size[1], size[0])
    return torch.stack([to_tensor(open_image(path).resize(size)) for path in paths])
