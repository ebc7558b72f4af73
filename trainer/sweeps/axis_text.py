"""Reads axes as people write them: `0.5, 0.7, 0.8`, ranges as in other XY plots, and checkpoints of a run.

    1, 2, 5         these values
    1-4             1, 2, 3, 4
    1-10 (+3)       1, 4, 7, 10: (+3) is the step, 1 if not given
    0.5-1 [6]       0.5, 0.6, 0.7, 0.8, 0.9, 1: [6] is how many, including both ends
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..common.errors import UserError

MOST = 500
"""The most values that one axis may have."""
_NUMBER = r"-?\d+(?:\.\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\s*-\s*({_NUMBER})\s*(?:\(\s*([+-]\s*\d+(?:\.\d+)?)\s*\)|\[\s*(\d+)\s*\])?")
_GLUED = re.compile(r"(?<![\d.])\d+,\d+(?![\d.])")
"""Two whole numbers with only a comma between them, which may be one number with a decimal comma."""
_POINTS = re.compile(r"(?!.*,\s)[^;\n]*\d\.\d[^;\n]*")
"""A text whose decimals have points, and whose only separators are commas without spaces: 0.5,1,2 has three numbers."""
_THOUSANDS = re.compile(r"\d,0\d")
MOST_SEED = 2**53 - 1
"""The largest whole number that every browser reads exactly, and so the largest seed."""
HOW_NUMBERS = "write 0.5, 0.7, 1 or a range: 1-4, 0.5-1 (+0.1), 0.5-1 [6]"


def parse_numbers(text: str, what: str, *, whole: bool = False) -> tuple[float, ...]:
    """The numbers that a text names, each once, in the text's order.

    Raises UserError if a part is neither a number nor a range, if there are no numbers or too many, or if a comma may
    be part of a number.
    """
    _check_commas(text, what, whole)
    values: list[float] = []
    for part in filter(None, (part.strip() for part in re.split(r"[,;\n]", text))):
        values += _part(part, what, whole)
        if len(values) > MOST:
            raise UserError(f"{what} {text!r} gives more than {MOST} values; use fewer.")
    if not values:
        raise UserError(f"{what} is empty; {HOW_NUMBERS}.")
    return tuple(dict.fromkeys(values))


def parse_seeds(text: str) -> tuple[int, ...]:
    """The seeds that a text names. Raises UserError as `parse_numbers` does, and for a seed beyond ±MOST_SEED."""
    seeds = tuple(int(seed) for seed in parse_numbers(text, "seeds", whole=True))
    if any(abs(seed) > MOST_SEED for seed in seeds):
        raise UserError(f"seeds {text!r} must be at most {MOST_SEED}: browsers round larger numbers, so a cell dragged "
                        "into the page would be drawn with another seed. Use smaller ones.")
    return seeds


def _check_commas(text: str, what: str, whole: bool) -> None:
    """Raises UserError for a comma that may be part of a number: in 1,000 if `whole`, or else in 0,8."""
    found = (_THOUSANDS if whole else _GLUED).search(text)
    if found and whole:
        raise UserError(f"{what}: {text!r} has a comma before a 0, as in 1,000; write 1000, or a space after the "
                        "comma.")
    if found and not _POINTS.fullmatch(text):
        first, last = found[0].split(",")
        raise UserError(f"{what}: {found[0]!r} may be one number or two; write {first}.{last}, or {first}, {last} with "
                        "a space.")


def _part(part: str, what: str, whole: bool) -> list[float]:
    values: list[Any]
    if found := _RANGE.fullmatch(part):
        values = _range(*found.groups(), part=part, what=what)
    else:
        try:
            values = [int(part) if whole else float(part)]
        except ValueError:
            raise UserError(f"{what}: {part!r} is not a number; {HOW_NUMBERS}.") from None
    if any(value != value or value in (float("inf"), -float("inf")) for value in values):
        raise UserError(f"{what}: {part!r} is not a number; {HOW_NUMBERS}.")
    if whole and any(value != int(value) for value in values):
        raise UserError(f"{what}: {part!r} must be a whole number or a range of whole numbers.")
    return [int(value) if whole else float(value) for value in values]


def _range(first: str, last: str, difference: str | None, count: str | None, *, part: str,
           what: str) -> list[Fraction]:
    """The numbers of a range, as fractions, because a seed may have more digits than a float holds."""
    start, end = Fraction(first), Fraction(last)
    if count is not None:
        steps = int(count) - 1
        if not 1 <= steps < MOST:
            raise UserError(f"{what}: {part!r} must have 2 to {MOST} values.")
        return [round(start + (end - start) * index / steps, 6) for index in range(steps + 1)]
    step = Fraction(difference.replace(" ", "")) if difference else Fraction(1 if end >= start else -1)
    if step == 0 or (end - start) / step < (start != end):
        raise UserError(f"{what}: the step of {part!r} does not lead from {first} to {last}; {HOW_NUMBERS}.")
    steps = (end - start) // step
    if steps >= MOST:
        raise UserError(f"{what}: {part!r} gives {steps + 1} values; use at most {MOST}.")
    return [round(start + step * index, 6) for index in range(steps + 1)]


def lines(text: str) -> tuple[str, ...]:
    """The lines of a text, each once. Blank lines and lines that begin with # are ignored."""
    stripped = (line.strip() for line in text.splitlines())
    return tuple(dict.fromkeys(line for line in stripped if line and not line.startswith("#")))


HOW_CHECKPOINTS = "write all, last, last 5, every 2, or steps: 400, 800-1600 (+400)"


def choose_checkpoints(files: Sequence[tuple[int, Path]], text: str,
                       averages: Sequence[tuple[int, Path]] = ()) -> tuple[tuple[int, Path], ...]:
    """The (step, file) pairs of a run that a text selects, sorted by step.

    `all`, which adds the averages of checkpoints at the end; `last` or `last 5`; `every 2`, counted from the last; or
    steps; each selects the nearest checkpoint.

    Raises UserError for any other text, and if the run has no file.
    """
    if not files:
        raise UserError("the run has no LoRA file yet; let it train longer.")
    words = text.lower().split()
    name, count = (words[0] if words else "", words[1] if len(words) == 2 else "1")
    if words == ["all"]:
        return (*files, *averages)
    if name in ("last", "every") and len(words) < 3 and count.isdecimal() and int(count) > 0:
        chosen = files[-int(count):] if name == "last" else files[::-1][:: int(count)][::-1]
        return tuple(chosen)
    try:
        steps = parse_numbers(text, "checkpoints", whole=True)
    except UserError:
        raise UserError(f"checkpoints {text!r} cannot be read; {HOW_CHECKPOINTS}.") from None
    nearest = {min(files, key=lambda file: abs(file[0] - step)) for step in steps}
    return tuple(sorted(nearest))


def choose_names(names: Sequence[str], patterns: Sequence[str], what: str) -> tuple[str, ...]:
    """The names that match any of the patterns, in order. `*` stands for anything; .safetensors may be left out.

    Raises UserError, with the nearest name, for a pattern that matches none.
    """
    import difflib

    chosen: list[str] = []
    for pattern in patterns:
        wanted = ".*".join(re.escape(part) for part in pattern.replace("\\", "/").split("*"))
        form = re.compile(rf"{wanted}(\.safetensors)?")
        fitting = [name for name in names if form.fullmatch(name.replace("\\", "/"))]
        if not fitting:
            near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UserError(f"there is no {what} {pattern!r}.{hint} Press R to refresh the list.")
        chosen += fitting
    return tuple(dict.fromkeys(chosen))
