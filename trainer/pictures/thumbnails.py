"""Small copies of images for a browser: JPEGs that are made once, and `data:` addresses that contain the image."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from PIL import Image

from .images import open_image

REMEMBERED = 8192
"""Number of thumbnails in memory, for all panels together. One of 256 pixels takes about 10 kB."""
LOSSLESS_SIDE = 256


@dataclass(frozen=True)
class ThumbnailStyle:
    """How a thumbnail is made. The longer side has at most `side` pixels; smaller images keep their size."""

    side: int = 256
    quality: int = 85
    resample: Image.Resampling = Image.Resampling.LANCZOS
    subsampling: str = "4:2:0"


class Picture(Protocol):
    """Something that has an image, such as a sample of a dataset. It must be hashable."""

    def load(self, *, shown_at: int | None = None) -> Image.Image: ...


@lru_cache(maxsize=REMEMBERED)
def thumbnail(picture: Path | Picture, style: ThumbnailStyle, version: str | int) -> bytes:
    """An image as a small JPEG. It is made again only for another version or style.

    Args:
        version: a value that changes with the image, such as a hash of its content or its file's modification time.

    Raises UserError if the image is missing or cannot be read.
    """
    image = (open_image(picture, shown_at=style.side) if isinstance(picture, Path)
             else picture.load(shown_at=style.side))
    return small_jpeg(image, style)


def small_jpeg(image: Image.Image, style: ThumbnailStyle) -> bytes:
    """An RGB image as a small JPEG. The image itself is shrunk."""
    return _jpeg(_shrink(image, style.side, style.resample), style.quality, style.subsampling)


def _shrink(image: Image.Image, side: int, resample: Image.Resampling = Image.Resampling.LANCZOS) -> Image.Image:
    image.thumbnail((side, side), resample)
    return image


def _jpeg(image: Image.Image, quality: int, subsampling: str = "4:2:0") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def data_uri(image: Image.Image | Path, side: int | None = None) -> str:
    """The image as a `data:` address, shrunk to fit `side` pixels. Small images are unchanged, and lossless."""
    picture = open_image(image, shown_at=side) if isinstance(image, Path) else image
    if side and max(picture.size) > side:
        picture = _shrink(picture.copy(), side)
    if max(picture.size) > LOSSLESS_SIDE:
        return "data:image/jpeg;base64," + base64.b64encode(_jpeg(picture, quality=88)).decode()
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
