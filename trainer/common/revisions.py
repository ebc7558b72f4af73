"""Files that two people may change at the same time. Each save raises the revision, and a save based on an older
revision is refused instead of overwriting the other person's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from .errors import UserError
from .files import read_json, write_json
from .leftovers import remove_leftovers
from .locks import locked
from .schema import convert

_BROKEN = (KeyError, TypeError, ValueError, AttributeError)
Record = TypeVar("Record", bound="Revisioned")


class StaleRevision(Exception):
    """Somebody else saved the file after it was last read."""


@dataclass(frozen=True)
class Revisioned:
    """The content of such a file. A subclass adds fields and defines their JSON form.

    Attributes:
        revision: how often it has been saved.
        UNREADABLE: the error message for a file with other content; {path} and {error} are filled in.
    """

    UNREADABLE: ClassVar[str] = "{path} cannot be read ({error}); repair or delete it."

    revision: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The content as JSON values."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls: type[Record], values: Mapping[str, Any]) -> Record:
        """The inverse of `to_dict`. Raises KeyError, TypeError, ValueError or AttributeError for anything else.

        This one reads the fields by their types. All of them have to be there.
        """
        record: Record = convert({item.name: values[item.name] for item in fields(cls)}, cls, "it")
        return record

    @classmethod
    def load(cls: type[Record], path: Path) -> Record:
        """The record saved there, or an empty one if there is no such file. Raises UserError if it cannot be read."""
        if not path.is_file():
            return cls()
        values = read_json(path)
        try:
            return cls.from_dict(values)
        except _BROKEN as error:
            raise UserError(cls.UNREADABLE.format(path=path, error=error)) from error

    def save(self, path: Path) -> None:
        write_json(path, self.to_dict())

    def next_revision(self: Record, **values: Any) -> Record:
        """The next revision, with these values replaced."""
        return replace(self, revision=self.revision + 1, **values)


def save_change(path: Path, kind: type[Record], change: Callable[[Record], Record],
                revision: int | None = None) -> Record:
    """Change the record in a file while nobody else can, in this process or another; returns the new record.

    Args:
        kind: the kind of record in the file.
        change: makes the next revision from the saved record. If it raises, nothing is saved and the error passes
            through.
        revision: the revision that the change is based on; None for whichever is the latest.

    Raises StaleRevision if `revision` is not the latest, UserError if the file cannot be read or written.
    """
    with locked(path):
        remove_leftovers(path.parent)
        saved = kind.load(path)
        if revision is not None and saved.revision != revision:
            raise StaleRevision
        changed = change(saved)
        changed.save(path)
    return changed
