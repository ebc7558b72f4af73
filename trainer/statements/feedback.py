"""What testers reported of a project's releases: feedback.json beside project.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..common.checks import check
from ..common.counts import count_noun
from ..common.files import write_json
from ..common.locks import locked
from ..common.schema import read_record
from .feedback_form import Answer

FILE = "feedback.json"
VERSION = 1
MOST = 1000


@dataclass(frozen=True)
class Feedback:
    """All answers, in the order in which they were read."""

    answers: tuple[Answer, ...] = ()

    def __post_init__(self) -> None:
        check(len(self.answers) <= MOST, "number of feedback forms", len(self.answers), f"at most {MOST}")


def read_feedback(project: Path) -> Feedback:
    """What was reported on the project in that folder. Raises UserError if it cannot be read."""
    return read_record(project / FILE, Feedback) if (project / FILE).is_file() else Feedback()


def add_feedback(project: Path, answers: Sequence[Answer]) -> int:
    """Save answers with a project; those that it has already are left out. Returns the number of new ones.

    Raises UserError if its earlier feedback cannot be read, if there would be too many, or if the file cannot be
    written.
    """
    with locked(project / FILE):
        before = read_feedback(project).answers
        known = {answer.digest for answer in before}
        new = {answer.digest: answer for answer in answers if answer.digest not in known}
        if new:
            saved = Feedback((*before, *new.values()))
            write_json(project / FILE, {"version": VERSION, **asdict(saved)})
    return len(new)


def say_saved(new: int, read: int, project: Path) -> str:
    """How many of the answers that were read are new, in a sentence."""
    known = f"; {read - new} of {read} were known" if new < read else ""
    return f"{count_noun(new, 'new feedback form')} saved with project {project.name!r}{known}."
