"""What is stated of a project at its start about consent and rights: rights.json beside project.json."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..common.checks import check
from ..common.errors import UserError
from ..common.files import write_json
from ..common.locks import locked
from ..common.schema import read_record
from .plain_text import one_line
from .rights import INVENTED, MOST_LETTERS, NOT_STATED, USES, Rights

FILE = "rights.json"
VERSION = 1


@dataclass(frozen=True)
class Statement:
    """Raises UserError for a licence that is too long.

    Attributes:
        licence: for the images and what is trained on them; "" if that is not stated.
    """

    rights: Rights = field(default_factory=Rights)
    licence: str = ""

    def __post_init__(self) -> None:
        check(len(self.licence) <= MOST_LETTERS, "length of licence", len(self.licence), f"at most {MOST_LETTERS}")

    @property
    def is_empty(self) -> bool:
        return self == Statement()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is open about the consent of a real person."""
        return self.rights.consent_warnings("This project shows")

    def lines(self) -> Iterator[str]:
        """The warnings, and every answer in one line; nothing without any answer."""
        if not self.is_empty:
            rows = self.rights.rows(self.licence)
            yield from (f"⚠ {line}" for line in self.warnings)
            yield f"Stated: {'; '.join(f'{name} {one_line(value) or NOT_STATED}' for name, value in rows)}."


def read_statement(project: Path) -> tuple[Statement, str]:
    """What is stated of the project in that folder, and why that cannot be read; an empty statement if nothing is."""
    path = project / FILE
    try:
        return (read_record(path, Statement) if path.is_file() else Statement()), ""
    except UserError as error:
        reason = str(error).replace(str(path), FILE)  # reports and zips are passed on, the folder is not
        return Statement(), f"The answers about consent and rights are not used: {reason}"


def find_warnings(project: Path) -> tuple[str, ...]:
    """What is open about the consent of a real person whom the project in that folder shows, or why its answers cannot
    be read."""
    statement, problem = read_statement(project)
    return tuple(filter(None, (*statement.warnings, problem)))


def save_statement(project: Path, statement: Statement) -> tuple[Statement, str]:
    """Save a statement as a whole, in place of an earlier one; an empty one leaves that as it is. Returns what is
    stated now, and why an earlier one cannot be read.

    Raises UserError if the file cannot be written.
    """
    if statement.is_empty:
        return read_statement(project)
    with locked(project / FILE):
        write_json(project / FILE, {"version": VERSION, **asdict(statement)})
    return statement, ""


def complete_rights(own: Rights, before: Rights) -> Rights:
    """The answers of a release, and for what it leaves open those that its project started with.

    The answers about consent stay together: who consented is never taken from one statement, and to what from the
    other. Nothing is taken over where the release says that the person is invented.
    """
    consent = before if _consent(own) == _consent(Rights()) and own.person != INVENTED else own
    return Rights(person=before.person if own.person == NOT_STATED else own.person,
                  consent_by=consent.consent_by, consent_written=consent.consent_written,
                  consent_uses=consent.consent_uses, holder=own.holder or before.holder)


def _consent(rights: Rights) -> tuple[object, ...]:
    return rights.consent_by, rights.consent_written, rights.consent_uses


def list_differences(own: Statement, before: Statement) -> list[str]:
    """What a release states otherwise than its project did, one line each. What either leaves open is no difference."""
    mine, theirs = _answers(own), _answers(before)
    return [f"The release states {name}: {mine[name]}. Its project states: {theirs[name]}." for name in mine
            if mine[name] and theirs[name] and mine[name] != theirs[name]]


def _answers(statement: Statement) -> dict[str, str]:
    """Every answer by its name, "" for one that is open."""
    rights = statement.rights
    answers = {"person": rights.person, "consent by": rights.consent_by, "consent in writing": rights.consent_written,
               "consent for": ", ".join(use for use in USES if use in rights.consent_uses),
               "rights held by": rights.holder, "licence": statement.licence}
    return {name: "" if text == NOT_STATED else one_line(text) for name, text in answers.items()}
