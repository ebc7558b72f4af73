"""The words that a base knows for views, by axis, and what a view of these words cannot show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .axes import axis_of, can_show, usual_tags


@dataclass(frozen=True)
class Vocabulary:
    """The words a base knows for views.

    Attributes:
        axes: axis -> tag -> weight: the share of the views that shows the tag, relative to the others.
        hidden: view tag -> last words of tags that such a view cannot show.
        revealed: pairs of view tags -> last words that the two together do show.
        said: word of a view -> the tags that say it in a caption, where those are others.
    """

    name: str
    axes: Mapping[str, Mapping[str, float]]
    hidden: Mapping[str, tuple[str, ...]]
    revealed: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    said: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def names(self, tag: str) -> str | None:
        """The axis on which the vocabulary itself has the tag, or None."""
        return next((axis for axis, tags in self.axes.items() if normal(tag) in tags), None)

    def axis_of(self, tag: str) -> str | None:
        """The axis that the tag describes, in these words or in any others (`axes.axis_of`), or None."""
        return self.names(tag) or axis_of(tag)

    def shows(self, tag: str, view: Sequence[str]) -> bool:
        """Whether a view of these tags can show what the tag names."""
        parts = {normal(part) for part in view} | usual_tags(view)
        revealed = {word for pair, words in self.revealed.items() if parts.issuperset(pair) for word in words}
        hidden = {word for part in parts for word in self.hidden.get(part, ())} - revealed
        return not ends_in(tag, hidden) and can_show(parts, tag)


def normal(tag: str) -> str:
    """The tag as tables spell it: lower case, spaces for underscores."""
    return tag.strip().lower().replace("_", " ")


def ends_in(tag: str, words: Iterable[str]) -> bool:
    """Whether the tag ends in one of the words: `fox tail` in `tail`, but not `ponytail`."""
    return f" {normal(tag)}".endswith(tuple(f" {word}" for word in words))
