"""The limits of a LoRA, from what was measured: gates that failed, artefacts, prompts that it draws worse than others,
views that a person rated as bad, views that no training image shows, and what was not measured at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ..captions.coverage import FEW_SAY, AxisCoverage, coverage, kinds_in
from ..captions.kinds import KINDS
from ..common.counts import count_noun
from ..measures.prompts import PromptFigures
from ..sweeps.score import ScoreRow
from ..sweeps.score_table import FIGURES
from .measured import Measured
from .source import Source, trained_captions
from .texts import as_code, escaped

GATES: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "copies": ("copies", lambda value: f"{value:.0%} of its test images copy a training image."),
    "burn": ("burn", lambda value: f"Its colours and contrasts are burnt (burn {value:.1f}; above 3 is too much)."),
    "diversity": ("diversity", lambda value: f"Its images vary little: {value:.0%} of the variety without it."),
    "validation": ("validation", lambda value: f"It is overtrained: its validation loss ({value:.2f} of the base's) is "
                                               "well above the lowest of its run."),
    "backgrounds": ("backgrounds", lambda value: f"{value:.0%} of its test images repeat the background of a training "
                                                 "image."),
    "artefacts": ("artefacts", lambda value: f"{value:.0%} of its test images have artefacts that the base does not "
                                             "draw."),
    "by eye": ("by_eye", lambda value: f"Only {value:.0%} of what was rated by eye is good.")}
"""Gate of the scoring matrix → (the figure's field, what its failing means)."""
WEAK_LIKENESS, WEAK_PROMPT = 0.8, 0.75
"""A prompt is weak if its images have less than this share of the likeness of all, or show less than this share of its
tags, which is what the curation of a bootstrap asks for too."""
MOST_WEAK = 6
SEEN = ("view", "framing")
"""Axes for which the card says what no image of the dataset shows."""


def describe_limits(source: Source, measured: Measured) -> list[str]:
    """The limits, one sentence or two each."""
    row = measured.row
    return [*_of_row(row), *_of_prompts(row), *_of_views(measured), *_of_dataset(source), *_not_measured(measured)]


def _of_row(row: ScoreRow | None) -> Iterator[str]:
    if row is None:
        return
    for gate in row.gates:
        name, words = GATES.get(gate, ("", lambda value: ""))
        value = getattr(row, name, None) if name else None
        yield words(value) if value is not None else f"It fails the gate {escaped(gate)}."
    if row.faults:
        yield f"Artefacts seen in its test images: {', '.join(map(escaped, row.faults))}."


def _of_prompts(row: ScoreRow | None) -> Iterator[str]:
    """The weak prompts by their views, with figures, the weakest first."""
    if row is None:
        return
    weak = sorted((found for found in row.prompts if _weakness(found, row) < 1), key=lambda one: _weakness(one, row))
    for found in weak[:MOST_WEAK]:
        view = " and ".join(kinds_in(found.prompt, "view"))
        what = as_code(found.prompt) or "what it draws from a caption of its training"
        yield f"Weak{f' view, {view}' if view else ''}: {what} ({', '.join(_figures(found, row))})."
    if len(weak) > MOST_WEAK:
        yield f"{count_noun(len(weak) - MOST_WEAK, 'more prompt')} of {len(row.prompts)} are weak."


def _weakness(found: PromptFigures, row: ScoreRow) -> float:
    """Below 1 for a weak prompt, and the lower the weaker."""
    alike = 1.0 if found.likeness is None or not row.likeness or row.likeness < 0 else found.likeness / row.likeness
    shown = 1.0 if found.shown is None else found.shown
    return min(alike / WEAK_LIKENESS, shown / WEAK_PROMPT)


def _figures(found: PromptFigures, row: ScoreRow) -> Iterator[str]:
    if found.likeness is not None and row.likeness is not None:
        yield f"likeness {found.likeness:.2f}, of all its test images {row.likeness:.2f}"
    if found.shown is not None:
        missed = f", never {' nor '.join(map(escaped, found.missed))}" if found.missed and found.prompt else ""
        yield f"{found.shown:.0%} of its tags shown{missed}"
    yield count_noun(found.cells, "image")


def _of_views(measured: Measured) -> Iterator[str]:
    for prompt, aspects in measured.rated_bad.items():
        what = as_code(prompt) or "what it draws from a caption of its training"
        yield f"Rated as bad by eye ({', '.join(aspects)}): {what}."
    if measured.failed:
        yield f"{count_noun(measured.failed, 'test image')} could not be drawn."


def _of_dataset(source: Source) -> Iterator[str]:
    for axis in dataset_axes(source):
        absent = [bar.name for bar in axis.bars if not bar.pictures]
        if absent:
            yield f"{axis.title}: no training image is captioned as {' or '.join(absent)}."


def dataset_axes(source: Source) -> Sequence[AxisCoverage]:
    """What the training images show by their captions, on the axes of SEEN that most captions name."""
    captions = trained_captions(source)
    if not captions or not (source.kind in KINDS and KINDS[source.kind].person):
        return ()
    return [axis for axis in coverage(captions).axes
            if axis.axis in SEEN and axis.unsaid <= (1 - FEW_SAY) * len(captions)]


def _not_measured(measured: Measured) -> Iterator[str]:
    if measured.sweep is None:
        yield "It was not tested: no sweep of it is part of this release."
    elif measured.row is None:
        yield "Not measured: its sweep was not scored."
    else:
        absent = [heading for name, heading in FIGURES if getattr(measured.row, name) is None]
        if absent:
            yield f"Not measured: {', '.join(absent)}."
    if measured.sweep is not None and len(_seeds(measured)) == 1:
        yield "It was tested with one seed only."


def _seeds(measured: Measured) -> set[object]:
    return {cell.facts.get("seed") for cell in measured.cells}
