"""Files that this process wrote, and a node must write again if they are gone, though nothing in its graph has changed.

`look` counts how often some were found to be gone, which a node gives as its fingerprint.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ..trainer.sweeps.cells import Sweep


class CellLosses:
    """How many cells the sweeps of this process have. If some are gone or failed, the node must run again, although
    nothing in the workflow has changed."""

    def __init__(self) -> None:
        self._done: dict[Path, int] = {}
        self._losses = 0

    def note(self, sweep: Sweep) -> None:
        absent = sum(state != "done" for state in sweep.states().values())
        self._done[sweep.folder] = self._there(sweep.folder) + absent  # cells of an earlier plan are there too

    def look(self) -> int:
        for folder, wanted in list(self._done.items()):
            if self._there(folder) < wanted:
                self._losses += 1
        return self._losses

    @staticmethod
    def _there(folder: Path) -> int:
        return sum(1 for _ in (folder / "cells").glob("*.png"))


class CandidateLosses:
    """How many candidates this process saved in which folder. If some are gone, they are drawn again, although nothing
    in the workflow has changed."""

    def __init__(self) -> None:
        self._left: dict[Path, int] = {}
        self._losses = 0
        self._wishes: Counter[int] = Counter()

    def note_wish(self, number: int) -> None:
        """Something is to be drawn again in a round of that number."""
        self._wishes[number] += 1

    def wishes(self, number: Any) -> int:
        """How often that was noted; in all rounds if the number is not known."""
        return self._wishes[number] if type(number) is int else self._wishes.total()

    def note(self, folder: Path) -> int:
        """Count the candidates in a folder, and remember the number."""
        self._left[folder] = sum(1 for _ in folder.glob("r*-*.json"))
        return self._left[folder]

    def look(self) -> int:
        for folder, made in list(self._left.items()):
            self._losses += self.note(folder) < made
        return self._losses


class FileLosses:
    """Files that a stack of this process names. If one is gone, its node must run again, although its text is the
    same."""

    def __init__(self) -> None:
        self._files: set[Path] = set()
        self._losses = 0

    def note(self, path: Path) -> None:
        self._files.add(path)

    def look(self) -> int:
        gone = {path for path in self._files if not path.is_file()}
        self._files -= gone
        self._losses += len(gone)
        return self._losses
