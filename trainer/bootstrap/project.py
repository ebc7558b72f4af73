"""A bootstrap project on disk: project.json, rewritten after every stage, and the folders beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import read_json, write_json
from ..common.folders import RECORD, finish_swap
from .curate import RoundFigures

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
        values = asdict(self)
        del values["folder"]
        write_json(self.file, {"version": VERSION, **values})

    @classmethod
    def load(cls, folder: Path) -> ProjectRecord:
        """The project in that folder. Raises UserError if project.json cannot be read as a project."""
        values = read_json(folder / "project.json")
        try:
            if values.pop("version") != VERSION:
                raise UserError(f"{folder / 'project.json'} was written by another version; use another project name.")
            stages = {name: StageRecord(**record) for name, record in values.pop("stages").items()}
            rounds = [RoundFigures(**figures) for figures in values.pop("rounds")]
            return cls(folder=folder, stages=stages, rounds=rounds, **values)
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{folder / 'project.json'} is not a project ({error}); move it away, or use another "
                            "project name.") from error


def open_project(folder: Path, settings: dict[str, Any], picture_hash: str, afresh: bool = True) -> ProjectRecord:
    """The project in that folder with these settings, new or continued.

    Args:
        picture_hash: hash of the image's pixels (`images.pixel_hash`), so that it is the same from a file and from a
            workflow.
        afresh: discard the rounds' figures and warnings, since every stage is run through again.

    Raises UserError if the folder holds a project of another image, or something else.
    """
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
