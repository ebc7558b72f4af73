"""What an archive of a project holds: a zip with `archive.json`, `project/…` and `runs/<folder>/…`.

KINDS is the one table of the files that are written into an archive and accepted from one. Whatever is not in it is
left out when an archive is written, and refused when one is read: an archive may come from a stranger.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bootstrap.candidates import Lineage
from ..bootstrap.notebook import Notebook
from ..bootstrap.picks import Picks
from ..bootstrap.project import ProjectRecord
from ..bootstrap.repairs import Wishes
from ..bootstrap.rounds import SavedDecisions
from ..common.errors import UserError
from ..common.files import read_json
from ..common.schema import read_record
from ..datasets.recorded import RecordedImages
from ..datasets.sidecars import CAPTION_SUFFIXES
from ..lora.tensors import TensorFile
from ..pictures.images import IMAGE_SUFFIXES, image_size
from ..statements.consent import Statement
from ..statements.feedback import Feedback
from ..training.runs import read_run
from .zips import Kind, ZipForm

FORMAT = 1
MANIFEST = "archive.json"
LEFT_OUT = "left_out.txt"
"""What an export has left out, one line each, for whoever opens the zip. An import does not keep it."""
PROJECT, RUNS = "project", "runs"
REMEDY = "Export the project again."
MOST_NESTED = 100
"""Lists and objects within each other in a JSON file of which names and paths are changed."""
MB = 2**20


@dataclass(frozen=True)
class Archive:
    """What archive.json says.

    Attributes:
        project: the project's name.
        state: whether the training states of unfinished runs are in it.
    """

    format: int
    project: str
    state: bool = False


def _check_caption(path: Path) -> None:
    if b"\0" in path.read_bytes():
        raise UserError(f"{path} is not a text. Write it again in a text editor, or delete it.")


def _check_object(path: Path) -> None:
    read_record(path, dict[str, Any])


def _check_nesting(path: Path) -> None:
    layer = [read_json(path)]
    for _ in range(MOST_NESTED):
        layer = [inner for outer in layer if isinstance(outer, (dict, list))
                 for inner in (outer.values() if isinstance(outer, dict) else outer)]
        if not layer:
            return
    raise UserError(f"{path} is nested more than {MOST_NESTED} deep. Repair or delete it.")


def _check_project(path: Path) -> None:
    _check_nesting(path)
    ProjectRecord.load(path.parent)


def _check_run(path: Path) -> None:
    _check_nesting(path)
    read_run(path.parent)


def _one_of(endings: tuple[str, ...]) -> str:
    return f"(?i:{'|'.join(map(re.escape, endings))})"


_IMAGE, _CAPTION, _FILE = _one_of(IMAGE_SUFFIXES), _one_of(CAPTION_SUFFIXES), "[^/]+"
_SETS = "project/(?:crops|originals|round_[0-9]/dataset)"
_DRAWN = "project/(?:reference|round_[0-9]/candidates)"

RUN_KINDS = (
    Kind.of(f"runs/{_FILE}/run\\.json", 16 * MB, _check_run),
    Kind.of(f"runs/{_FILE}/images\\.json", 64 * MB, lambda path: read_record(path, RecordedImages)),
    Kind.of(f"runs/{_FILE}/(?:metrics(?:-[0-9]+)?|image_losses)\\.jsonl", 512 * MB, lambda path: None),
    Kind.of(f"runs/{_FILE}/{_FILE}\\.safetensors", 16 * 2**30, TensorFile, packed=False),
    Kind.of(f"runs/{_FILE}/state/state\\.safetensors", 64 * 2**30, TensorFile, packed=False),
    Kind.of(f"runs/{_FILE}/samples/{_FILE}{_IMAGE}", 256 * MB, image_size, packed=False),
)
"""Damaged lines of metrics.jsonl and image_losses.jsonl are skipped by whoever reads them, so those have no check."""

KINDS = (
    Kind.of("archive\\.json", MB, lambda path: read_record(path, Archive)),
    Kind.of("left_out\\.txt", 64 * MB, _check_caption),
    Kind.of("project/project\\.json", 16 * MB, _check_project),
    Kind.of("project/notes\\.json", 4 * MB, Notebook.load),
    Kind.of("project/rights\\.json", MB, lambda path: read_record(path, Statement)),
    Kind.of("project/feedback\\.json", 64 * MB, lambda path: read_record(path, Feedback)),
    Kind.of(f"project/(?:picture|grid/(?:cells/)?{_FILE}){_IMAGE}", 256 * MB, image_size, packed=False),
    Kind.of(f"project/grid/(?:cells/)?{_FILE}\\.json", 16 * MB, _check_nesting),
    Kind.of(f"{_SETS}/(?:{_FILE}/)*{_FILE}{_IMAGE}", 256 * MB, image_size, packed=False),
    Kind.of(f"{_SETS}/(?:{_FILE}/)*{_FILE}{_CAPTION}", MB, _check_caption),
    Kind.of(f"{_SETS}/(?:{_FILE}/)*(?:crops|made)\\.json", 64 * MB, _check_object),
    Kind.of(f"{_DRAWN}/{_FILE}{_IMAGE}", 256 * MB, image_size, packed=False),
    Kind.of(f"{_DRAWN}/{_FILE}\\.json", MB, lambda path: Lineage.read(path.with_suffix(".png"))),
    Kind.of("project/round_[0-9]/decisions\\.json", 256 * MB, lambda path: read_record(path, SavedDecisions)),
    Kind.of("project/round_[0-9]/picks\\.json", 256 * MB, Picks.load),
    Kind.of("project/round_[0-9]/again\\.json", 64 * MB, Wishes.load),
    *RUN_KINDS,
)
FORM = ZipForm(KINDS, MANIFEST, "the archive", "a project", REMEDY)


def find_picture(folder: Path) -> Path | None:
    """The original image that lies in a project's folder."""
    return next((path for path in sorted(folder.glob("picture.*")) if path.suffix.lower() in IMAGE_SUFFIXES), None)
