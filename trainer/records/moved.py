"""The paths and names that a project's JSON files hold, as they are in an archive: without the machine they come from.

A path below the output folder begins with `{output}/` there. Of any other absolute path only the last part is left.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .zips import is_safe

ROOT = "{output}/"
_ABSOLUTE = re.compile(r"(?:/|~|[A-Za-z]:[\\/]|\\\\)[^,\n]*[\\/]([^\\/,\n]+)[\\/]?")
NAMES = ("project", "run")
"""Fields that name a project or a run."""


def each_text(value: Any, change: Callable[[str, str], str], field: str = "") -> Any:
    """A JSON value with every text replaced by `change(field, text)`."""
    if isinstance(value, str):
        return change(field, value)
    if isinstance(value, Mapping):
        return {name: each_text(inner, change, name) for name, inner in value.items()}
    return [each_text(inner, change, field) for inner in value] if isinstance(value, (list, tuple)) else value


def without_machine(value: Any, root: Path, project: tuple[str, str]) -> Any:
    """A JSON value without paths of this machine.

    Args:
        root: the output folder.
        project: (the project's folder, its name); they differ where the folder was copied or renamed.
    """
    move = Move(root, project, {})

    def change(_: str, text: str) -> str:
        path = Path(text)
        if path.is_absolute() and path.is_relative_to(root) and path != root:
            return ROOT + move.path(path.relative_to(root).as_posix())
        return found[1] if (found := _ABSOLUTE.fullmatch(text)) else move.path(text.replace(f"{root}{os.sep}", ""))
    return each_text(value, change)


@dataclass(frozen=True)
class Move:
    """Where the parts of an archive go.

    Attributes:
        root: the output folder.
        project: (the project's name in the archive, the new one).
        runs: old folder → new folder.
    """

    root: Path
    project: tuple[str, str]
    runs: Mapping[str, str]

    def __call__(self, value: Any) -> Any:
        """A JSON value of the archive with the names and paths of this machine."""
        return each_text(value, self._change)

    def path(self, text: str) -> str:
        """A path relative to the output folder, with the new names; the text itself if it is no such path."""
        parts = PurePosixPath(text).parts
        names = {"bootstrap": dict([self.project]), "loras": self.runs}.get(parts[0] if len(parts) > 1 else "", {})
        return "/".join((parts[0], names[parts[1]], *parts[2:])) if len(parts) > 1 and parts[1] in names else text

    def _change(self, field: str, text: str) -> str:
        if field in NAMES and text in (self.project[0], *self.runs):
            return self.runs.get(text, self.project[1]) if field == "run" else self.project[1]
        if text.startswith(ROOT):
            inner = text.removeprefix(ROOT)
            return str(self.root / self.path(inner)) if is_safe(inner) else PurePosixPath(inner).name
        return self.path(text)
