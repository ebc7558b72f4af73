"""Writes the zip: numbered images with their captions, settings.md and dataset_config.toml.

    001.png 001.txt ...        flat, as sites take it
    3_zqx/001.png 001.txt ...  with folders, as kohya's trainers count repeats
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...common.checks import check_choice
from ...common.files import atomic_path
from ...common.names import name_from
from ...datasets.dataset import Sample
from ..packed import new_entry
from .contents import Contents
from .texts import write_settings, write_toml

FLAT, KOHYA = "flat", "kohya"
LAYOUTS = (FLAT, KOHYA)
FORMATS = ("png", "jpg")
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Packed:
    """A written zip.

    Attributes:
        notes: what is open about consent, left out, not found, or not as it was trained.
    """

    file: Path
    images: int
    bytes: int
    notes: tuple[str, ...]


def write_dataset_zip(file: Path, contents: Contents, layout: str = FLAT, form: str = FORMATS[0]) -> Packed:
    """Write images and captions under numbers, so that no name of a file tells anything. The images are written anew:
    cropped and upright, without what their files say of camera, place or workflow. The same contents give the same
    bytes.

    Args:
        layout: one of LAYOUTS.
        form: one of FORMATS.

    Raises UserError for an image that cannot be read, or if the zip cannot be written.
    """
    check_choice("layout", layout, LAYOUTS)
    check_choice("format of images", form, FORMATS)
    folders = _folders(contents, layout)
    stems = [f"{folder}{number:03d}" for number, folder in enumerate(folders, 1)]
    repeats = {folder or ".": sample.repeats if folder else 1
               for folder, sample in zip(folders, contents.samples, strict=True)}
    with atomic_path(file) as temp, zipfile.ZipFile(temp, "w") as archive:
        for stem, sample in zip(stems, contents.samples, strict=True):
            archive.writestr(new_entry(f"{stem}.{form}"), _encode(sample.load(), form))
            archive.writestr(new_entry(f"{stem}.txt"), f"{sample.caption}\n")
        names = [f"{stem}.{form}" for stem in stems]
        archive.writestr(new_entry("settings.md"), write_settings(contents, names))
        toml = write_toml(contents, {folder.rstrip("/"): count for folder, count in repeats.items()})
        archive.writestr(new_entry("dataset_config.toml"), toml)
    warnings = (f"⚠ {line}" for line in contents.warnings)
    return Packed(file, len(stems), file.stat().st_size,
                  (*warnings, *contents.notes, *_say_repeats(contents.samples, layout)))


def _folders(contents: Contents, layout: str) -> Sequence[str]:
    """The folder of each image in the zip, with a slash at its end; "" for none."""
    name = name_from(contents.trigger.replace(",", " "), "images")
    return [f"{sample.repeats}_{name}/" if layout == KOHYA else "" for sample in contents.samples]


def _say_repeats(samples: Sequence[Sample], layout: str) -> Iterator[str]:
    if layout == FLAT and any(sample.repeats != 1 for sample in samples):
        yield ("Some images are repeated, which a flat zip cannot say: settings.md has the numbers, and --layout kohya "
               "uses folders.")


def _encode(image: Image.Image, form: str) -> bytes:
    held, bare = io.BytesIO(), Image.new("RGB", image.size)
    bare.paste(image)  # leaves behind what the file said besides its pixels
    if form == "jpg":
        bare.save(held, format="JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        bare.save(held, format="PNG", compress_level=6)
    return held.getvalue()
