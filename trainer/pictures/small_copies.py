"""A small JPEG beside each image file of a folder: `.small/NAME.jpg`. It serves thumbnails and sheets without decoding
the whole image, also after a restart.

The folder is hidden, so that neither a dataset's loader nor a host's list of files takes the copies for images. A copy
has the time of the image's last change: one with another time is of an earlier image, and is made again.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from PIL import Image

from ..common.errors import UserError
from ..common.files import atomic_path, remove_file
from .flatten import flatten, parse_colour
from .images import GROUND, image_size, open_image
from .thumbnails import ThumbnailStyle, small_jpeg, thumbnail

FOLDER = ".small"
STYLE = ThumbnailStyle(side=256, quality=88, subsampling="4:4:4")
"""Drawn lines on another colour fray if colours have fewer pixels."""
_END = b"\xff\xd9"
"""Of every whole JPEG."""


def small_copy(picture: Path) -> Path | None:
    """The copy of an image file, which is made if there is none. None if the image itself is that small, or if no copy
    can be written there.

    Raises UserError if the image is missing or cannot be read.
    """
    copy = _place(picture)
    if _is_copy_of(copy, picture):
        return copy
    if max(image_size(picture)) <= STYLE.side:
        return None
    with suppress(UserError):  # a folder that cannot be written to is shown all the same
        return _write(picture, thumbnail(picture, STYLE, picture.stat().st_mtime_ns))
    return None


def small_version(picture: Path) -> bytes:
    """An image file as a JPEG of at most 256 pixels a side. Raises UserError as `small_copy` does."""
    copy = small_copy(picture)
    jpeg = copy.read_bytes() if copy else b""
    return jpeg if jpeg.endswith(_END) else thumbnail(picture, STYLE, picture.stat().st_mtime_ns)


def open_small(picture: Path, shown_at: int) -> Image.Image:
    """The image where it is shown `shown_at` pixels long: from its copy, if that is large enough. Raises UserError as
    `small_copy` does."""
    copy = small_copy(picture) if shown_at <= STYLE.side else None
    if copy is not None:
        with suppress(UserError):  # a damaged copy
            return open_image(copy)
    return open_image(picture, shown_at=shown_at)


def save_small(picture: Path, image: Image.Image) -> None:
    """Write the copy of an image file that was just written, from the image itself. Where that cannot be done, it is
    made when it is first shown."""
    if max(image.size) > STYLE.side:
        with suppress(UserError):
            _write(picture, small_jpeg(flatten(image.copy(), parse_colour(GROUND)), STYLE))


def remove_small(picture: Path) -> None:
    """Remove the copy of an image file, if there is one. Raises UserError if the system refuses."""
    remove_file(_place(picture))


def _place(picture: Path) -> Path:
    return picture.parent / FOLDER / f"{picture.stem}.jpg"


def _is_copy_of(copy: Path, picture: Path) -> bool:
    """Links are not followed: they may lead out of the folder."""
    with suppress(OSError):
        status = copy.lstat()
        return stat.S_ISREG(status.st_mode) and status.st_mtime_ns == picture.stat().st_mtime_ns
    return False


def _write(picture: Path, jpeg: bytes) -> Path:
    status, copy = picture.stat(), _place(picture)
    with atomic_path(copy) as temp:
        temp.write_bytes(jpeg)
        os.utime(temp, ns=(status.st_atime_ns, status.st_mtime_ns))
    return copy
