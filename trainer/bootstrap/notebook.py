"""What a person writes down about a project: its goal, and a note for each round. Saved in notes.json beside
project.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ..common.errors import UserError
from ..common.revisions import Revisioned
from ..common.schema import convert

FILE = "notes.json"
LONGEST = 4000
"""Letters of a goal or a note."""


@dataclass(frozen=True)
class Notebook(Revisioned):
    """Attributes:
        goal: what the project is for.
        rounds: number of a round, as JSON writes it → what the round is to bring, and what it brought.
    """

    UNREADABLE: ClassVar[str] = "{path} cannot be read ({error}); repair or delete it to write notes again."

    goal: str = ""
    rounds: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, project: Path) -> Notebook:
        """The notes on the project in that folder. Raises UserError if they cannot be read."""
        return cls.load(project / FILE)

    def round_note(self, number: int) -> str:
        return self.rounds.get(str(number), "")

    def changed(self, goal: str | None = None, rounds: Mapping[str, str] | None = None, depth: int = 9) -> Notebook:
        """The next revision, with these texts replaced; an empty note is removed.

        Args:
            depth: how many rounds the project has.

        Raises UserError for a text that is too long, or a round that the project does not have.
        """
        notes = {**self.rounds, **{number: _checked(f"the note of round {number}", text)
                                   for number, text in (rounds or {}).items()}}
        for number in rounds or {}:
            if number not in map(str, range(1, depth + 1)):
                raise UserError(f"round is {number!r}; the project has rounds 1 to {depth}.")
        return self.next_revision(goal=self.goal if goal is None else _checked("the goal", goal),
                                  rounds={number: text for number, text in sorted(notes.items()) if text})

    def to_dict(self) -> dict[str, Any]:
        return {"revision": self.revision, "goal": self.goal, "rounds": dict(self.rounds)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Notebook:
        notes: Notebook = convert(values, cls, "it")
        return notes


def _checked(what: str, text: Any) -> str:
    if not isinstance(text, str) or len(text) > LONGEST:
        raise UserError(f"{what} must be a text of at most {LONGEST} letters; shorten it.")
    return text.strip()
