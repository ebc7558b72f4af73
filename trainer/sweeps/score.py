"""The scoring matrix of a sweep: the score of each checkpoint at each strength, and which to take.

Hard gates first, then an F-score of likeness and prompt accuracy, as CyberHarem chooses checkpoints. The wording is the
guides': undertrained - advance 2-4 epochs; overtrained - roll back 2-4 epochs; `cures` says what else to change. Values
that were not measured are None and reported as such, never guessed. Sources: github.com/deepghs/cyberharem (choice),
arXiv 2212.03860 (copies).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from ..captions.kinds import get_kind, name_lora
from ..common.errors import UserError
from ..common.events import Event, Events, Progress
from ..datasets.dataset import Dataset
from ..measures import pixels as metrics
from ..measures.eyes import Likeness
from ..measures.likeness import anchor_pixels, leave_one_out, likeness_to
from ..measures.prompts import PromptFigures, ShownTags, figures_by_prompt, read_shown
from ..models.sampler import measured_size
from ..pictures.duplicates import Print, copies_of
from ..pictures.images import image_size, load_pixels
from ..training.runs import Run
from .cells import BASE, CHECKPOINT, PROMPT, STRENGTH, Cell, Sweep
from .checks import TrainingBackgrounds, measure_artefacts
from .cures import describe_cures, double_rate, half_rate
from .earlier import MARKS
from .marks import Marks, Ratings, share_good

VERSION = 1
UNDERTRAINED, GOOD, OVERTRAINED = "undertrained", "good", "overtrained"
SSCD_COPY = 0.5
"""Cosine of SSCD embeddings above which an image is a copy (Somepalli 2022)."""


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """The requirements on a LoRA. A row that fails a gate is recommended only if every row fails one."""

    kind: str = "character"
    most_copies: float = 0.1
    """Gate: share of images that copy a training image."""
    most_burn: float = 3.0
    """Gate: robust z of chroma, clipping, contrast and fine detail, against the same prompts and seeds without the
    LoRA."""
    least_diversity: float = 0.8
    """Gate: diversity of the images' scenes, as a share of that without the LoRA."""
    most_validation: float = 1.15
    """Gate: validation loss relative to the run's lowest. Likeness keeps growing well after the lowest."""
    most_backgrounds: float = 0.2
    """Gate: share of images that repeat a training image's background, beyond those that do so without the LoRA."""
    most_artefacts: float = 0.2
    """Gate: share of images with noise, stripes, banding or lost sharpness that they lack without the LoRA."""
    least_by_eye: float = 0.5
    """Gate: share of good among what a person rated in the viewer."""
    neighbours: float = 0.5
    """Weight of the neighbouring checkpoints and strengths in a row's score. A dozen images are few, and a row that is
    best by chance rarely has good neighbours."""
    tie: float = 0.001
    """Rows whose score is within this of the best count as equal. Of these the earliest checkpoint is recommended, then
    the strength nearest to 1."""
    good: float = 0.03
    """A checkpoint whose score is within this of the best also counts as good."""

    def __post_init__(self) -> None:
        get_kind(self.kind)


@dataclass(frozen=True)
class ScoreRow:
    """One checkpoint at one strength on one base; the three numbers are positions on these axes.

    Attributes:
        likeness: mean cosine to the two most similar training images.
        prompt: share of the prompts' tags that the images show.
        diversity: diversity of scenes, as a share of that without the LoRA.
        copies: share of images that copy a training image.
        burn: robust z against the images without the LoRA.
        validation: validation loss of the checkpoint, divided by the base's.
        backgrounds: share of images that repeat a training image's background, beyond those without the LoRA.
        artefacts: share of images with an artefact that they lack without the LoRA; `faults` names the artefacts.
        by_eye: share of good among the ratings by eye.
        score: the F-score, 0 to 1.
        gates: names of the gates that it fails.
        prompts: likeness and shown tags of its images, prompt by prompt.
    """

    base: int
    checkpoint: int
    strength: int
    label: str
    cells: int
    step: int | None = None
    epoch: int | None = None
    lora: str = ""
    at: float = 1.0
    likeness: float | None = None
    prompt: float | None = None
    diversity: float | None = None
    copies: float | None = None
    burn: float | None = None
    validation: float | None = None
    score: float | None = None
    gates: tuple[str, ...] = ()
    verdict: str = ""
    advice: str = ""
    backgrounds: float | None = None
    artefacts: float | None = None
    by_eye: float | None = None
    faults: tuple[str, ...] = ()
    prompts: tuple[PromptFigures, ...] = ()


