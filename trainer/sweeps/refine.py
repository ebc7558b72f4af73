"""Finds, from generated images, the strengths at which a character and a style go best together: the harmonic mean of
identity, style and prompt over a grid of both strengths.

The harmonic mean is the measure used in papers on merging (NP-LoRA, arXiv:2511.11051): it is low if any of the three
is. Values that were not measured are None and reported as such, never guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..common.errors import UserError
from ..common.events import Event, Events, Progress
from ..common.files import write_json
from ..datasets.dataset import Dataset
from ..lora.hashes import tensor_hash
from ..measures.eyes import Likeness
from ..measures.likeness import anchor_pixels, leave_one_out, likeness_to
from ..measures.prompts import prompt_shown
from ..measures.style import StyleScale, style_figures
from ..models.sampler import measured_size, save_picture
from ..pictures.images import image_size, load_pixels
from ..stacks.conflict_picture import heat_picture
from ..stacks.conflict_table import HeatMap
from ..stacks.lora_stack import read_strength
from .cells import (
    PROMPT,
    SEED,
    STACK,
    STRENGTH,
    Axis,
    Cell,
    Choice,
    Sweep,
    checkpoint_axis,
    prompt_axis,
    seed_axis,
    stack_axis,
)
from .score import Scale

VERSION = 1
NEIGHBOURS = 0.5
"""Weight of the neighbouring pairs in a pair's figures, because a few images are easily lucky."""
NEAR = 0.03
"""Pairs whose smoothed harmonic mean is within this of the best count as equally good."""
TIE = 0.001
FIGURES = ("harmonic", "identity", "style", "prompt")
HEADS = {"harmonic": "harmonic mean"}


@dataclass(frozen=True)
class Stacked:
    """A LoRA of the pair.

    Attributes:
        name: the file's name in the host's loaders; `label` is its name on sheets and in texts.
    """

    name: str
    path: Path
    label: str


@dataclass(frozen=True)
class Pair:
    """The two strengths of a pair and their scores, each figure from 0 to 1.

    Attributes:
        at: positions on the axes of the character's strength and of the stack.
        identity: 0 is what is drawn without the character, 1 the character itself.
        style: 0 is the character alone, 1 the style alone.
        prompt: prompt accuracy, as a share of the base's.
        even: the harmonic mean of the figures, smoothed over the neighbouring pairs.
    """

    at: tuple[int, int]
    character: float
    style_strength: float
    cells: int
    identity: float | None = None
    style: float | None = None
    prompt: float | None = None
    harmonic: float | None = None
    even: float | None = None


@dataclass(frozen=True)
class Refinement(Event):
    """The result of scoring.

    Attributes:
        labels: labels of the character and of the style.
        eye: what measured identity and prompt; "" if nothing did.
        best: index of the recommended pair; None if identity or style was not measured.
        plateau: indices of the equally good pairs connected to the best, including the best.
        lines: the whole result in words.
    """

    labels: tuple[str, str]
    eye: str
    pairs: tuple[Pair, ...]
    best: int | None
    plateau: tuple[int, ...]
    lines: tuple[str, ...]

    @property
    def best_pair(self) -> Pair | None:
        return None if self.best is None else self.pairs[self.best]

    def text(self) -> str:
        return "\n".join(self.lines)


def pair_sweep(folder: Path, base: Axis, character: Stacked, style: Stacked, strengths: tuple[Sequence[float],
               Sequence[float]], *, below: Sequence[Sequence[Any]] = (), prompts: Sequence[str], seeds: Sequence[int],
               shared: Mapping[str, Any]) -> Sweep:
    """The sweep over both strengths, the character's and the style's.

    Besides the pairs, it draws each LoRA alone at the largest of its strengths (no pair has more of it, so a figure of
    1 lies within the grid), and the base with neither.

    Args:
        below: LoRAs that are in every cell, as in a cell's facts.

    Raises UserError for strengths that are not above 0, or if there is no prompt.
    """
    for label, values in zip((character.label, style.label), strengths, strict=True):
        if min(read_strength(value, label) for value in values) <= 0:
            raise UserError(f"a strength of {label} is {min(values):g}; give strengths above 0. Each LoRA is also "
                            "drawn without the other.")
    if not prompts:
        raise UserError("prompts is empty; write one prompt per line, each with the triggers of both LoRAs.")
    of_character, of_style = (sorted(set(values)) for values in strengths)
    names = [Choice(f"{character.label} {value:g}", {"strength": float(value)}) for value in of_character]
    axes = (base, stack_axis(style.label, below, style.name, tensor_hash(style.path), of_style),
            checkpoint_axis([character.path], [character.name]),
            Axis(STRENGTH, (*names, Choice(f"no {character.label}", {"strength": 0.0}))), prompt_axis(prompts),
            seed_axis(seeds))
    return Sweep(folder, f"{character.label} and {style.label}", axes, shared, alone=True)


