"""A round's candidates in fewer bytes, for a page that shows ten thousand of them: what most have in common is written
once. web/gallery/packed.js reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BETWEEN = ", "
"""Stands between the phrases of a prompt."""


def pack_candidates(candidates: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"usual": the first candidate, "words": [str, ...], "rows": [fields that differ from `usual`, ...]}.

    In `usual` and in `rows`, `prompt` (cut at each BETWEEN) and `tags` are lists of places in `words`, `reason` is a
    place, and so is each value of `view`.

    Args:
        candidates: all with the same fields, of which `prompt`, `tags`, `reason` and `view` hold text.
    """
    words: dict[str, int] = {}
    if not candidates:
        return {"usual": {}, "words": [], "rows": []}
    usual = candidates[0]
    rows = [_with_places({name: value for name, value in candidate.items() if value != usual[name]}, words)
            for candidate in candidates]
    return {"usual": _with_places(dict(usual), words), "words": list(words), "rows": rows}


def _with_places(row: dict[str, Any], words: dict[str, int]) -> dict[str, Any]:
    """The row with places in `words` for its texts; words that are new are added."""
    if "prompt" in row:
        row["prompt"] = _places(row["prompt"].split(BETWEEN), words)
    if "tags" in row:
        row["tags"] = _places(row["tags"], words)
    if "reason" in row:
        row["reason"] = words.setdefault(row["reason"], len(words))
    if "view" in row:
        row["view"] = dict(zip(row["view"], _places(row["view"].values(), words), strict=True))
    return row


def _places(texts: Iterable[str], words: dict[str, int]) -> list[int]:
    return [words.setdefault(text, len(words)) for text in texts]
