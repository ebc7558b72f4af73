"""A bootstrap project on disk: project.json, rewritten after every stage, and the folders beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import write_json
from ..common.folders import RECORD, finish_swap
from ..common.leftovers import remove_leftovers
from ..common.locks import locked
from ..common.schema import read_record
from .curation.round_figures import RoundFigures

VERSION = 1
CROPS, OWN = "crops", "originals"
"""Folders of the crops that are cut from the image, and of copies of a person's own images, which take their place."""
RESERVED = ("datasets",)
"""Folders beside the projects that are not projects."""


@dataclass(frozen=True)
class StageRecord:
    """The result of a finished stage. `facts` are figures and paths for the report, relative to the output root."""

    name: str
    title: str
    summary: str
    seconds: float
    finished: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class ProjectRecord:
    """The state of one project.

    Attributes:
        folder: `output/bootstrap/<name>`.
        settings: the BootstrapConfig as plain values.
        picture_hash: hash of the image's pixels; a project belongs to one image.
        notes: warnings and remarks, in order of appearance, each once.
        stopped_because: why the loop ended before its last round, "" if it did not.
    """

    folder: Path
    settings: dict[str, Any]
    picture_hash: str
    stages: dict[str, StageRecord] = field(default_factory=dict)
    rounds: list[RoundFigures] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stopped_because: str = ""
    result: dict[str, str] = field(default_factory=dict)
    _read: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The parts as they were last read or written."""

    @property
    def file(self) -> Path:
        return self.folder / "project.json"

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def record_figures(self, figures: RoundFigures) -> None:
        """Record a round's figures, replacing earlier ones."""
        others = [earlier for earlier in self.rounds if earlier.round != figures.round]
        self.rounds = sorted([*others, figures], key=lambda entry: entry.round)

    def record_stage(self, stage: StageRecord, reused: bool) -> None:
        """Record a stage and save the project. A reused stage keeps the time it originally took."""
        earlier = self.stages.get(stage.name)
        if reused and earlier:
            stage = StageRecord(**{**asdict(stage), "seconds": earlier.seconds, "finished": earlier.finished})
        self.stages[stage.name] = stage
        self.save()

    def save(self) -> None:
        """Write project.json. What another process has changed in it since it was read here stays, unless the same was
        changed here too."""
        with locked(self.file):
            with suppress(UserError):  # a file that is damaged by now is written anew
                if self.file.is_file():
                    self._set_parts(_merge(self._read, self._parts(), ProjectRecord.load(self.folder)._parts()))
            self._read = self._parts()
            values = asdict(self)
            del values["folder"], values["_read"]
            write_json(self.file, {"version": VERSION, **values})

    def _parts(self) -> dict[str, Any]:
        """What is saved, with lists as mappings, so that each entry can be compared with another's."""
        return {"settings": dict(self.settings), "picture_hash": self.picture_hash, "stages": dict(self.stages),
                "rounds": {figures.round: figures for figures in self.rounds}, "notes": dict.fromkeys(self.notes),
                "stopped_because": self.stopped_because, "result": dict(self.result)}

    def _set_parts(self, parts: Mapping[str, Any]) -> None:
        for name, value in parts.items():
            setattr(self, name, value)
        self.rounds = sorted(parts["rounds"].values(), key=lambda entry: entry.round)
        self.notes = list(parts["notes"])

    @classmethod
    def load(cls, folder: Path) -> ProjectRecord:
        """The project in that folder. Raises UserError if project.json cannot be read as a project."""
        saved = read_record(folder / "project.json", _Saved, "is not a project",
                            "Move it away, or use another project name.")
        if saved.version != VERSION:
            raise UserError(f"{folder / 'project.json'} was written by another version; use another project name.")
        record = cls(folder, **{name: value for name, value in vars(saved).items() if name != "version"})
        record._read = record._parts()
        return record


@dataclass
class _Saved:
    """What project.json holds, as ProjectRecord says."""

    version: int
    settings: dict[str, Any]
    picture_hash: str
    stages: dict[str, StageRecord]
    rounds: list[RoundFigures]
    notes: list[str] = field(default_factory=list)
    stopped_because: str = ""
    result: dict[str, str] = field(default_factory=dict)


def _merge(before: Any, mine: Any, theirs: Any) -> Any:
    """`theirs`, with every change from `before` to `mine` made to it; entry by entry if they are mappings."""
    if not isinstance(mine, dict) or not isinstance(theirs, dict):
        return theirs if mine == before else mine
    before = before if isinstance(before, dict) else {}
    merged = {}
    for name in dict.fromkeys((*theirs, *mine)):
        if name not in theirs:
            if name not in before or mine[name] != before[name]:
                merged[name] = mine[name]
        elif name in mine:
            merged[name] = _merge(before.get(name, _NOTHING), mine[name], theirs[name])
        elif name not in before:
            merged[name] = theirs[name]
    return merged


_NOTHING = object()
"""Equal to no value: what was not there before."""


def open_project(folder: Path, settings: dict[str, Any], picture_hash: str, afresh: bool = True) -> ProjectRecord:
    """The project in that folder with these settings, new or continued.

    Args:
        picture_hash: hash of the image's pixels (`images.pixel_hash`), so that it is the same from a file and from a
            workflow.
        afresh: discard the rounds' figures and warnings, since every stage is run through again.

    Raises UserError if the folder holds a project of another image, or something else.
    """
    remove_leftovers(folder, depth=3)
    if not (folder / "project.json").exists():
        if folder.name.casefold() in RESERVED:
            raise UserError(f"a project cannot be named {folder.name!r}, because that folder holds datasets. Choose "
                            "another name.")
        return ProjectRecord(folder, settings, picture_hash)
    project = ProjectRecord.load(folder)
    if project.picture_hash != picture_hash:
        raise UserError(f"project {folder.name!r} belongs to another image ({project.settings.get('picture')}); "
                        "choose another project name.")
    project.settings = settings
    if afresh:
        project.rounds, project.notes, project.stopped_because, project.result = [], [], "", {}
    return project


def crops_folder(folder: Path) -> Path:
    """Where the crops of the project in `folder` are."""
    for name in (OWN, CROPS):
        finish_swap(folder / name)
    return folder / (OWN if (folder / OWN / RECORD).is_file() else CROPS)


def key_of(*parts: Any) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def note_stage(record: ProjectRecord, name: str, title: str, summary: str, reused: bool,
               facts: dict[str, Any]) -> None:
    """Record a stage in project.json."""
    record.record_stage(StageRecord(name, title, summary, 0.0, now(), facts), reused)
