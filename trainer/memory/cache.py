"""Counts that were made before, in one file of the user's cache folder: the same question takes no second count."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import user_cache_file, write_json
from ..common.schema import convert
from ..common.versions import library_versions
from .step import StepCount

REVISION = 3
"""Raise it when the way of counting changes."""
LIBRARIES = ("torch", "diffusers", "peft")


def cached(question: Mapping[str, Any], count: Callable[[], StepCount], file: Path | None = None) -> StepCount:
    """The answer to a question, from the file or counted now. A file that cannot be read or written does not matter."""
    file = file or user_cache_file("memory.json")
    key = _key(question)
    known = _read(file)
    if key in known:
        return known[key]
    found = count()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {name: dataclasses.asdict(value) for name, value in {**_read(file), key: found}.items()})
    except (OSError, UserError):
        pass
    return found


def _key(question: Mapping[str, Any]) -> str:
    whole = {**question, "revision": REVISION, "libraries": library_versions(LIBRARIES)}
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _read(file: Path) -> dict[str, StepCount]:
    try:
        return {key: convert(value, StepCount, strict=True)
                for key, value in json.loads(file.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, UserError):
        return {}
