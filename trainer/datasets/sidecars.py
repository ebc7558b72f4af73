"""Which files beside an image belong to it, by their names: `a.txt` to `a.png`, and `A.TXT` or `a.png.txt` too.

Names that differ only in case or in how accents are encoded (NFC, NFD; a zip from macOS has the latter) count as the
same where no file has exactly the image's name.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Sequence
from pathlib import Path

from ..pictures.images import IMAGE_SUFFIXES

CAPTION_SUFFIXES = (".txt", ".caption")


def fold(name: str) -> str:
    """The name without what differs between file systems: case, and how accents are encoded."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def is_picture(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES)


class CaptionFinder:
    """Finds the captions of images among the names in their folder."""

    def __init__(self, names: Collection[str], suffixes: Sequence[str] = CAPTION_SUFFIXES) -> None:
        self._names, self._suffixes = names, tuple(suffixes)
        self._near: dict[str, list[str]] | None = None

    @classmethod
    def of(cls, folder: str | os.PathLike[str], suffixes: Sequence[str] = CAPTION_SUFFIXES) -> CaptionFinder:
        """For a folder on disk; without any names if it cannot be read."""
        try:
            return cls(frozenset(os.listdir(folder)), suffixes)
        except OSError:
            return cls(frozenset(), suffixes)

    def exact(self, picture: str) -> str:
        """The caption file that has exactly the image's name; "" if there is none."""
        stem = os.path.splitext(picture)[0]
        return next((stem + suffix for suffix in self._suffixes if stem + suffix in self._names), "")

    def near(self, picture: str) -> list[str]:
        """The caption files that have nearly the image's name. More than one: it is not clear which is meant."""
        if self._near is None:
            self._near = self._index()
        stem = os.path.splitext(picture)[0]
        for wanted in (f"{name}{suffix}" for name in (stem, picture) for suffix in self._suffixes):
            if found := self._near.get(fold(wanted)):
                return found
        return []

    def find(self, picture: str) -> str:
        """The image's caption file; "" if there is none, or it is not clear which."""
        if exact := self.exact(picture):
            return exact
        found = self.near(picture)
        return found[0] if len(found) == 1 else ""

    def _index(self) -> dict[str, list[str]]:
        """Caption files by folded name, without those that are exactly another image's."""
        taken = {self.exact(name) for name in self._names if is_picture(name)}
        found: dict[str, list[str]] = {}
        for name in sorted(self._names):
            if name not in taken and name.lower().endswith(self._suffixes):
                found.setdefault(fold(name), []).append(name)
        return found


def caption_file(picture: Path) -> Path | None:
    """The caption file beside an image, even an empty one; None if there is none."""
    name = CaptionFinder.of(picture.parent).find(picture.name)
    return picture.with_name(name) if name else None
