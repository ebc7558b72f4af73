"""What differs between two runs: settings, the images they were trained on, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..datasets.recorded import RecordedImage, read_images
from ..training.runs import Run, is_measured

LAST = 20
"""Steps over which a loss is averaged: a single step's says little."""


@dataclass(frozen=True)
class Difference:
    """A value that two runs do not share; None where one of them has none."""

    name: str
    first: Any
    second: Any


@dataclass(frozen=True)
class RunDifferences:
    """Attributes:
        settings: by dotted name, with the base, the regularisation images and the LoRAs that were on in the training.
        recorded: whether both runs recorded their images; earlier versions did not.
        same_data: whether both were trained on the same images and captions, in the same order, and held back the same.
        only_first, only_second: names of images that one of them has.
        captions: images that both have, with different captions.
        figures: of all that was measured in either, also where it is the same.
    """

    settings: tuple[Difference, ...]
    recorded: bool
    same_data: bool
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    captions: tuple[Difference, ...]
    figures: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare_runs(first: Run, second: Run) -> RunDifferences:
    """What differs between two runs."""
    images = read_images(first.folder), read_images(second.folder)
    mine, theirs = ({image.content: image for image in found or ()} for found in images)
    recorded = None not in images
    return RunDifferences(
        settings=tuple(_differing(_settings(first), _settings(second))),
        recorded=recorded,
        same_data=first.lineage.get("dataset") == second.lineage.get("dataset") and (
            not recorded or _held(images[0]) == _held(images[1])),
        only_first=_names(mine, theirs) if recorded else (), only_second=_names(theirs, mine) if recorded else (),
        captions=tuple(Difference(image.name, image.caption, theirs[content].caption)
                       for content, image in mine.items()
                       if content in theirs and image.caption != theirs[content].caption),
        figures=tuple(row for row in (Difference(name, figure(first), figure(second))
                                      for name, figure in FIGURES.items())
                      if (row.first, row.second) != (None, None)))


def describe_differences(first: str, second: str, found: RunDifferences) -> list[str]:
    """The differences as lines of text, under headings."""
    settings = [_line(row) for row in found.settings] or ["  all the same"]
    lines = [f"settings ({first} → {second})", *settings, "images"]
    if found.same_data:
        lines.append("  the same, with the same captions")
    elif not found.recorded:
        lines.append("  not the same; which ones is not known of runs of earlier versions")
    else:
        lines += [f"  only in {name}: {', '.join(names)}"
                  for name, names in ((first, found.only_first), (second, found.only_second)) if names]
        lines += [f"  caption of {row.name}: {row.first!r} → {row.second!r}" for row in found.captions]
        if not (found.only_first or found.only_second or found.captions):
            lines.append("  the same, with the same captions, but not with the same repeats, order, masks or control "
                         "images, or not held back the same")
    return [*lines, "figures", *(_line(row) for row in found.figures)]


def _line(row: Difference) -> str:
    return f"  {row.name}: {_word(row.first)} → {_word(row.second)}"


def _word(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _settings(run: Run) -> dict[str, Any]:
    given = {name: words(run.lineage[name]) for name, words in _GIVEN.items() if run.lineage.get(name)}
    return {**_flat(run.config.to_dict()), "base": _short_hash(run.lineage.get("base", "")), **given}


def _short_hash(value: Any) -> str:
    return str(value)[:12]


def _name_beside(value: Any) -> str:
    """The frozen LoRAs by name, weights and strength; run.json may come from a stranger."""
    rows = [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []
    return ", ".join(f"{row.get('name', '')} ({_short_hash(row.get('tensors', ''))}) at {row.get('strength', '')}"
                     for row in rows)


_GIVEN: Mapping[str, Callable[[Any], str]] = {
    "beside": _name_beside, "regularisation": _short_hash,
    "model_loras": lambda value: ", ".join(map(str, value)) if isinstance(value, list) else str(value)}
"""What a run was given beside its settings: field of its lineage → words."""


def _flat(values: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{start}{name}.") if isinstance(value, Mapping) else {start + name: value}
    return flat


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Difference]:
    names = [name for name in dict.fromkeys((*first, *second)) if name != "name"]
    return [Difference(name, first.get(name), second.get(name)) for name in names
            if first.get(name) != second.get(name)]


def _held(images: Sequence[RecordedImage] | None) -> set[tuple[str, str, bool, bool]]:
    """What a run trained on and held back for validation; a linked validation set is not in the lineage."""
    return {(image.content, image.caption, image.validation, image.regularisation) for image in images or ()}


def _names(mine: Mapping[str, RecordedImage], theirs: Mapping[str, RecordedImage]) -> tuple[str, ...]:
    """Names of the images that only the first has; a name that occurs several times is counted."""
    counts = Counter(image.name for content, image in mine.items() if content not in theirs)
    return tuple(name if count == 1 else f"{name} ({count})" for name, count in sorted(counts.items()))


# -- figures -----------------------------------------------------------------------------------------------------------


def _values(run: Run, name: str) -> Sequence[float]:
    return [float(row[name]) for row in run.metrics() if is_measured(row.get(name))]


def _last_mean(name: str) -> Callable[[Run], float | None]:
    def figure(run: Run) -> float | None:
        values = _values(run, name)[-LAST:]
        return sum(values) / len(values) if values else None
    return figure


def _least(name: str) -> Callable[[Run], float | None]:
    return lambda run: min(_values(run, name), default=None)


def _proof(name: str) -> Callable[[Run], str | None]:
    def figure(run: Run) -> str | None:
        found = next((proof for proof in run.proofs if proof.name == name), None)
        return None if found is None else f"{'passed' if found.passed else 'FAILED'}, {found.words}"
    return figure


FIGURES: Mapping[str, Callable[[Run], Any]] = {
    "status": lambda run: run.facts["status"],
    "steps trained": lambda run: run.step,
    f"loss (last {LAST} steps)": _last_mean("loss"),
    "lowest validation loss": _least("validation_loss"),
    "validation against the base": _least("validation_ratio"),
    **{f"proof: {name}": _proof(name) for name in ("coverage", "same text", "file works")},
}
"""Name → what it is of a run, None if it was not measured."""
