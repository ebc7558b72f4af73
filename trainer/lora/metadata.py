"""What a LoRA file's metadata says: tables and numbers that anybody may have written. What is malformed says nothing.

Names in these tables are compared as texts. PEFT reads some of them as regular expressions, which in a stranger's file
could run for ever.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

ALPHA_TABLE = "lora_adapter_metadata"
"""Where diffusers (0.34 and later) keeps PEFT's settings, as JSON: `<part>.lora_alpha`, `.alpha_pattern`, ..."""
_MOST_ALPHA = 1e6
_MOST_DIGITS = 15


def read_table(metadata: Mapping[str, str], name: str) -> Mapping[str, Any]:
    """The JSON object in a value of the metadata; empty if there is none."""
    try:
        value = json.loads(metadata.get(name, ""))
    except (ValueError, RecursionError):
        return {}
    return _table(value)


def read_texts(metadata: Mapping[str, str], name: str) -> list[str]:
    """The texts in a JSON list in a value of the metadata; [] if there is none."""
    try:
        value = json.loads(metadata.get(name, ""))
    except (ValueError, RecursionError):
        return []
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def read_count(metadata: Mapping[str, str], name: str) -> int | None:
    """The whole number in a value of the metadata; None if there is none."""
    text = metadata.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def read_alpha_table(metadata: Mapping[str, str]) -> Callable[[str, int], float | None]:
    """(a layer's name, rank) → alpha as diffusers stores it: by part, with exceptions by the end of a module's path.

    None where the metadata does not say. Rank-stabilised LoRA (arXiv:2312.03732) is scaled by alpha / sqrt(rank); it is
    converted to the alpha that has the same effect when divided by the rank.
    """
    settings = read_table(metadata, ALPHA_TABLE)

    def alpha(name: str, rank: int) -> float | None:
        part, _, path = name.partition(".")
        patterns = _table(settings.get(f"{part}.alpha_pattern"))
        found = _number(next((value for end, value in patterns.items() if _ends(path, end)),
                             settings.get(f"{part}.lora_alpha")))
        if found is None:
            return None
        return found * math.sqrt(rank) if settings.get(f"{part}.use_rslora") is True else found

    return alpha


def _ends(path: str, end: str) -> bool:
    """Whether a module's path ends with that of a pattern, or is that of one that begins with ^."""
    return path == end[1:] if end.startswith("^") else f".{path}".endswith(f".{end}")


def _number(value: Any) -> float | None:
    """The value as an alpha; None for what cannot be one, such as true, NaN or 1e300."""
    return float(value) if type(value) in (int, float) and abs(value) <= _MOST_ALPHA else None
