"""Folders of other trainers that hold more than training images: regularisation images, previews, models and logs.

kohya's GUI makes `img`, `reg`, `model` and `log` (https://github.com/bmaltais/kohya_ss/issues/613); sd-scripts writes
previews to `sample`, OneTrainer and ai-toolkit to `samples`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from .sidecars import fold, is_picture

_IMAGES = re.compile(r"(img|image)s?")
_REGULARISATION = re.compile(r"(reg|regulari[sz]ation|class)([ _-]?(images?|imgs?|pics?|pictures?|data|dataset))|regs?|"
                             r"regulari[sz]ations?")
_PREVIEWS = re.compile(r"(sample|preview)s?([ _-]?images?)?")
_PROJECT = re.compile(r"models?|logs?|logging|outputs?|backups?|saves?|tensorboard|config|configs")
_PREVIEW_FILE = re.compile(r"training-sample-.*|\d+__\d{9}_\d+|.*_e?\d{6}(_\d{2}_\d{14}(_\d+)?)?")
"""Stems of the previews of OneTrainer, ai-toolkit and sd-scripts."""
_LOOKED_AT = 200


def is_regularisation(folder: str) -> bool:
    """Whether a folder's name says that it holds regularisation images, which must not be trained as the subject."""
    return bool(_REGULARISATION.fullmatch(fold(folder)))


def is_previews(folder: str) -> bool:
    """Whether a folder's name says that it holds a trainer's previews."""
    return bool(_PREVIEWS.fullmatch(fold(folder)))


def image_folders(folders: Collection[str]) -> list[str]:
    """The folders of a kohya project that hold its training images, from the names of all its folders; empty if it is
    no such project."""
    names = [fold(name) for name in folders]
    marked = any(is_regularisation(name) or is_previews(name) or _PROJECT.fullmatch(name) for name in names)
    return sorted(name for name in folders if _IMAGES.fullmatch(fold(name))) if marked else []


def has_preview_files(folder: Path) -> bool:
    """Whether an image in the folder, or in one of its folders, is named as trainers name their previews."""
    looked = 0
    for _, _, names in os.walk(folder):
        for name in filter(is_picture, names):
            if _PREVIEW_FILE.fullmatch(os.path.splitext(name)[0]):
                return True
            if (looked := looked + 1) >= _LOOKED_AT:
                return False
    return False