@dataclass(frozen=True)
class Scores:
    """The matrix, and what follows from it.

    Attributes:
        eye: what measured likeness and tags; "" if nothing did.
        recommended: index of the row to take; None if too little was measured to tell.
        why: the evidence in a sentence or two.
        notes: what was not measured and why, and what to do about it.
    """

    eye: str
    kind: str
    rows: tuple[ScoreRow, ...]
    recommended: int | None
    why: str
    notes: tuple[str, ...]

    @property
    def best(self) -> ScoreRow | None:
        return None if self.recommended is None else self.rows[self.recommended]

    def to_dict(self) -> dict[str, Any]:
        return {"version": VERSION, **asdict(self)}


@dataclass(frozen=True)
class Scored(Event):
    """The result of scoring."""

    scores: Scores


def score_sweep(sweep: Sweep, *, eye: Likeness | None, training: Dataset | None, trigger: str = "",
                validation: Mapping[int, float] | None = None, copies: Likeness | None = None,
                settings: ScoreSettings | None = None, rate: float | None = None) -> Events:
    """Measure a sweep's cells, yielding progress; the last event is Scored.

    Missing and failed cells are left out, and a note says how many.

    Args:
        training: the images that the LoRA was trained on.
        trigger: the word that calls the character; no tagger knows it.
        validation: step → validation loss divided by the base's.
        copies: an eye for copies (SSCD); without one, thumbnails are compared.
        rate: the learning rate that the LoRA was trained at, for the advice.

    Raises UserError if no cell is finished yet.
    """
    settings = settings or ScoreSettings()
    states = sweep.states()
    groups = _groups(sweep, states)
    if not groups:
        raise UserError(f"sweep {sweep.folder.name!r} has no finished cell to score. Run it first.")
    size = measured_size(*image_size(sweep.picture(next(iter(groups.values()))[0])))
    measure = _Measure(sweep, size, eye, copies, training, trigger, states)
    rows = []
    for done, (place, cells) in enumerate(groups.items()):
        yield Progress("scores", done, len(groups))
        rows.append(_with_validation(measure.row(place, cells), validation or {}))
    yield Progress("scores", len(groups), len(groups))
    notes = _notes(sweep, states, measure, validation, settings)
    yield Scored(judge_rows(rows, measure.scale, settings, eye.name if eye else "", notes, rate))


def _groups(sweep: Sweep, states: Mapping[str, str]) -> dict[tuple[int, int, int], list[Cell]]:
    """The finished cells, by their positions on the axes base, checkpoint and strength."""
    names = [axis.name for axis in sweep.axes]
    found: dict[tuple[int, int, int], list[Cell]] = {}
    for cell in sweep.cells:
        base, checkpoint, strength = (cell.at[names.index(name)] or 0 if name in names else 0
                                      for name in (BASE, CHECKPOINT, STRENGTH))
        if states[cell.key] == "done" and cell.facts.get("lora_sha256"):
            found.setdefault((base, checkpoint, strength), []).append(cell)
    return found


@dataclass(frozen=True)
class Scale:
    """The ends of a share: 0 is what the base makes without the LoRA, 1 is what the training images show.

    None where an end was not measured.
    """

    likeness_without: float | None = None
    likeness_training: float | None = None
    prompt_without: float | None = None

    def likeness(self, value: float) -> float:
        """C: how far the likeness has come from the base's own to that of the training images to each other."""
        low, high = self.likeness_without or 0.0, self.likeness_training or 1.0
        return min(1.0, max(0.0, (value - low) / max(high - low, 1e-6)))

    def prompt(self, value: float) -> float:
        """B: prompt accuracy, as a share of the base's own."""
        return min(1.0, value / max(self.prompt_without or 1.0, 1e-6))


def _read_ratings(sweep: Sweep) -> tuple[Ratings, str]:
    """What was rated by eye; without any, why it cannot be read, or ""."""
    try:
        return Marks.load(sweep.folder / MARKS).ratings, ""
    except UserError as error:
        return {}, f"Ratings by eye are not counted: {error}"


