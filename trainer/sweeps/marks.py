"""What a person marked in a sweep: the best cell, and cells that need not be seen. It lies in marks.json."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from ..common.errors import UserError
from ..common.files import read_json, write_json

VERSION = 1


@dataclass(frozen=True)
class Marks:
    """Marks by the cells' keys, so that they outlast another choice of axes.

    Attributes:
        revision: counts the changes, for those who would write at the same time.
        best: the key of the best cell, or None.
    """

    revision: int = 0
    best: str | None = None
    hidden: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path) -> Marks:
        """The marks in a file; none if there is no file. Raises UserError if it is not one of marks."""
        if not path.is_file():
            return cls()
        values = read_json(path)
        try:
            if values["version"] != VERSION:
                raise UserError(f"{path} was written by another version; delete it to mark anew.")
            return cls(int(values["revision"]), values["best"], tuple(values["hidden"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} holds no marks ({error}); mend or delete it.") from error

    def save(self, path: Path) -> None:
        write_json(path, {"version": VERSION, **asdict(self)})

    def changed(self, best: str | None, hidden: Iterable[str]) -> Marks:
        """The next revision, with these marks instead."""
        return Marks(self.revision + 1, best, tuple(dict.fromkeys(hidden)))

    def among(self, keys: Iterable[str]) -> Marks:
        """Only the marks on these cells."""
        known = set(keys)
        return Marks(self.revision, self.best if self.best in known else None,
                     tuple(key for key in self.hidden if key in known))
