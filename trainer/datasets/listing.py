"""What is in a folder of images, by the names of its files: ten thousand are counted at once, and none is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..pictures.images import GROUND
from .dataset import FolderScan, Sample
from .given_folder import find_given_folder
from .sidecars import CAPTION_SUFFIXES, CaptionFinder


@dataclass(frozen=True)
class FolderListing:
    """What `load_folder` would find if every file can be read.

    Attributes:
        pictures: the images' files, in its order.
        captioned: how many have a caption file, even an empty one.
        notes: what it would leave out, and why.
    """

    pictures: tuple[Path, ...]
    captioned: int
    notes: tuple[str, ...]


def list_folder(path: str | os.PathLike[str], *, recursive: bool = True) -> FolderListing:
    """The images of a folder as `load_folder` takes them. Raises UserError if it is not a folder."""
    root = find_given_folder(Path(path))
    scan = _NameScan(root, recursive, CAPTION_SUFFIXES, GROUND)
    scan.folder(root, 1, "")
    scan.finish()
    return FolderListing(tuple(sample.path for sample in scan.samples), scan.captioned, tuple(scan.notes))


class _NameScan(FolderScan):
    """Takes an image for what its name says."""

    captioned = 0

    def _picture(self, folder: Path, name: str, captions: CaptionFinder, repeats: int, class_name: str,
                 origin: Mapping[str, Any] | None, mask: str | None, controls: tuple[Path, ...]) -> None:
        self.captioned += bool(captions.find(name))
        mask_file = None if mask is None else folder / mask
        self.samples.append(Sample(folder / name, (0, 0), repeats=repeats, mask=mask_file, controls=controls))