# -- measuring ---------------------------------------------------------------------------------------------------------


def refine(sweep: Sweep, labels: tuple[str, str], *, eye: Likeness | None, training: Dataset | None = None,
           triggers: Collection[str] = ()) -> Events:
    """Measure the cells of a `pair_sweep`, yielding progress; the last event is the Refinement.

    Missing and failed cells are left out, and a line says how many.

    Args:
        training: images of the character. Without them, identity is measured against the character alone.
        triggers: words that no tagger knows.

    Raises UserError if no cell of a pair is finished.
    """
    measure = _Measure(sweep, eye, training, triggers)
    places = list(product(range(len(sweep.choices(STRENGTH)) - 1), range(len(sweep.choices(STACK)) - 1)))
    pairs = []
    for done, at in enumerate(places):
        yield Progress("strengths", done, len(places))
        if found := measure.pair(at):
            pairs.append(found)
    yield Progress("strengths", len(places), len(places))
    yield judge_pairs(pairs, labels, eye.name if eye else "", measure.notes(pairs))


class _Measure:
    def __init__(self, sweep: Sweep, eye: Likeness | None, training: Dataset | None,
                 triggers: Collection[str]) -> None:
        self.sweep, self.eye, self.triggers, self.training = sweep, eye, triggers, training
        self.states = sweep.states()
        character, style = len(sweep.choices(STRENGTH)) - 1, len(sweep.choices(STACK)) - 1
        there = self._there(range(character), range(style))
        if not there:
            raise UserError(f"sweep {sweep.folder.name!r} has no finished cell of a pair to score. Run it first.")
        self.size = measured_size(*image_size(sweep.picture(there[0])))
        self.by_character = self._there([character - 1], [style])
        self.by_style, self.neither = self._there([character], [style - 1]), self._there([character], [style])
        self._learn_style()
        self._learn_identity()
        self.shown = self._prompt(self.neither, self._pixels(self.neither)) if self.neither else None

    def _there(self, characters: Collection[int], styles: Collection[int]) -> list[Cell]:
        """The finished cells at these positions, sorted by prompt and seed."""
        cells = [self.sweep.cell(strength=character, stack=style, prompt=prompt, seed=seed)
                 for character, style in product(characters, styles)
                 for prompt in range(len(self.sweep.choices(PROMPT)))
                 for seed in range(len(self.sweep.choices(SEED)))]
        return [cell for cell in cells if cell is not None and self.states[cell.key] == "done"]

    def _pixels(self, cells: Sequence[Cell]) -> Tensor:
        return load_pixels([self.sweep.picture(cell) for cell in cells], self.size)

    def _by_view(self, cells: Sequence[Cell], pixels: Tensor | None = None) -> dict[tuple[str, int], Tensor]:
        """The style features of the cells, by prompt and seed."""
        rows = style_figures(self._pixels(cells) if pixels is None else pixels) if cells else ()
        return {_view(cell): row for cell, row in zip(cells, rows, strict=True)}

    def _learn_style(self) -> None:
        self.figures = self._by_view(self.by_character)
        style, neither = self._by_view(self.by_style), self._by_view(self.neither)
        common = [view for view in self.figures if view in style and view in neither]
        self.scale = StyleScale.learnt(*(torch.stack([rows[view] for view in common]) for rows in (
            neither, style, self.figures))) if common else None
        self.compared = bool(common)

    def _learn_identity(self) -> None:
        self.anchors, self.likeness, without = None, Scale(), [*self.neither, *self.by_style]
        alone = self.eye.embed(self._pixels(self.by_character)) if self.eye and self.by_character else None
        if self.eye and self.training is not None:
            self.anchors = self.eye.embed(anchor_pixels(self.training, self.size))
            most = leave_one_out(self.anchors).median().item()
        elif alone is not None:
            self.anchors, most = alone, likeness_to(alone, alone).mean().item()
        if self.eye and self.anchors is not None:
            least = likeness_to(self.eye.embed(self._pixels(without)), self.anchors).mean().item() if without else None
            self.likeness = Scale(least, most)

    def _prompt(self, cells: Sequence[Cell], pixels: Tensor) -> float | None:
        return prompt_shown(self.eye, pixels, [cell.facts["prompt"] for cell in cells], self.triggers)

    def pair(self, at: tuple[int, int]) -> Pair | None:
        cells = self._there(at[:1], at[1:])
        if not cells:
            return None
        pixels = self._pixels(cells)
        shown = self._prompt(cells, pixels)
        prompt = None if shown is None else Scale(prompt_without=self.shown).prompt(shown)
        return Pair(at, cells[0].facts["strength"], cells[0].facts["stack"][-1][2], len(cells), self._identity(pixels),
                    self._style(cells, pixels), prompt)

    def _identity(self, pixels: Tensor) -> float | None:
        if self.eye is None or self.anchors is None:
            return None
        return self.likeness.likeness(likeness_to(self.eye.embed(pixels), self.anchors).mean().item())

    def _style(self, cells: Sequence[Cell], pixels: Tensor) -> float | None:
        found = {view: row for view, row in self._by_view(cells, pixels).items() if view in self.figures}
        if self.scale is None or not found:
            return None
        rows = torch.stack(list(found.values()))
        return self.scale.share(rows, torch.stack([self.figures[view] for view in found])).mean().item()

    def notes(self, pairs: Sequence[Pair]) -> list[str]:
        absent = sum(state != "done" for state in self.states.values())
        rows = (
            (absent, f"{absent} of {len(self.states)} cells are missing or failed; they are not in the figures."),
            (self.eye is None, "Identity and prompt are not measured: there is no eye. Link a CLIP Vision model, or "
                               "put CCIP into models/ccip."),
            (self.eye is not None and self.anchors is None,
             "Identity is not measured: the images of the character alone are missing or failed."),
            (self.anchors is not None and self.training is None,
             "Identity is measured against the character alone, because no dataset is linked."),
            (self.eye is not None and all(pair.prompt is None for pair in pairs),
             "Prompt is not measured: nothing can recognize its tags. Choose a tagger."),
            (not self.compared, "Style is not measured: images of each LoRA alone and of neither are missing or "
                                "failed."),
            (self.compared and self.scale is None,
             "Style is not measured: in colours, tones and lines, the style alone cannot be told apart from the "
             "character "
             "alone."),
        )
        return [text for applies, text in rows if applies]


