"""What was released under a name before: history.json in the release's folder, and what has changed since."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import write_json
from ..common.schema import read_record
from ..statements.plain_text import one_line

FILE = "history.json"
MOST = 1000
_COMPARED = (("strength", "strength"), ("steps", "steps"), ("images", "images"), ("trigger", "trigger"),
             ("licence", "licence"))
"""(field, its name in a sentence) of what is compared with the version before."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One version. What is not known of it is None or "".

    Attributes:
        weights: sha256 of its tensors.
        changes: the author's own words.
    """

    version: str
    weights: str
    changes: str = ""
    strength: float | None = None
    steps: int | None = None
    images: int | None = None
    trigger: str = ""
    licence: str = ""


@dataclass(frozen=True)
class History:
    versions: tuple[Entry, ...] = ()

    def with_entry(self, entry: Entry) -> tuple[History, str]:
        """The history with this version as its last, in place of an earlier release of it; and a warning, or ""."""
        before = next((other for other in self.versions if other.version == entry.version), None)
        others = tuple(other for other in self.versions if other.version != entry.version)
        changed = before is not None and before.weights != entry.weights
        return History((*others, entry)[-MOST:]), (
            f"Version {entry.version} was released with other weights before. Give a new version, so that people can "
            "tell them apart." if changed else "")

    def lines(self) -> list[tuple[str, list[str]]]:
        """(version, what changed in it), the newest first."""
        pairs = zip(self.versions, (None, *self.versions), strict=False)
        return [(entry.version, _changes(entry, before)) for entry, before in pairs][::-1]

    def to_dict(self) -> dict[str, Any]:
        return {"versions": [asdict(entry) for entry in self.versions]}


def _changes(entry: Entry, before: Entry | None) -> list[str]:
    lines = [line for text in entry.changes.splitlines() if (line := one_line(text))]
    if before is None:
        return lines or ["First release."]
    if entry.weights != before.weights:
        lines.append("The weights are new.")
    for name, label in _COMPARED:
        old, new = getattr(before, name), getattr(entry, name)
        if old != new:
            lines.append(f"{label}: {_word(old)} → {_word(new)}")
    return lines or ["Nothing but texts and previews."]


def _word(value: Any) -> str:
    return "not stated" if value in (None, "") else f"{value:g}" if isinstance(value, float) else one_line(value)


def read_history(folder: Path) -> tuple[History, str]:
    """What was released in a folder before, and a note if its record is damaged."""
    path = folder / FILE
    if not path.is_file():
        return History(), ""
    try:
        return read_record(path, History), ""
    except UserError as error:
        return History(), f"{error} The history begins anew."


def write_history(folder: Path, history: History) -> None:
    write_json(folder / FILE, history.to_dict())
