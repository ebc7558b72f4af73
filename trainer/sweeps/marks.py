"""The user's marks in a sweep: the best cell, and hidden cells. They are saved in marks.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from ..common.revisions import Revisioned

VERSION = 1


@dataclass(frozen=True)
class Marks(Revisioned):
    """Marks by cell key, so that they stay valid if the axes change.

    Attributes:
        best: the key of the best cell, or None.
    """

    UNREADABLE: ClassVar[str] = "{path} does not contain marks ({error}); repair or delete it."

    best: str | None = None
    hidden: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Marks:
        if values["version"] != VERSION:
            raise ValueError("it was written by another version")
        return super().from_dict(values)

    def changed(self, best: str | None, hidden: Iterable[str]) -> Marks:
        """The next revision, with these marks."""
        return self.next_revision(best=best, hidden=tuple(dict.fromkeys(hidden)))

    def among(self, keys: Iterable[str]) -> Marks:
        """Only the marks on these cells."""
        known = set(keys)
        return replace(self, best=self.best if self.best in known else None,
                       hidden=tuple(key for key in self.hidden if key in known))
