"""From another tool's settings to ours, by a table with a row for each of theirs.

Every value that a row gives is tried on `TrainConfig`, together with those of the rows before it. So a row may name a
setting that does not exist yet, a value that is not among ours, or two that exclude each other: what cannot be is
reported as left out, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..common.errors import UserError
from ..training.config import TrainConfig, setting_names

Given = Mapping[str, Any]
"""Their settings, by their names; groups are joined by dots."""
MAPPED, DIFFERS, LEFT = "mapped", "differs", "left"


class NotMapped(Exception):
    """A value that has no counterpart among ours; its text is the reason."""


def keep(value: Any, given: Given) -> Any:
    return value


@dataclass(frozen=True)
class Row:
    """One setting of another tool.

    Attributes:
        theirs, ours: the names; ours is dotted.
        convert: (their value, all their settings) → ours, or a dict of values by our names. It may raise NotMapped.
        note: what it means there and not here, or the reverse; "" if it is the same.
        default: what their tool takes where the file does not say; None: our preset decides.
    """

    theirs: str
    ours: str
    convert: Callable[[Any, Given], Any] = keep
    note: str = ""
    default: Any = None


@dataclass(frozen=True)
class Table:
    """What is known of a tool's settings.

    Attributes:
        title: the tool's name.
        rows: in this order, so that a later one overrides what an earlier one gave.
        left: why other settings are left out; a name that ends with a dot stands for all names that begin with it.
        quiet: settings that say nothing about a training, such as paths of logs; they are only counted.
        base, dataset: their settings that name the base model and the folders of images.
        regularisation: those that name folders of regularisation images.
    """

    title: str
    rows: Sequence[Row]
    left: Mapping[str, str]
    quiet: Sequence[str] = ()
    base: str = ""
    dataset: str = ""
    regularisation: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """What became of one setting.

    Attributes:
        ours: our settings and their values, as text; "" if it is left out.
        kind: MAPPED, DIFFERS (mapped, but `note` says what is not the same), or LEFT (`note` says why).
        assumed: the file does not say it; it is what their tool takes then.
    """

    theirs: str
    value: Any
    ours: str
    kind: str
    note: str = ""
    assumed: bool = False


@dataclass(frozen=True)
class Imported:
    """The outcome: our settings by dotted name, and a line for each of theirs."""

    tool: str
    settings: Mapping[str, Any]
    lines: tuple[Line, ...]
    base: str = ""
    datasets: tuple[str, ...] = ()
    quiet: int = 0
    regularisation: tuple[str, ...] = ()


def translate(table: Table, given: Given, notes: Mapping[str, str] | None = None) -> Imported:
    """Their settings as ours. `notes`: what else to say about some of them, by their names."""
    settings: dict[str, Any] = {}
    lines: list[Line] = []
    names = frozenset(setting_names())
    for row in table.rows:
        assumed = row.theirs not in given
        value = row.default if assumed else given[row.theirs]
        if value is None:
            lines += [] if assumed else [Line(row.theirs, None, "", LEFT, "it has no value")]
            continue
        try:
            found = _checked(row, value, given, names, settings)
        except NotMapped as reason:
            lines.append(Line(row.theirs, value, "", LEFT, str(reason), assumed))
            continue
        settings |= found
        if assumed and not found:
            continue
        note = "; ".join(filter(None, (row.note if found else "", (notes or {}).get(row.theirs, ""))))
        ours = ", ".join(f"{name} = {_word(each)}" for name, each in found.items())
        lines.append(Line(row.theirs, value, ours, DIFFERS if note else MAPPED, note, assumed))
    mapped = {row.theirs for row in table.rows}
    rest = [name for name in given if name not in mapped]
    quiet = [name for name in rest if _matches(name, table.quiet)]
    lines += [Line(name, given[name], "", LEFT, _reason(name, table.left)) for name in rest if name not in quiet]
    return Imported(table.title, settings, tuple(lines), str(given.get(table.base) or ""),
                    _folders(given.get(table.dataset)), len(quiet),
                    tuple(folder for name in table.regularisation for folder in _folders(given.get(name))))


def _checked(row: Row, value: Any, given: Given, names: frozenset[str], before: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings for a value. Raises NotMapped if we do not have them, not with that value, or not beside those of
    the rows before."""
    try:
        made = row.convert(value, given)
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise NotMapped(f"{_word(value)} is not a value that it can have") from error
    found = made if isinstance(made, dict) else {row.ours: made}
    for name in found:
        if name not in names:
            raise NotMapped(f"{name} is not a setting here")
    try:
        TrainConfig().replace(**{**before, **found})
    except UserError as error:
        raise NotMapped(str(error)) from error
    return found