class _Measure:
    def __init__(self, sweep: Sweep, size: tuple[int, int], eye: Likeness | None, copies: Likeness | None,
                 training: Dataset | None, trigger: str, states: Mapping[str, str]) -> None:
        self.sweep, self.size, self.eye, self.trigger, self.states = sweep, size, eye, trigger, states
        self.training = anchor_pixels(training, size) if training else None
        self.anchors = eye.embed(self.training) if eye and self.training is not None else None
        self.copies = copies
        self.copy_anchors = copies.embed(self.training) if copies and self.training is not None else None
        self.backgrounds = TrainingBackgrounds(self.training)
        self.ratings, self.marks_problem = _read_ratings(sweep)
        self._without: dict[tuple[int, ...], Tensor] = {}
        self.scale = self._scale()

    @cached_property
    def _training_prints(self) -> list[Print]:
        return [] if self.training is None else metrics.fingerprints(self.training)

    def _scale(self) -> Scale:
        cells = [cell for cell in self.sweep.references if self.states[cell.key] == "done"]
        pixels = self._pixels(cells) if cells else None
        likeness = prompt = None
        if self.eye and pixels is not None and self.anchors is not None:
            likeness = likeness_to(self.eye.embed(pixels), self.anchors).mean().item()
        if pixels is not None:
            shown = self._shown(pixels, cells)
            prompt = None if shown is None else shown.share()
        own = leave_one_out(self.anchors).median().item() if self.anchors is not None else None
        return Scale(likeness, own, prompt)

    def row(self, place: tuple[int, int, int], cells: Sequence[Cell]) -> ScoreRow:
        pixels = self._pixels(cells)
        facts = cells[0].facts
        references = [cell for cell in map(self.sweep.reference, cells) if cell and self.states[cell.key] == "done"]
        without = self._pixels(references) if len(references) == len(cells) else None
        artefacts, faults = measure_artefacts(pixels, without)
        likeness, shown = self._likeness(pixels), self._shown(pixels, cells)
        return ScoreRow(
            *place, label=self._label(place), cells=len(cells), step=facts.get("step"), epoch=facts.get("epoch"),
            lora=facts.get("lora", ""), at=facts["strength"],
            likeness=None if likeness is None else likeness.mean().item(),
            prompt=None if shown is None else shown.share(), copies=self._copies(pixels),
            diversity=None if without is None or len(cells) < 2 else _diversity(pixels, without),
            burn=None if without is None else metrics.burn_level(pixels, without),
            backgrounds=self.backgrounds.share_copied(pixels, without), artefacts=artefacts, faults=faults,
            by_eye=share_good(self.ratings, (cell.key for cell in cells)),
            prompts=figures_by_prompt([str(cell.facts["prompt"]) for cell in cells], likeness, shown))

    def _pixels(self, cells: Sequence[Cell]) -> Tensor:
        return load_pixels([self.sweep.picture(cell) for cell in cells], self.size)

    def _label(self, place: tuple[int, int, int]) -> str:
        axes = zip((BASE, CHECKPOINT, STRENGTH), place, strict=True)
        labels = [(name, axis.choices[index].label) for name, index in axes
                  if (axis := self.sweep.axis(name)) and (name != BASE or len(axis.choices) > 1)]
        return ", ".join(f"strength {label}" if name == STRENGTH else label for name, label in labels)

    def _likeness(self, pixels: Tensor) -> Tensor | None:
        """Of each image."""
        if self.eye is None or self.anchors is None:
            return None
        return likeness_to(self.eye.embed(pixels), self.anchors)

    def _shown(self, pixels: Tensor, cells: Sequence[Cell]) -> ShownTags | None:
        return read_shown(self.eye, pixels, [cell.facts["prompt"] for cell in cells], [self.trigger])

    def _copies(self, pixels: Tensor) -> float | None:
        if self.training is None:
            return None
        if self.copies and self.copy_anchors is not None:
            return ((self.copies.embed(pixels) @ self.copy_anchors.T).amax(1) > SSCD_COPY).float().mean().item()
        copied = copies_of(metrics.fingerprints(pixels), self._training_prints)
        return sum(copied) / len(copied)


def _diversity(pixels: Tensor, without: Tensor) -> float:
    return metrics.diversity(metrics.scene_embedding(pixels)) / max(
        metrics.diversity(metrics.scene_embedding(without)), 1e-6)


def _with_validation(row: ScoreRow, validation: Mapping[int, float]) -> ScoreRow:
    return replace(row, validation=validation.get(row.step)) if row.step is not None else row


# -- from figures to a choice ------------------------------------------------------------------------------------------


def f_score(likeness: float, prompt: float, alpha: float) -> float:
    """(alpha² + 1) C B / (alpha² B + C): the harmonic mean of both, likeness weighing alpha² times as much."""
    if likeness <= 0 or prompt <= 0:
        return 0.0
    return (alpha**2 + 1) * likeness * prompt / (alpha**2 * prompt + likeness)


