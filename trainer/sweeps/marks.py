"""The user's marks in a sweep: the best cell, hidden cells, and what is good or bad in a cell by eye. They are saved in
marks.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from ..common.revisions import Revisioned

VERSION = 1
ASPECTS = ("anatomy", "skin", "light")
"""What no figure measures. A person rates it by eye."""
GOOD, BAD = 1, -1
Ratings = Mapping[str, Mapping[str, int]]
"""Cell key → aspect → GOOD or BAD. What is not rated has no entry."""


@dataclass(frozen=True)
class Marks(Revisioned):
    """Marks by cell key, so that they stay valid if the axes change.

    Attributes:
        best: the key of the best cell, or None.
        ratings: files of earlier versions have none.
    """

    UNREADABLE: ClassVar[str] = "{path} does not contain marks ({error}); repair or delete it."

    best: str | None = None
    hidden: tuple[str, ...] = ()
    ratings: Ratings = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Marks:
        if values["version"] != VERSION:
            raise ValueError("it was written by another version")
        marks = super().from_dict({"ratings": {}, **values})
        if not are_ratings(marks.ratings):
            raise ValueError("its ratings are not good or bad")
        return marks

    def changed(self, best: str | None, hidden: Iterable[str], ratings: Ratings | None = None) -> Marks:
        """The next revision, with these marks. The ratings stay as they are if none are given."""
        given = self.ratings if ratings is None else {key: dict(own) for key, own in ratings.items() if own}
        return self.next_revision(best=best, hidden=tuple(dict.fromkeys(hidden)), ratings=given)

    def among(self, keys: Iterable[str]) -> Marks:
        """Only the marks on these cells."""
        known = set(keys)
        return replace(self, best=self.best if self.best in known else None,
                       hidden=tuple(key for key in self.hidden if key in known),
                       ratings={key: own for key, own in self.ratings.items() if key in known})


def are_ratings(values: Any) -> bool:
    """Whether values from a file or a browser are `Ratings`."""
    return isinstance(values, Mapping) and all(
        isinstance(key, str) and isinstance(own, Mapping) and all(
            aspect in ASPECTS and type(rating) is int and rating in (GOOD, BAD) for aspect, rating in own.items())
        for key, own in values.items())


def share_good(ratings: Ratings, keys: Iterable[str]) -> float | None:
    """Share of good among the ratings of these cells; None if nobody rated them."""
    given = [rating for key in keys for rating in ratings.get(key, {}).values()]
    return sum(rating == GOOD for rating in given) / len(given) if given else None
