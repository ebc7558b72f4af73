"""The folder of images that a user gives: looked at before anything is loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from ..common.errors import UserError
from ..common.folders import finish_swap
from ..common.names import name_from

_SETTINGS = frozenset((".toml", ".json", ".yaml", ".yml"))
"""Other trainers describe datasets in files; what these say beyond the folder is not read."""
_REPEATED = re.compile(r"\d+_.+")


def find_given_folder(path: Path) -> Path:
    """The path, if it is a folder. A saved dataset whose saving was cut short is completed first. Raises UserError."""
    finish_swap(path)
    if not path.is_dir():
        what = "a file of settings" if path.suffix.lower() in _SETTINGS and path.is_file() else "not a folder"
        raise UserError(f"{path} is {what}. Give the folder that holds the images.")
    return path


def name_by_folder(images: Iterable[Path]) -> str:
    """What a dataset is called by the folder that its images come from: the deepest that holds them all, above the
    folders of repeats (10_name). Two folders of one name give one name, so whoever writes below it asks whose it is."""
    folders = sorted({path.resolve().parent for path in images})
    shared = Path(os.path.commonpath(folders)) if len({folder.anchor for folder in folders}) == 1 else Path()
    return name_from((shared.parent if _REPEATED.fullmatch(shared.name) else shared).name, "dataset")