def _reason(name: str, left: Mapping[str, str]) -> str:
    return next((reason for known, reason in left.items() if _matches(name, [known])), "the import does not know it")


def _matches(name: str, known: Sequence[str]) -> bool:
    return any(name == each or (each.endswith(".") and name.startswith(each)) for each in known)


def _folders(value: Any) -> tuple[str, ...]:
    folders = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(str(folder) for folder in folders if folder))


def _word(value: Any) -> str:
    text = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."


def described(imported: Imported) -> Iterator[str]:
    """The import in words, in three parts: what maps, what differs in meaning, what is left out."""
    for kind, title in ((MAPPED, "mapped"), (DIFFERS, "mapped, but not the same in every respect"),
                        (LEFT, "left out")):
        lines = [line for line in imported.lines if line.kind == kind]
        if lines:
            yield f"\n{title} ({len(lines)}):"
            yield from (f"  {_described(line)}" for line in lines)
    if imported.quiet:
        yield f"\n{imported.quiet} more concern paths, logs or uploads, and nothing that is trained."


def _described(line: Line) -> str:
    name = f"{line.theirs} = {_word(line.value)}" + (" (its default)" if line.assumed else "")
    becomes = {LEFT: ""}.get(line.kind, f" → {line.ours or 'as it is here anyway'}")
    return name + becomes + (f": {line.note}" if line.note else "")


# -- conversions that several tables use -------------------------------------------------------------------------------


def number(value: Any, given: Given) -> float:
    """Also of text: YAML reads 1e-4 as a text."""
    if isinstance(value, bool):
        raise ValueError("not a number")
    return float(value)


def whole(value: Any, given: Given) -> int:
    made = number(value, given)
    if made != int(made):
        raise ValueError("not a whole number")
    return int(made)


def reverse(value: Any, given: Given) -> bool:
    return not flag(value, given)


def flag(value: Any, given: Given) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def optional(convert: Callable[[Any, Given], Any]) -> Callable[[Any, Given], Any]:
    """0 and false turn their setting off, as it is here without a setting."""
    def converted(value: Any, given: Given) -> Any:
        return convert(value, given) if value else {}

    return converted


def choose(values: Mapping[str, Any], what: str) -> Callable[[Any, Given], Any]:
    """Ours by theirs, whatever the case of the letters."""
    def chosen(value: Any, given: Given) -> Any:
        name = str(value).lower()
        if name not in values:
            raise NotMapped(f"this {what} is not among ours")
        return values[name]

    return chosen


OPTIMIZERS = {
    "adamw": "adamw", "adamw8bit": "adamw8bit", "adamw_8bit": "adamw8bit", "adamw8": "adamw8bit",
    "pagedadamw8bit": "adamw8bit", "adafactor": "adafactor", "prodigy": "prodigy", "lion": "lion",
    "lion8bit": "lion8bit", "lion_8bit": "lion8bit", "came": "came", "adamwschedulefree": "adamw_schedule_free",
    "schedule_free_adamw": "adamw_schedule_free",
}
SCHEDULES = {
    "constant": "constant", "constant_with_warmup": "constant", "linear": "linear", "cosine": "cosine", "rex": "rex",
    "cosine_with_restarts": "cosine_with_restarts", "cosine_with_hard_restarts": "cosine_with_restarts",
    "cosine_annealing": "cosine",
}
PRECISIONS = {
    "no": "fp32", "fp16": "fp16", "bf16": "bf16", "float16": "fp16", "bfloat16": "bf16", "float32": "fp32",
    "float_16": "fp16", "bfloat_16": "bf16", "float_32": "fp32", "fp32": "fp32", "float": "fp32",
}
choose_schedule = choose(SCHEDULES, "schedule")
choose_precision = choose(PRECISIONS, "precision")


def choose_optimizer(value: Any, given: Given) -> Any:
    """Also of a name with its library, such as `pytorch_optimizer.CAME`."""
    return choose(OPTIMIZERS, "optimizer")(str(value).rpartition(".")[2], given)


def only(expected: Any, reason: str) -> Callable[[Any, Given], Any]:
    """For a setting that has only one value here: that value needs no setting, and any other is left out."""
    def checked(value: Any, given: Given) -> dict[str, Any]:
        if value != expected:
            raise NotMapped(reason)
        return {}

    return checked


def side(value: Any, given: Given) -> int:
    """1024, "1024", "1024,1024" or [1024, 1024] as the side of a square with that many pixels."""
    parts = value.replace("x", ",").split(",") if isinstance(value, str) else value
    sides = [int(part) for part in (parts if isinstance(parts, (list, tuple)) else [parts])]
    if len(sides) not in (1, 2):
        raise ValueError("not one or two sides")
    return round((sides[0] * sides[-1]) ** 0.5)
