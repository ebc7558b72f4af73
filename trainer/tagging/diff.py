"""What an edit did to the captions of a dataset: before and after, image by image, as text or JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..captions.tags import same_tag, split_tags
from ..datasets.dataset import Dataset

MOST_LINES = 200


@dataclass(frozen=True)
class CaptionChange:
    """One image's caption, before and after.

    Attributes:
        cut: tags that were dropped because the caption was too long, the least certain first; `removed` has them too.
    """

    path: Path
    before: str
    after: str
    cut: tuple[str, ...] = ()

    @property
    def added(self) -> tuple[str, ...]:
        return _list_missing(self.after, self.before)

    @property
    def removed(self) -> tuple[str, ...]:
        return _list_missing(self.before, self.after)


def _list_missing(there: str, here: str) -> tuple[str, ...]:
    known = {same_tag(tag) for tag in split_tags(here)}
    return tuple(tag for tag in split_tags(there) if same_tag(tag) not in known)


@dataclass(frozen=True)
class CaptionDiff:
    """The captions that changed, in the order of the dataset, out of `pictures` images; and notes for the user."""

    changes: tuple[CaptionChange, ...]
    pictures: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.changes)

    @classmethod
    def between(cls, before: Dataset, after: Dataset, cuts: Sequence[tuple[str, ...]] | None = None,
                notes: Sequence[str] = ()) -> CaptionDiff:
        """The difference of two datasets of the same samples in the same order."""
        rows = zip(before, after, cuts or [()] * len(before), strict=True)
        changes = [CaptionChange(old.path, old.caption, new.caption, cut) for old, new, cut in rows
                   if old.caption != new.caption]
        return cls(tuple(changes), len(before), tuple(notes))

    def counts(self) -> tuple[dict[str, int], dict[str, int]]:
        """(added, removed): number of images by tag, most first."""
        added = Counter(same_tag(tag) for change in self.changes for tag in change.added)
        removed = Counter(same_tag(tag) for change in self.changes for tag in change.removed)
        return dict(added.most_common()), dict(removed.most_common())

    def text(self, most: int = MOST_LINES) -> str:
        """For people: the totals, then `- before` and `+ after` for at most `most` images."""
        lines = [f"{len(self.changes)} of {self.pictures} captions changed"]
        for sign, counts in zip("+-", self.counts(), strict=True):
            lines += [f"{sign} {tag}: {count}" for tag, count in list(counts.items())[:20]]
        lines += [f"note: {note}" for note in self.notes]
        lines += [line for change in self.changes[:most] for line in _lines(change)]
        if len(self.changes) > most:
            lines.append(f"… and {len(self.changes) - most} more")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        added, removed = self.counts()
        return {"pictures": self.pictures, "changed": len(self.changes), "added": added, "removed": removed,
                "notes": list(self.notes),
                "changes": [{"file": change.path.name, "before": change.before, "after": change.after,
                             "added": list(change.added), "removed": list(change.removed), "cut": list(change.cut)}
                            for change in self.changes]}


def _lines(change: CaptionChange) -> Iterator[str]:
    yield f"{change.path.name}"
    yield f"  - {change.before}"
    yield f"  + {change.after}"
    if change.cut:
        yield f"  too long, cut: {', '.join(change.cut)}"
