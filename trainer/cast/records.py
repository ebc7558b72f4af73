"""What is known of each character of a cast, on disk, and so what is to be done next.

    output/casts/<cast>/characters/<name>.json   a CharacterRecord
                        cast.json, cast.html     the report, from all of them

Only the batch writes here, never its workers. A record says what a finished task returned; whether the files are still
there is looked up, so that what was deleted is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import write_json
from ..common.schema import read_record
from ..sweeps.cells import MANIFEST, Sweep
from .character import Character

VERSION = 1
PROJECT, CELLS, SCORE = "project", "cells", "score"
KINDS = (PROJECT, CELLS, SCORE)
"""Kinds of tasks, in their order."""


@dataclass
class CharacterRecord:
    """Attributes:
        key: `Character.key` of the settings that the rest was made with.
        project, score: what these tasks returned; None until they are finished.
        seconds: of workers by kind of task, with those of attempts that failed: what was paid for.
        lost: how many workers ended in the middle of a task.
        problem: why it could not be finished; "" if nothing is wrong.
    """

    key: str
    project: dict[str, Any] | None = None
    score: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    lost: int = 0
    problem: str = ""
    version: int = VERSION

    def spend(self, kind: str, seconds: float) -> None:
        self.seconds[kind] = round(self.seconds.get(kind, 0.0) + seconds, 2)


class CastRecords:
    """The records of a cast's characters, in `output/casts/<name>`."""

    def __init__(self, output: Path, name: str) -> None:
        self.output, self.folder = output, output / "casts" / name

    def read(self, character: Character) -> CharacterRecord:
        """Its record; a new one if there is none or it was made with other settings. What it has cost is kept."""
        key, found = character.key, None
        with suppress(UserError):  # a damaged record costs only itself: all results are files of their own
            found = read_record(self._path(character), CharacterRecord)
        if found is None or found.version != VERSION:
            return CharacterRecord(key)
        if found.key != key:
            return CharacterRecord(key, seconds=found.seconds)
        found.problem = ""  # it is tried again
        return found

    def write(self, character: Character, record: CharacterRecord) -> None:
        write_json(self._path(character), asdict(record))

    def next_kind(self, character: Character, record: CharacterRecord) -> str | None:
        """The kind of task that comes next; None if everything is there."""
        if record.project is None or not self._is_there(record.project, "lora"):
            return PROJECT
        sweep = self.sweep(character)
        if sweep is None:
            return PROJECT
        if record.score is not None and (sweep.folder / "scores.json").is_file():
            return None
        return CELLS if sweep.missing() else SCORE

    def sweep(self, character: Character) -> Sweep | None:
        """Its sweep, if it was planned."""
        folder = self.output / "sweeps" / character.sweep_name
        with suppress(UserError):
            return Sweep.load(folder) if (folder / MANIFEST).is_file() else None
        return None

    def _is_there(self, facts: Mapping[str, Any], name: str) -> bool:
        path = facts.get(name)
        return isinstance(path, str) and (self.output / path).is_file()

    def _path(self, character: Character) -> Path:
        return self.folder / "characters" / f"{character.name}.json"