def judge_rows(rows: Sequence[ScoreRow], scale: Scale, settings: ScoreSettings, eye: str = "",
               notes: Sequence[str] = (), rate: float | None = None) -> Scores:
    """The rows with scores, gates, verdicts and advice, and the recommended row. `rate` is the learning rate, if it is
    known."""
    lowest = min((row.validation for row in rows if row.validation is not None), default=None)
    even = _even_rows(rows, settings.neighbours)
    rows = [replace(row, gates=_gates(row, lowest, settings), score=_score(mean, scale, settings))
            for row, mean in zip(rows, even, strict=True)]
    best = _choice(rows, settings)
    if best is None:
        why = "Nothing is recommended: likeness was not measured."
        return Scores(eye, settings.kind, tuple(rows), None, why, tuple(notes))
    rows = _with_verdicts(rows, rows[best], settings, rate)
    return Scores(eye, settings.kind, tuple(rows), best, _why(rows, rows[best], rate), tuple(notes))


def _even_rows(rows: Sequence[ScoreRow], weight: float) -> list[ScoreRow]:
    """The rows, with likeness and prompt averaged with those of the neighbouring rows on both axes."""
    places = {(row.base, row.checkpoint, row.strength): row for row in rows}

    def mean(row: ScoreRow, name: str) -> float | None:
        if getattr(row, name) is None:
            return None
        base, checkpoint, strength = row.base, row.checkpoint, row.strength
        beside = [places.get(place) for place in (
            (base, checkpoint - 1, strength), (base, checkpoint + 1, strength),
            (base, checkpoint, strength - 1), (base, checkpoint, strength + 1))]
        values = [getattr(other, name) for other in beside if other and getattr(other, name) is not None]
        return (getattr(row, name) + weight * sum(values)) / (1 + weight * len(values))

    return [replace(row, likeness=mean(row, "likeness"), prompt=mean(row, "prompt")) for row in rows]


def _score(row: ScoreRow, scale: Scale, settings: ScoreSettings) -> float | None:
    if row.likeness is None:
        return None
    likeness = scale.likeness(row.likeness)
    if row.prompt is None:
        return likeness
    return f_score(likeness, scale.prompt(row.prompt), get_kind(settings.kind).likeness)


def _gates(row: ScoreRow, lowest: float | None, settings: ScoreSettings) -> tuple[str, ...]:
    """Names of the gates that a row fails. A figure that was not measured fails none."""
    most = math.inf if lowest is None else settings.most_validation * lowest
    checks = (
        ("copies", row.copies, lambda value: value <= settings.most_copies),
        ("burn", row.burn, lambda value: value <= settings.most_burn),
        ("diversity", row.diversity, lambda value: value >= settings.least_diversity),
        ("validation", row.validation, lambda value: value <= most),
        ("backgrounds", row.backgrounds, lambda value: value <= settings.most_backgrounds),
        ("artefacts", row.artefacts, lambda value: value <= settings.most_artefacts),
        ("by eye", row.by_eye, lambda value: value >= settings.least_by_eye),
    )
    return tuple(name for name, value, passes in checks if value is not None and not passes(value))


def _choice(rows: Sequence[ScoreRow], settings: ScoreSettings) -> int | None:
    scored = [(index, row) for index, row in enumerate(rows) if row.score is not None]
    if not scored:
        return None
    fewest = min(len(row.gates) for _, row in scored)
    open_rows = [(index, row) for index, row in scored if len(row.gates) == fewest]
    least = max(_rating(row) for _, row in open_rows) - settings.tie
    equal = [(index, row) for index, row in open_rows if _rating(row) >= least]
    return min(equal, key=lambda place: (place[1].step or place[1].checkpoint, abs(place[1].at - 1)))[0]


def _rating(row: ScoreRow) -> float:
    return -math.inf if row.score is None else row.score


def _place(row: ScoreRow) -> int:
    return row.checkpoint if row.step is None else row.step


def _with_verdicts(rows: Sequence[ScoreRow], best: ScoreRow, settings: ScoreSettings,
                   rate: float | None) -> list[ScoreRow]:
    """Each checkpoint is judged at its best strength: good if it is near the best, otherwise too early or too late."""
    result = []
    for row in rows:
        mine = max((other for other in rows if other.checkpoint == row.checkpoint and other.base == row.base
                    and other.score is not None), key=lambda other: (-len(other.gates), other.score), default=None)
        if mine is None:
            result.append(row)
            continue
        good = mine.checkpoint == best.checkpoint or (
            _rating(mine) >= _rating(best) - settings.good and len(mine.gates) <= len(best.gates))
        verdict = GOOD if good else UNDERTRAINED if _place(row) < _place(best) else OVERTRAINED
        result.append(replace(row, verdict=verdict, advice=_advice(verdict, row, best, rows, rate)))
    return result


