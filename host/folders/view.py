"""What Load Dataset shows of folders before a run: which there are, what is in one, small copies of its images. The
shapes are in host/routes/folders.py."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlencode

from ...trainer.common.errors import UserError
from ...trainer.datasets.controls import is_beside
from ...trainer.datasets.listing import list_folder
from ...trainer.datasets.sidecars import is_picture
from ...trainer.pictures.thumbnails import ThumbnailStyle, thumbnail
from .. import paths
from .uploads import is_upload

THUMBNAIL = ThumbnailStyle(side=192)
SHOWN = 3
"""Images that are shown of a folder: from its beginning, its middle, and its end."""
NOTES = 3
MOST_DEPTH, MOST_SEEN, MOST_OFFERED = 4, 3000, 500
"""Levels of folders below a root, folders that are looked into, and folders that are offered."""


# -- which there are ---------------------------------------------------------------------------------------------------


def offered_folders() -> list[dict[str, Any]]:
    """The folders that hold images themselves, each under the name that a widget takes."""
    offers: list[dict[str, Any]] = []
    for first, root in _offered_roots():
        for folder, images in _folders_with_images(root):
            if name := _widget_name(first, folder.relative_to(root), folder):
                offers.append({"name": name, "images": images})
    return offers[:MOST_OFFERED]


def _offered_roots() -> list[tuple[str, Path]]:
    roots = paths.dataset_roots()
    return [("input", roots["input"]), *(("datasets", root) for root in paths.host_dataset_roots()),
            ("output", roots["output"]), ("sandbox", roots["sandbox"])]


def _folders_with_images(root: Path) -> Iterator[tuple[Path, int]]:
    """(folder, number of images directly in it), level by level, so that what is deep is left out first."""
    level, seen = [root], 0
    for _ in range(MOST_DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            if (seen := seen + 1) > MOST_SEEN:
                return
            images, folders = _count(folder)
            below += folders
            if images and folder != root:
                yield folder, images
        level = below


def _count(folder: Path) -> tuple[int, list[Path]]:
    """(number of images, folders to look into). Links are not followed, and what cannot be read is empty."""
    images, folders = 0, []
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if is_picture(entry.name):
                images += 1
            elif entry.is_dir(follow_symlinks=False) and _may_be_dataset(Path(entry.path)):
                folders.append(Path(entry.path))
    return images, sorted(folders)


def _may_be_dataset(folder: Path) -> bool:
    others = (paths.sweeps_root(), paths.conflicts_root(), paths.audits_root(), paths.loras_root())
    return not is_beside(folder.name) and folder not in others


def _widget_name(first: str, inner: Path, folder: Path) -> str:
    """The shortest name under which the widget finds exactly this folder; "" if another one hides it, or its name
    cannot be written."""
    whole = str(PurePosixPath(first, *inner.parts))
    for name in (inner.as_posix(), whole) if first == "input" else (whole,):
        with suppress(UserError):
            if paths.dataset_folder(name) == folder:
                return name
    return ""


# -- what is in one ----------------------------------------------------------------------------------------------------


def folder_view(name: str, recursive: bool) -> dict[str, Any]:
    """What is in the folder of that name. Raises UserError if it does not exist."""
    folder = paths.dataset_folder(name)
    listing = list_folder(folder, recursive=recursive)
    return {"name": name, "images": len(listing.pictures), "captions": listing.captioned,
            "notes": list(listing.notes[:NOTES]), "more_notes": max(0, len(listing.notes) - NOTES),
            "own": is_upload(folder),
            "pictures": [_row(name, folder, path) for path in _spread(listing.pictures) if _is_inside(folder, path)]}


def _spread(pictures: Sequence[Path]) -> list[Path]:
    """A few of them, evenly over all."""
    if len(pictures) <= SHOWN:
        return list(pictures)
    return [pictures[number * (len(pictures) - 1) // (SHOWN - 1)] for number in range(SHOWN)]


def _row(name: str, folder: Path, path: Path) -> dict[str, Any]:
    file = path.relative_to(folder).as_posix()
    query = urlencode({"name": name, "file": file, "v": _version(path)})
    return {"file": file, "thumb": f"/lora_bootstrap/folder/thumb?{query}", "place": host_place(path)}


def host_place(path: Path) -> str:
    """The name under which the host's Load Image finds a file, such as `akane/a.png [output]`; "" if it finds none."""
    for kind in ("input", "output"):
        root = paths.dataset_roots()[kind]
        if path.is_relative_to(root) and paths.inside(root, path):
            return f"{path.relative_to(root).as_posix()}{'' if kind == 'input' else f' [{kind}]'}"
    return ""


def folder_thumbnail(name: str, file: str) -> bytes | None:
    """An image of a folder as a small JPEG; None if it cannot be read. Raises UserError if it does not exist, or is
    elsewhere."""
    folder = paths.dataset_folder(name)
    path = folder / file
    if not (file.isprintable() and is_picture(file) and _is_inside(folder, path) and os.path.isfile(path)):
        raise UserError(f"there is no image {file!r} in folder {name!r}; give one that is there.")
    try:
        return thumbnail(path, THUMBNAIL, _version(path))
    except UserError:
        return None


def _is_inside(folder: Path, path: Path) -> bool:
    """Whether a file may be shown: a link to one outside the folder is trained on, but not shown to a browser."""
    return paths.inside(folder, path)


def _version(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
