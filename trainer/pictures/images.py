"""Reads images: any file a user has → upright sRGB pixels on a plain background, or one clear line why not.

All files are opened here, and only in the formats of FORMATS: Pillow knows many more, and starts other programs for
some of them.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageChops
from torch import Tensor

from ..common.errors import UserError
from .flatten import flatten, opacity, parse_colour
from .headers import HEAD_BYTES, plain_size
from .room import MAX_PIXELS, check_room, room_for

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
GROUND = "white"
"""What is put behind transparent parts if nothing else is chosen."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
"""Pillow's names of the formats behind IMAGE_SUFFIXES. Phones' MPO files are JPEGs to Pillow."""

_T = Image.Transpose
_UPRIGHT = {2: _T.FLIP_LEFT_RIGHT, 3: _T.ROTATE_180, 4: _T.FLIP_TOP_BOTTOM, 5: _T.TRANSPOSE,
            6: _T.ROTATE_270, 7: _T.TRANSVERSE, 8: _T.ROTATE_90}
"""The transpose that turns an image upright, by EXIF orientation (EXIF 2.3, tag 0x0112)."""
_SIDEWAYS = (5, 6, 7, 8)
_ORIENTATION_HOLDERS = frozenset(("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"))
_BINARY = getattr(os, "O_BINARY", 0)  # only Windows distinguishes text and binary
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # a pipe without a writer would be waited for
_GREY_MODES = frozenset(("1", "L", "LA", "I;16"))
_COLOURS_SIDE, _COLOURLESS = 128, 24
"""Colours are looked for in a copy of about this size; channels that differ by up to this much are a grey."""
_open_lock = threading.Lock()
FIRST_YEAR = 1990
"""No digital camera is older; earlier dates are those of clocks that were never set."""


def open_image(path: str | os.PathLike[str], background: str = GROUND, shown_at: int | None = None) -> Image.Image:
    """The image as RGB: turned upright by its EXIF, colours converted from its ICC profile to sRGB, transparency placed
    on `background` (a colour name or "#rrggbb"), 16-bit greys scaled.

    Args:
        shown_at: its longer side where it is only shown, in pixels. It may then come back smaller than it is, but at
            least twice as large as that, which spares time and memory.

    Raises UserError if it is not an image in one of FORMATS, is damaged, or takes more than MAX_PIXELS or MAX_BYTES.
    """
    ground = parse_colour(background)
    with _decoded(path, shown_at) as (image, shrink, orientation):
        return _upright(flatten(image, ground, shrink), orientation)


def open_alpha(path: str | os.PathLike[str]) -> Image.Image | None:
    """How opaque each pixel of the upright image is, in mode L; None if it has no transparency. Raises UserError as
    `open_image` does."""
    with _decoded(path) as (image, _, orientation):
        alpha = opacity(image)
        return None if alpha is None else _upright(alpha, orientation)


def has_colours(path: str | os.PathLike[str]) -> bool:
    """Whether an image has anything but greys, apart from what JPEG adds. Raises UserError as `open_image` does."""
    if _mode(path) in _GREY_MODES:
        return False
    with _decoded(path, _COLOURS_SIDE) as (image, shrink, _):
        red, green, blue = flatten(image, (0, 0, 0), shrink).split()
        return any(np.asarray(ImageChops.difference(first, second)).max() > _COLOURLESS
                   for first, second in ((red, green), (green, blue)))


def _mode(path: str | os.PathLike[str]) -> str:
    """Pillow's mode, from the header alone; "" for what is not an image."""
    with suppress(Exception), _open_file(path) as file:
        return _open_header(path, file).mode
    return ""


@contextmanager
def _decoded(path: str | os.PathLike[str], shown_at: int | None = None) -> Iterator[tuple[Image.Image, int, int]]:
    """(the image with its pixels, how many times smaller it may be made, its EXIF orientation). Whatever is raised
    inside becomes a UserError about the file."""
    try:
        with _open_file(path) as file:
            image = _open_header(path, file)
            needed = check_room(path, image.size, image.mode, image.format or "")
            with room_for(needed):
                shrink, orientation = _drafted(image, shown_at), _orientation(image)
                image.load()
                yield image, shrink, orientation
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise _unreadable(path, error) from error