def _advice(verdict: str, row: ScoreRow, best: ScoreRow, rows: Sequence[ScoreRow], rate: float | None) -> str:
    if verdict == GOOD:
        return ""
    steps = sorted({_place(other): other for other in rows}.items())
    between = [other for place, other in steps if min(_place(row), _place(best)) <= place
               <= max(_place(row), _place(best)) and place != _place(row)]
    near = [other for other in between if row.epoch and other.epoch and 2 <= abs(other.epoch - row.epoch) <= 4]
    target = near[-1 if verdict == UNDERTRAINED else 0] if near else best
    verb = "Advance" if verdict == UNDERTRAINED else "Roll back"
    apart = abs(target.epoch - row.epoch) if target.epoch and row.epoch else None
    how_far = "2-4 epochs" if near else f"{apart} epochs" if apart else "there"
    where = f"step {target.step}" if target.step is not None else target.label.partition(",")[0]
    cure = f"; {describe_cures(row.gates, row.at, rate)}" if verdict == OVERTRAINED else ""
    return f"{verb} {how_far}, to {where}{cure}."


def _why(rows: Sequence[ScoreRow], best: ScoreRow, rate: float | None) -> str:
    figures = [("likeness", best.likeness), ("prompt accuracy", best.prompt), ("diversity", best.diversity),
               ("copies", best.copies), ("burn", best.burn), ("validation", best.validation),
               ("copied backgrounds", best.backgrounds), ("artefacts", best.artefacts), ("good by eye", best.by_eye)]
    told = ", ".join(f"{name} {value:.2f}" for name, value in figures if value is not None)
    parts = [f"Take {best.label}: score {best.score:.2f} ({told})."]
    if best.gates:
        parts.append(f"No row passes every gate; this one fails {' and '.join(best.gates)}: "
                     f"{describe_cures(best.gates, best.at, rate)}.")
    places = sorted({_place(row) for row in rows})
    if len(places) > 1 and _place(best) == places[-1] and not best.gates:
        parts.append("The last checkpoint is the best: train 2-4 more epochs and sweep again. If that is still too "
                     f"little, add images or take {double_rate(rate)}.")
    elif len(places) > 1 and _place(best) == places[0]:
        parts.append("It is the first checkpoint; the best may lie before it. Save more often early on, or "
                     f"take {half_rate(rate)}.")
    return " ".join(parts)


def _notes(sweep: Sweep, states: Mapping[str, str], measure: _Measure, validation: Mapping[int, float] | None,
           settings: ScoreSettings) -> list[str]:
    absent = sum(state != "done" for state in states.values())
    rows = (
        (absent, f"{absent} of {len(states)} cells are missing or failed; they are not in the scores."),
        (measure.eye is None, "Likeness and prompt accuracy are not measured: there is no eye. Link a CLIP Vision "
                              "model, or put CCIP into models/ccip."),
        (measure.eye is not None and measure.training is None,
         "Likeness, copies and copied backgrounds are not measured: link the dataset that the LoRA was trained on."),
        (measure.eye is not None and measure.scale.prompt_without is None and not sweep.references,
         "Burn, diversity and artefacts are not measured: the sweep has no images without the LoRA."),
        (bool(measure.marks_problem), measure.marks_problem),
        (not validation, "Validation is not measured: the run has no validation loss."),
        (_count_prompts(sweep) == 1, f"One prompt shows little: {name_lora(settings.kind)} is best tested with the set "
                                     f"of prompts {get_kind(settings.kind).prompt_set!r}."),
        (settings.kind == "style", "For a style, likeness to the dataset also reflects what the images depict."),
    )
    return [text for applies, text in rows if applies]


def _count_prompts(sweep: Sweep) -> int:
    axis = sweep.axis(PROMPT)
    return len(axis.choices) if axis else 1


def validation_of(run: Run) -> dict[int, float]:
    """Step of each checkpoint → validation loss divided by the base's, as measured nearest to that step."""
    measured = {row["step"]: row["validation_ratio"] for row in run.metrics()
                if row.get("validation_ratio") is not None}
    if not measured:
        return {}
    return {step: measured[min(measured, key=lambda other: abs(other - step))] for step, _ in run.checkpoints()}
