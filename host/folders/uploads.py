"""Puts files from a browser into folders of their own below input/. Nothing is overwritten, and nothing is written into
a folder that was not made for uploads."""

from __future__ import annotations

import filecmp
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ...trainer.common.errors import UserError
from ...trainer.common.files import make_folder, plain_errors
from ...trainer.common.locks import locked
from ...trainer.common.names import name_from, with_ending
from ...trainer.common.new_files import give_name, numbered
from ...trainer.datasets.sidecars import CAPTION_SUFFIXES, fold, is_picture
from ...trainer.pictures.images import IMAGE_SUFFIXES, image_size
from .. import paths

MARK = ".lora_bootstrap_upload"
"""A hidden file in each folder that was made for uploads."""
OTHERWISE = "pictures"
MOST_DEPTH = 3
"""Levels of folders inside an upload; what is deeper is put on the last one."""
LONGEST_ENDING = max(*IMAGE_SUFFIXES, *CAPTION_SUFFIXES, key=len)
MOST_CAPTION = 2**20
"""Bytes of a caption."""


@dataclass(frozen=True)
class Uploaded:
    """Where a file was put.

    Attributes:
        folder: the dataset, under the name that a widget takes.
        name: the file, relative to it.
        known: whether exactly this file was there already, so that nothing was written.
    """

    folder: str
    name: str
    known: bool


def is_upload(folder: Path) -> bool:
    """Whether a folder was made for uploads."""
    return folder.parent == paths.dataset_roots()["input"] and not folder.is_symlink() and (folder / MARK).is_file()


def save_upload(temp: Path, folder: str, wanted: str, file: str) -> Uploaded:
    """Give a file that a browser has sent its place.

    Args:
        temp: what was sent, on the disk of input/. It is moved, or left if it is there already.
        folder: the dataset to add it to, which must be one that was made for uploads; "" for a new one.
        wanted: a name for the new one; it is numbered if it is taken.
        file: its name, which may begin with folders.

    Raises UserError if it is not an image or a caption, or cannot be put there.
    """
    parents, name = _safe_parts(file)
    kind = _check(temp, name, file)
    home = _known_folder(folder) if folder else _new_folder(wanted)
    target = home.joinpath(*parents)
    if not paths.inside(home, target):
        raise UserError(f"{file!r} cannot be put into {home.name}: a folder in it is a link. Remove the link.")
    make_folder(target)
    with locked(target / MARK):
        path, known = kind(temp, target / name)
    return Uploaded(home.name, path.relative_to(home).as_posix(), known)


# -- names -------------------------------------------------------------------------------------------------------------


def _safe_parts(file: str) -> tuple[list[str], str]:
    """(folders, name) that any file system can hold."""
    *folders, name = PurePosixPath(file.replace("\\", "/")).parts or ("",)
    stem, ending = os.path.splitext(name)
    safe = [name_from(part, OTHERWISE) for part in folders if part.strip(". /")]
    # an image and its caption share the stem, so that it is cut to one length for all
    stem = with_ending(name_from(stem, OTHERWISE), LONGEST_ENDING).removesuffix(LONGEST_ENDING)
    return safe[:MOST_DEPTH], with_ending(stem, ending.lower())


def _check(temp: Path, name: str, file: str) -> Callable[[Path, Path], tuple[Path, bool]]:
    """What puts such a file into its place. Raises UserError for any other file."""
    if is_picture(name):
        try:
            image_size(temp)
        except UserError as error:
            reason = str(error).replace(str(temp), name)
            raise UserError(f"{file} is not an image that can be read: {reason}") from error
        return _put_image
    if name.endswith(CAPTION_SUFFIXES):
        if temp.stat().st_size > MOST_CAPTION:
            raise UserError(f"{file} is larger than {MOST_CAPTION // 2**20} MB, so it is not a caption. Leave it out.")
        return _put_caption
    raise UserError(f"{file} is neither an image ({', '.join(IMAGE_SUFFIXES)}) nor a caption "
                    f"({', '.join(CAPTION_SUFFIXES)}). Save it as png.")


def _put_image(temp: Path, path: Path) -> tuple[Path, bool]:
    """Under the first name whose stem no other image has, because an image and its caption share it."""
    names = os.listdir(path.parent)
    taken = {fold(os.path.splitext(name)[0]) for name in names if is_picture(name)}
    for candidate in _counted(path):
        if candidate.name in names and _is_same(temp, candidate):
            return candidate, True
        if fold(candidate.stem) not in taken and give_name(temp, candidate):
            return candidate, False
    raise AssertionError


def _put_caption(temp: Path, path: Path) -> tuple[Path, bool]:
    if give_name(temp, path):
        return path, False
    if _is_same(temp, path):
        return path, True
    raise UserError(f"{path.name} is there already with another text, and was left unchanged. Edit it with Edit Tags.")


def _is_same(temp: Path, path: Path) -> bool:
    """Whether two files have the same content; not where one cannot be read, as a link to a file that is gone."""
    try:
        return filecmp.cmp(temp, path, shallow=False)
    except OSError:
        return False


def _counted(path: Path) -> Iterator[Path]:
    """a.png, a (2).png, a (3).png, ..."""
    yield path
    for number in itertools.count(2):
        yield path.with_name(with_ending(path.stem, f" ({number}){path.suffix}"))


# -- folders -----------------------------------------------------------------------------------------------------------


def _known_folder(folder: str) -> Path:
    path = paths.dataset_folder(folder)
    if not is_upload(path):
        raise UserError(f"folder {folder!r} was not made by dropping images, so none are added to it. Clear the "
                        "field to put them into a new folder.")
    return path


def _new_folder(wanted: str) -> Path:
    """Make a folder in input/ that is named as wanted, or numbered."""
    root = paths.dataset_roots()["input"]
    words = {*paths.dataset_roots(), "datasets"}
    for path in numbered(root / name_from(wanted.replace(".", "_"), OTHERWISE)):
        if path.name in words:
            continue
        with plain_errors("make the folder", path), suppress(FileExistsError):
            path.mkdir(parents=True)
            (path / MARK).touch()
            return path
    raise AssertionError