def _drafted(image: Image.Image, shown_at: int | None) -> int:
    """How many times smaller an image may be made, once a JPEG is set to be decoded at an eighth to half of its size
    if that is enough."""
    if shown_at is None:
        return 1
    least = 2 * shown_at / max(image.size)
    if least < 1:
        width, height = (max(1, round(side * least)) for side in image.size)
        image.draft(None, (width, height))
    return max(1, max(image.size) // (2 * shown_at))


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(width, height) in pixels of the upright image. Reads only the header, unless the file looks cut short.

    Raises UserError as `open_image` does, also for a truncated file.
    """
    try:
        size, whole = _peek(path)
        if size is None or size[0] * size[1] > MAX_PIXELS:
            with _open_file(path) as file:
                image = _open_header(path, file)
                check_room(path, image.size, image.mode, image.format or "")
                size = image.size[::-1] if _orientation(image) in _SIDEWAYS else image.size
    except (UserError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if not whole:
        open_image(path)
    return size


@dataclass(frozen=True)
class Camera:
    """What an image's EXIF says of how it was taken; None and "" where it says nothing.

    Attributes:
        taken: when, by the camera's clock (tag 0x9003, or 0x9004 of scans).
        focal_length: in mm, as on a 35 mm film (tag 0xA405).
        model: the camera's maker and model.
    """

    taken: datetime | None = None
    focal_length: int | None = None
    model: str = ""


def read_camera(path: str | os.PathLike[str]) -> Camera:
    """What the EXIF of an image file says, from the header alone. Nothing for files without EXIF or with a damaged one,
    and for files that are not images."""
    with suppress(Exception), _open_file(path) as file:
        image = _open_header(path, file)
        if not _ORIENTATION_HOLDERS.isdisjoint(image.info):
            return _camera(Image.Image.getexif(image))
    return Camera()


def read_texts(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, str]:
    """The texts of these names that a PNG holds before its pixels, as ComfyUI writes its workflow. Nothing for other
    files and for damaged ones."""
    with suppress(Exception), _open_file(path) as file:
        held = _open_header(path, file).info
        return {name: text for name in names if isinstance(text := held.get(name), str)}
    return {}


def _camera(exif: Image.Exif) -> Camera:
    """Each fact by itself, so that a damaged one costs no other."""
    own: Mapping[int, Any] = {}
    with suppress(Exception):
        own = exif.get_ifd(ExifTags.IFD.Exif)
    times = map(_exif_time, map(own.get, (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized)))
    taken = next((time for time in times if time), None)
    length = _exif_number(own.get(ExifTags.Base.FocalLengthIn35mmFilm))
    words = [_exif_text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
    make, model = words
    return Camera(taken, length, model if model.lower().startswith(make.lower()) else " ".join(filter(None, words)))


def _exif_time(value: Any) -> datetime | None:
    """Cameras whose clock was never set write zeros, or the first day that it knows."""
    with suppress(ValueError):
        taken = datetime.strptime(_exif_text(value)[:19], "%Y:%m:%d %H:%M:%S")
        return taken if FIRST_YEAR <= taken.year <= datetime.now().year + 1 else None
    return None


def _exif_number(value: Any) -> int | None:
    with suppress(TypeError, ValueError, OverflowError):
        return number if 0 < (number := round(float(value))) < 10_000 else None
    return None


def _exif_text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:80]


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


def _unreadable(path: str | os.PathLike[str], error: Exception) -> UserError:
    if isinstance(error, Image.UnidentifiedImageError):
        reason = "its content is not a png, jpg, webp or bmp, whatever its name says"
    else:
        reason = str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0]
    return UserError(f"cannot read {path}: {reason}. Replace it with an intact png, jpg, webp, or bmp, or remove it.")


def _open_file(path: str | os.PathLike[str]) -> BinaryIO:
    return os.fdopen(_open_handle(path), "rb")


def _open_handle(path: str | os.PathLike[str]) -> int:
    """A handle for reading. Raises UserError for pipes and devices, which may never end, and OSError."""
    handle = os.open(path, os.O_RDONLY | _BINARY | _NO_WAITING)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise UserError(f"cannot read {path}: it is not a file. Replace it with an image, or remove it.")
    return handle


def _open_header(path: str | os.PathLike[str], file: BinaryIO) -> Image.Image:
    # Pillow's own limit is a global that would refuse 200-megapixel images; ours is checked before any pixel is read.
    with _open_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


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
    handle = _open_handle(path)
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


def load_pixels(paths: Sequence[Path], size: tuple[int, int]) -> Tensor:
    """[N, 3, H, W] in 0..1: the images at (width, height)."""
    if not paths:
        return torch.zeros(0, 3, size[1], size[0])
    return torch.stack([to_tensor(open_image(path).resize(size)) for path in paths])
