"""The folder of images that a user gives: looked at before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from ..common.errors import UserError
from ..common.folders import finish_swap

_SETTINGS = frozenset((".toml", ".json", ".yaml", ".yml"))
"""Other trainers describe datasets in files; what these say beyond the folder is not read."""


def find_given_folder(path: Path) -> Path:
    """The path, if it is a folder. A saved dataset whose saving was cut short is completed first. Raises UserError."""
    finish_swap(path)
    if not path.is_dir():
        what = "a file of settings" if path.suffix.lower() in _SETTINGS and path.is_file() else "not a folder"
        raise UserError(f"{path} is {what}. Give the folder that holds the images.")
    return path
