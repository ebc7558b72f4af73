"""Reads a LORA_STACK, the socket that the stack nodes of many packs share: a list of (name, model strength, text
encoder strength). Packs leave places free, write numbers as text, and names with backslashes or without endings."""

from __future__ import annotations

import math
from collections.abc import Callable
from os import PathLike, fspath
from typing import Any

from ..common.errors import UserError

FREE = (None, "", "None")
"""Names of places that hold no LoRA."""
MOST = 100.0
"""The largest strength that the host's own Load LoRA accepts."""
HOW = "(name, model strength, clip strength)"


def read_lora_stack(stack: Any, find: Callable[[str], str]) -> list[tuple[str, float, float]]:
    """The LoRAs of a stack as (listed name, model strength, text encoder strength). Free places are skipped.

    Args:
        find: gives the name under which the host's loaders list what a pack names. Raises UserError if there is none.

    Raises UserError for anything else than a stack, and for strengths that are not finite numbers.
    """
    if _is_free(stack):
        return []
    if not isinstance(stack, (list, tuple)):
        raise UserError(f"LORA_STACK is {_shown(stack)}; it must be a list of {HOW}. Link a stack node to it.")
    return [_entry(place, find) for place in stack if not _is_free(_first(place))]


def read_strength(value: Any, of: str) -> float:
    """A strength as a number. Raises UserError if it is not one, not finite, or beyond ±MOST."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not abs(number) <= MOST:
        raise UserError(f"the strength of {of} is {_shown(value)}; it must be a number from {-MOST:g} to {MOST:g}, "
                        "with a point before its decimals, such as 0.8.")
    return number


def _is_free(name: Any) -> bool:
    return name is None or isinstance(name, str) and name.strip() in FREE


def _first(place: Any) -> Any:
    return place[0] if isinstance(place, (list, tuple)) and place else place


def _entry(place: Any, find: Callable[[str], str]) -> tuple[str, float, float]:
    if not isinstance(place, (list, tuple)) or len(place) != 3 or not isinstance(place[0], (str, PathLike)):
        raise UserError(f"LORA_STACK has the entry {_shown(place)}; each must be {HOW}. Link another stack node to it.")
    name = fspath(place[0])
    strength, on_text = (read_strength(value, f"{name!r} in LORA_STACK") for value in place[1:])
    return find(name), strength, on_text


def _shown(value: Any) -> str:
    """A value as one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 120 else f"{text[:119]}…"
