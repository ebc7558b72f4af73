"""The taggers that are installed, and those that can be downloaded."""

from __future__ import annotations

from pathlib import Path

from ..trainer.tagging import tagger as tags
from ..trainer.tagging.files import PUBLISHED, download_tagger, find_tagger, installed_taggers
from . import paths
from .shown_text import menu_choices
from .working import Work, follow


def tagger_names() -> list[str]:
    """The names of taggers: sandbox, the installed ones, and those that can be downloaded."""
    there = [name for root in paths.model_roots("taggers") for name in installed_taggers(root)]
    return menu_choices((tags.SANDBOX, *there, *PUBLISHED))


def tagger_root(name: str) -> Path:
    """The folder of models that has the tagger; the first folder if none has it."""
    roots = paths.model_roots("taggers")
    return next((root for root in roots if name in installed_taggers(root)), roots[0])


def check_tagger(name: str, download: bool) -> None:
    """Raises UserError if the tagger is not installed and is not to be downloaded either."""
    if name != tags.SANDBOX and not (download and name in PUBLISHED):
        find_tagger(name, tagger_root(name))


def open_listed_tagger(name: str, download: bool, work: Work) -> tags.Tagger:
    check_tagger(name, download)
    root = tagger_root(name)
    if download and name in PUBLISHED and name not in installed_taggers(root):
        follow(download_tagger(name, root), work)
    return tags.open_tagger(name, root)
