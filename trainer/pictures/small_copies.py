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
    return copy if _is_copy_of(copy, picture) else _make_copy(picture)


def small_version(picture: Path) -> bytes:
    """An image file as a JPEG of at most 256 pixels a side. Raises UserError as `small_copy` does."""
    copy = small_copy(picture)
    return copy.read_bytes() if copy else thumbnail(picture, STYLE, picture.stat().st_mtime_ns)


def open_small(picture: Path, shown_at: int) -> Image.Image:
    """The image where it is shown `shown_at` pixels long: from its copy, if that is large enough. Raises UserError as
    `small_copy` does."""
    copy = small_copy(picture) if shown_at <= STYLE.side else None
    if copy is not None:
        try:
            return open_image(copy)
        except UserError:  # damaged, though it has an end
            _make_copy(picture)
    return open_image(picture, shown_at=shown_at)


def save_small(picture: Path, image: Image.Image) -> None:
    """Write the copy of an image file that was just written, from the image itself. Where that cannot be done, it is
    made when it is first shown."""
    if max(image.size) > STYLE.side:
        with suppress(UserError):
            _write(picture, small_jpeg(flatten(image.copy(), parse_colour(GROUND)), STYLE), picture.stat().st_mtime_ns)


def remove_small(picture: Path) -> None:
    """Remove the copy of an image file, if there is one. Raises UserError if the system refuses."""
    remove_file(_place(picture))


def _place(picture: Path) -> Path:
    return picture.parent / FOLDER / f"{picture.stem}.jpg"


def _is_copy_of(copy: Path, picture: Path) -> bool:
    """Links are not followed: they may lead out of the folder. A copy without its end was damaged with the power."""
    with suppress(OSError):
        status = copy.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_mtime_ns == picture.stat().st_mtime_ns:
            with open(copy, "rb") as file:
                file.seek(-len(_END), os.SEEK_END)
                return file.read() == _END
    return False


def _make_copy(picture: Path) -> Path | None:
    """As `small_copy`, whether there is a copy or not."""
    if max(image_size(picture)) <= STYLE.side:
        return None
    with suppress(UserError, OSError):  # a folder that cannot be written to is shown all the same
        mtime_ns = picture.stat().st_mtime_ns  # before decoding: the image may be replaced meanwhile
        return _write(picture, thumbnail(picture, STYLE, mtime_ns), mtime_ns)
    return None


def _write(picture: Path, jpeg: bytes, mtime_ns: int) -> Path:
    """Write the copy of the image that was last changed at that time. It can be made again, so it is not flushed."""
    copy = _place(picture)
    with atomic_path(copy, flush=False) as temp:
        temp.write_bytes(jpeg)
        os.utime(temp, ns=(mtime_ns, mtime_ns))
    return copy
