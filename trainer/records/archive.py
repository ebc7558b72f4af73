"""What an archive of a project holds: a zip with `archive.json`, `project/…` and `runs/<folder>/…`.

KINDS is the one table of the files that are written into an archive and accepted from one. Whatever is not in it is
left out when an archive is written, and refused when one is read: an archive may come from a stranger.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
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
from ..common.names import checked_name
from ..common.schema import read_record
from ..datasets.recorded import RecordedImages
from ..datasets.sidecars import CAPTION_SUFFIXES
from ..lora.tensors import TensorFile
from ..pictures.images import IMAGE_SUFFIXES, image_size
from ..statements.consent import Statement
from ..statements.feedback import Feedback
from ..training.runs import read_run

FORMAT = 1
MANIFEST = "archive.json"
LEFT_OUT = "left_out.txt"
"""What an export has left out, one line each, for whoever opens the zip. An import does not keep it."""
PROJECT, RUNS = "project", "runs"
MOST_FILES = 100_000
MOST_BYTES = 64 * 2**30
"""Bytes of all files together, unpacked."""
MOST_RATIO = 100
"""How many times larger than in the zip a file may be, once it is larger than FREE_RATIO. Images and LoRA files are
stored as they are, and text becomes 30 times smaller at most."""
FREE_RATIO = 2**20
MOST_DEPTH = 5
"""Folders that a name may lead through."""
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


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        place: matches their whole name in the archive.
        most: bytes that one may have, unpacked.
        check: reads one, and raises UserError if it is not what its name says.
        packed: whether it becomes smaller in a zip.
    """

    place: re.Pattern[str]
    most: int
    check: Callable[[Path], object]
    packed: bool = False


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


def _kind(place: str, most: int, check: Callable[[Path], object], packed: bool = True) -> Kind:
    return Kind(re.compile(place), most, check, packed)


KINDS = (
    _kind("archive\\.json", MB, lambda path: read_record(path, Archive)),
    _kind("left_out\\.txt", 64 * MB, _check_caption),
    _kind("project/project\\.json", 16 * MB, _check_project),
    _kind("project/notes\\.json", 4 * MB, Notebook.load),
    _kind("project/rights\\.json", MB, lambda path: read_record(path, Statement)),
    _kind("project/feedback\\.json", 64 * MB, lambda path: read_record(path, Feedback)),
    _kind(f"project/(?:picture|grid/(?:cells/)?{_FILE}){_IMAGE}", 256 * MB, image_size, packed=False),
    _kind(f"project/grid/(?:cells/)?{_FILE}\\.json", 16 * MB, _check_nesting),
    _kind(f"{_SETS}/(?:{_FILE}/)*{_FILE}{_IMAGE}", 256 * MB, image_size, packed=False),
    _kind(f"{_SETS}/(?:{_FILE}/)*{_FILE}{_CAPTION}", MB, _check_caption),
    _kind(f"{_SETS}/(?:{_FILE}/)*(?:crops|made)\\.json", 64 * MB, _check_object),
    _kind(f"{_DRAWN}/{_FILE}{_IMAGE}", 256 * MB, image_size, packed=False),
    _kind(f"{_DRAWN}/{_FILE}\\.json", MB, lambda path: Lineage.read(path.with_suffix(".png"))),
    _kind("project/round_[0-9]/decisions\\.json", 256 * MB, lambda path: read_record(path, SavedDecisions)),
    _kind("project/round_[0-9]/picks\\.json", 256 * MB, Picks.load),
    _kind("project/round_[0-9]/again\\.json", 64 * MB, Wishes.load),
    _kind(f"runs/{_FILE}/run\\.json", 16 * MB, _check_run),
    _kind(f"runs/{_FILE}/images\\.json", 64 * MB, lambda path: read_record(path, RecordedImages)),
    _kind(f"runs/{_FILE}/(?:metrics(?:-[0-9]+)?|image_losses)\\.jsonl", 512 * MB, lambda path: None),
    _kind(f"runs/{_FILE}/{_FILE}\\.safetensors", 16 * 2**30, TensorFile, packed=False),
    _kind(f"runs/{_FILE}/state/state\\.safetensors", 64 * 2**30, TensorFile, packed=False),
    _kind(f"runs/{_FILE}/samples/{_FILE}{_IMAGE}", 256 * MB, image_size, packed=False),
)
"""Damaged lines of metrics.jsonl and image_losses.jsonl are skipped by whoever reads them, so those have no check."""


def find_kind(name: str) -> Kind | None:
    """The kind of a file of that name in an archive; None if such a file does not belong there."""
    return next((kind for kind in KINDS if kind.place.fullmatch(name)), None)


def check_file(path: Path, name: str) -> None:
    """Raises UserError, with the file's name in the archive, if it is not what that name says."""
    kind = find_kind(name)
    if kind is None:
        raise UserError(f"{name} does not belong to a project.")
    try:
        kind.check(path)
    except UserError as error:
        reason = str(error).replace(str(path), name).replace(str(path.parent), name.rpartition("/")[0])
        raise UserError(reason) from error


def fold_name(name: str) -> str:
    """Equal for names that some file systems do not tell apart."""
    return unicodedata.normalize("NFC", name).casefold()


def find_picture(folder: Path) -> Path | None:
    """The original image that lies in a project's folder."""
    return next((path for path in sorted(folder.glob("picture.*")) if path.suffix.lower() in IMAGE_SUFFIXES), None)


def is_safe(name: str) -> bool:
    """Whether every part of a name can be a file's or a folder's on any machine, and none leads out of the archive."""
    parts = name.split("/")
    try:
        return len(parts) <= MOST_DEPTH + 1 and all(checked_name(part) == part for part in parts)
    except UserError:
        return False