def _view(cell: Cell) -> tuple[str, int]:
    return cell.facts["prompt"], cell.facts["seed"]


# -- from figures to a choice ------------------------------------------------------------------------------------------


def harmonic_mean(values: Sequence[float]) -> float:
    """The harmonic mean; 0 if any of the values is 0."""
    return len(values) / sum(1 / value for value in values) if min(values) > 0 else 0.0


def judge_pairs(pairs: Sequence[Pair], labels: tuple[str, str], eye: str = "",
                notes: Sequence[str] = ()) -> Refinement:
    """The pairs with their harmonic means, the recommended pair, and the reasons.

    The recommended pair has the best harmonic mean of smoothed figures; among equals, the smallest strengths.
    """
    places = {pair.at: pair for pair in pairs}
    pairs = tuple(replace(pair, harmonic=_harmonic(pair), even=_harmonic(_even_pair(pair, places))) for pair in pairs)
    scored = [(index, pair, pair.even) for index, pair in enumerate(pairs)
              if pair.even is not None and None not in (pair.identity, pair.style)]
    if not scored:
        why = "Nothing is recommended: that needs both identity and style, and one of them was not measured."
        return Refinement(labels, eye, pairs, None, (), (why, *notes))
    top = max(even for _, _, even in scored)
    best = min((pair.character + pair.style_strength, index) for index, pair, even in scored if even >= top - TIE)[1]
    plateau = _plateau({pair.at: index for index, pair, even in scored if even >= top - NEAR}, pairs[best].at)
    lines = (_take(pairs[best], labels), _around([pairs[index] for index in plateau], len(pairs), labels),
             *_edges(pairs[best], pairs, labels), *notes,
             "Style was measured by colours, tones and lines." + (f" Identity was measured by {eye}." if eye else ""))
    return Refinement(labels, eye, pairs, best, plateau, lines)


def _harmonic(pair: Pair) -> float | None:
    values = [value for value in (pair.identity, pair.style, pair.prompt) if value is not None]
    return harmonic_mean(values) if values else None


