"""Files that two people may change at the same time: each saving counts one up, and whoever saves on an older state is
told so instead of overwriting what the other one saved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from .errors import UserError
from .files import read_json, write_json

_SAVING = threading.Lock()
"""One at a time reads such a file and writes it back."""
_BROKEN = (KeyError, TypeError, ValueError, AttributeError)
Record = TypeVar("Record", bound="Revisioned")


class StaleRevision(Exception):
    """Somebody else has saved since the one who saves has looked."""


@dataclass(frozen=True)
class Revisioned:
    """The content of such a file. A subclass adds fields, and says how they stand in JSON.

    Attributes:
        revision: how often it was saved.
        UNREADABLE: what a file that holds something else is answered with; {path} and {error} are filled in.
    """

    UNREADABLE: ClassVar[str] = "{path} cannot be read ({error}); mend or delete it."

    revision: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls: type[Record], values: Mapping[str, Any]) -> Record:
        """From what `to_dict` gave. Raises KeyError, TypeError, ValueError or AttributeError for anything else."""
        raise NotImplementedError

    @classmethod
    def load(cls: type[Record], path: Path) -> Record:
        """What was saved there; an empty record if there is no such file. Raises UserError if it cannot be read."""
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
        """With these values instead, one revision on."""
        return replace(self, revision=self.revision + 1, **values)


def save_change(path: Path, kind: type[Record], change: Callable[[Record], Record],
                revision: int | None = None) -> Record:
    """Change what is saved in a file while nobody else does; returns what is saved now.

    Args:
        kind: of record, to read the file with.
        change: from what is saved to its next revision; what it raises passes through, and nothing is saved.
        revision: the one that whoever saves has looked at; None: whichever is the latest.

    Raises StaleRevision if `revision` is not the latest, UserError if the file cannot be read or written.
    """
    with _SAVING:
        saved = kind.load(path)
        if revision is not None and saved.revision != revision:
            raise StaleRevision
        changed = change(saved)
        changed.save(path)
    return changed