def _beside(at: tuple[int, int]) -> list[tuple[int, int]]:
    return [(at[0] - 1, at[1]), (at[0] + 1, at[1]), (at[0], at[1] - 1), (at[0], at[1] + 1)]


def _even_pair(pair: Pair, places: Mapping[tuple[int, int], Pair]) -> Pair:
    """The pair, with its figures averaged with those of the neighbouring pairs."""
    def mean(name: str) -> float | None:
        own = getattr(pair, name)
        values = [getattr(places[at], name) for at in _beside(pair.at) if at in places]
        values = [value for value in values if value is not None]
        return None if own is None else (own + NEIGHBOURS * sum(values)) / (1 + NEIGHBOURS * len(values))

    means: dict[str, Any] = {name: mean(name) for name in FIGURES[1:]}
    return replace(pair, **means)


def _plateau(near: Mapping[tuple[int, int], int], start: tuple[int, int]) -> tuple[int, ...]:
    """Indices of the positions that are connected to the best, neighbour by neighbour."""
    found, waiting = set(), [start]
    while waiting:
        at = waiting.pop()
        if at in near and at not in found:
            found.add(at)
            waiting += _beside(at)
    return tuple(sorted(near[at] for at in found))


def pair_text(labels: tuple[str, str], strengths: tuple[float, float]) -> str:
    """"girl 0.8, ink 0.5"."""
    return ", ".join(f"{label} {value:g}" for label, value in zip(labels, strengths, strict=True))


def _take(best: Pair, labels: tuple[str, str]) -> str:
    told = [(name, getattr(best, name)) for name in FIGURES[1:]]
    figures = ", ".join(f"{name} {'not measured' if value is None else f'{value:.2f}'}" for name, value in told)
    return f"Take {pair_text(labels, (best.character, best.style_strength))}: harmonic {best.harmonic:.2f} ({figures})."


def _around(plateau: Sequence[Pair], count: int, labels: tuple[str, str]) -> str:
    if len(plateau) == 1:
        return ("It stands alone: no neighbouring pair is as good." if count > 1 else
                "It is the only pair; there is nothing to compare it with.")
    spans = (_span([pair.character for pair in plateau]), _span([pair.style_strength for pair in plateau]))
    what = " with ".join(f"{label} {span}" for label, span in zip(labels, spans, strict=True))
    return f"Equally good within {NEAR:g}: {len(plateau)} of {count} pairs, {what}."


def _span(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _edges(best: Pair, pairs: Sequence[Pair], labels: tuple[str, str]) -> list[str]:
    lines = []
    for label, own, values in ((labels[0], best.character, [pair.character for pair in pairs]),
                               (labels[1], best.style_strength, [pair.style_strength for pair in pairs])):
        if len(set(values)) > 1 and own in (min(values), max(values)):
            word, where = ("largest", "higher") if own == max(values) else ("smallest", "lower")
            lines.append(f"{label} {own:g} is at the edge of the grid, the {word} strength tried: try {where} too.")
    return lines


# -- as people and scripts read it -------------------------------------------------------------------------------------


def heat_maps(sweep: Sweep, refinement: Refinement) -> dict[str, HeatMap]:
    """A heat map of each measured figure, with the style's strengths as rows and the character's as columns."""
    columns, rows = ([choice.label for choice in sweep.choices(name)[:-1]] for name in (STRENGTH, STACK))
    taken = refinement.best_pair
    best = f", best {pair_text(refinement.labels, (taken.character, taken.style_strength))}" if taken else ""
    maps = {}
    for name in FIGURES:
        found = {pair.at: getattr(pair, name) for pair in refinement.pairs}
        if any(value is not None for value in found.values()):
            values = (tuple(found.get((across, down)) for across in range(len(columns))) for down in range(len(rows)))
            title = f"{HEADS.get(name, name)}{best if name == FIGURES[0] else ''}"
            maps[name] = HeatMap(title, tuple(rows), tuple(columns), tuple(values), ((0.0, 1.0),) * len(columns))
    return maps


def write_refinement(sweep: Sweep, refinement: Refinement) -> dict[str, Path]:
    """Write strengths.json and an image of each heat map into the sweep's folder; returns their paths by name."""
    paths = {"json": sweep.folder / "strengths.json"}
    write_json(paths["json"], {"version": VERSION, **asdict(refinement)})
    for name, heat in heat_maps(sweep, refinement).items():
        paths[name] = sweep.folder / f"strengths-{name}.png"
        save_picture(paths[name], heat_picture(heat))
    return paths
