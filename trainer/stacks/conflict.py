"""Why LoRAs override each other, measured from their files alone, without a model or images.

A LoRA's layer responds to a few directions of its input. Where a second LoRA responds to the same directions, it
overwrites the first, and no choice of strengths undoes that. `overlap.py` has the score; this file draws the
conclusions for a stack. It assumes that inputs are equally strong in all directions, so the result is advice. Images
have the last word.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

from ..common.errors import UserError
from ..lora.layers import LoraFile
from ..lora.layouts import block_of, block_order
from ..lora.names import PARTS
from .layer_stack import LayerStack, one_thread, open_stack
from .overlap import TOLERANCE, Overlap, Reading, measure_overlap, read_change, total
from .stack import StackEntry, file_role, stack_advice

OVERCOOKED, LEAST_SCALE, NEAR_ORTHOGONAL = 1.1, 0.85, 0.1
"""OVERCOOKED: how many times as large as the largest alone the LoRAs may be together. LEAST_SCALE: the most they are
scaled down for that if their cosines are below NEAR_ORTHOGONAL."""
FINE, STRENGTHS, MERGE = "fine", "strengths", "merge"
"""Verdicts: nothing to do; other strengths fix it; strengths cannot fix it."""


@dataclass(frozen=True)
class LayerConflict:
    """One layer of a pair.

    Attributes:
        name: `denoiser.` or the text encoder, followed by diffusers' path.
        shape: (out, in * kh * kw).
        directions: how many directions each responds to; 0 where a file lacks the layer.
        overlap: the overlap at strength 1.
        strengths: strengths of both in this layer.
    """

    name: str
    block: str
    shape: tuple[int, int]
    directions: tuple[int, int]
    overlap: Overlap
    strengths: tuple[float, float]

    @property
    def shared(self) -> bool:
        return min(self.directions) > 0

    @property
    def used(self) -> Overlap:
        """The overlap at the stack's strengths."""
        return self.overlap.at(*self.strengths)


@dataclass(frozen=True)
class BlockConflict:
    """A block of a pair.

    Attributes:
        layers: how many layers both have.
        overlap: the overlap at strength 1; `used` that at the stack's strengths.
        share: this block's part of everything that the second overwrites of the first in the shared layers.
    """

    name: str
    layers: int
    overlap: Overlap
    used: Overlap
    share: float


@dataclass(frozen=True)
class PairAdvice:
    """What to do about a pair.

    Attributes:
        verdict: FINE, STRENGTHS or MERGE.
        balanced: strengths at which both overwrite each other equally; the larger strength is unchanged.
        most_second: the strength up to which the second leaves the first within the tolerance; None if any does.
        lines: the advice in words.
    """

    verdict: str
    balanced: tuple[float, float] | None
    most_second: float | None
    lines: tuple[str, ...]


@dataclass(frozen=True)
class PairConflict:
    """Two LoRAs of a stack.

    Attributes:
        places: their positions in the stack; `names` their names.
        strengths: their strengths on the denoiser.
        layers: all layers that either has.
    """

    places: tuple[int, int]
    names: tuple[str, str]
    strengths: tuple[float, float]
    layers: tuple[LayerConflict, ...]
    tolerance: float = TOLERANCE

    @cached_property
    def total(self) -> Overlap:
        """The overlap over all layers at strength 1. A layer that only one of them has counts only for its norm."""
        return total(layer.overlap for layer in self.layers)

    @cached_property
    def used(self) -> Overlap:
        """`total` at the stack's strengths."""
        return total(layer.used for layer in self.layers)

    @cached_property
    def parts(self) -> dict[str, Overlap]:
        """`total` for the denoiser and for each text encoder."""
        return {part: total(layer.overlap for layer in self.layers if layer.name.startswith(f"{part}."))
                for part in PARTS if any(layer.name.startswith(f"{part}.") for layer in self.layers)}

    @cached_property
    def blocks(self) -> tuple[BlockConflict, ...]:
        """Blocks in the order of the network. Blocks without a shared layer are left out."""
        grouped: dict[str, list[LayerConflict]] = {}
        for layer in self.layers:
            if layer.shared:
                grouped.setdefault(layer.block, []).append(layer)
        whole = self.used.on_first
        rows = []
        for name in sorted(grouped, key=block_order):
            layers = grouped[name]
            used = total(layer.used for layer in layers)
            rows.append(BlockConflict(name, len(layers), total(layer.overlap for layer in layers), used,
                                      used.on_first / whole if whole else 0.0))
        return tuple(rows)

    @property
    def only(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the layers that only the first changes, and of those that only the second changes."""
        def names(side: int) -> tuple[str, ...]:
            return tuple(layer.name for layer in self.layers
                         if layer.directions[side] and not layer.directions[1 - side])

        return names(0), names(1)

    @cached_property
    def advice(self) -> PairAdvice:
        return _advice(self)


@dataclass(frozen=True)
class FileFacts:
    """What was found in a file.

    Attributes:
        kinds: number of layers of each kind.
        dora: layers whose magnitude could not be taken into account.
        energy: squared norm of all its changes at strength 1.
    """

    name: str
    path: str
    role: str
    strength: float
    clip_strength: float
    layers: int
    kinds: Mapping[str, int]
    dora: int
    ignored: int
    energy: float


@dataclass(frozen=True)
class ConflictReport:
    """The LoRAs of a stack compared with each other.

    Attributes:
        recommended: strengths derived from the weights alone, never above the stack's own: a starting point.
        rules: the guides' rules for stacks that it breaks.
        notes: what was not measured.
    """

    files: tuple[FileFacts, ...]
    pairs: tuple[PairConflict, ...]
    tolerance: float
    recommended: tuple[float, ...]
    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The worst verdict of the pairs."""
        return max((pair.advice.verdict for pair in self.pairs), key=(FINE, STRENGTHS, MERGE).index)

    @property
    def lines(self) -> tuple[str, ...]:
        """The whole report in words, a sentence or two per line."""
        lines = [line for pair in self.pairs for line in pair.advice.lines]
        given = tuple(file.strength for file in self.files)
        if any(abs(new - old) >= 0.005 for new, old in zip(self.recommended, given, strict=True)):
            strengths = ", ".join(f"{file.name} {value:.2f}"
                                  for file, value in zip(self.files, self.recommended, strict=True))
            lines.append(f"Judging by the weights alone, start at {strengths}. Refine Strengths then compares images.")
        return (*lines, *self.rules, *self.notes)

    def text(self) -> str:
        return "\n".join(self.lines)


# -- measuring ---------------------------------------------------------------------------------------------------------


def measure_conflict(entries: Sequence[StackEntry], *, tolerance: float = TOLERANCE,
                     progress: Callable[[int, int], None] | None = None) -> ConflictReport:
    """Compare every LoRA of a stack with every other, from the files alone, one layer at a time.

    Args:
        entries: two or more. Entries at strength 0 are compared too, but overwrite nothing.
        tolerance: a share, above 0 and below 0.5.
        progress: called after each layer with (done, all).

    Raises UserError as `open_stack` does, for fewer than two LoRAs, or a tolerance out of range.
    """
    entries = _check_entries(entries, tolerance)
    with one_thread(), open_stack([entry.path for entry in entries]) as stack:
        named = [replace(entry, role=entry.role or file_role(file.metadata))
                 for entry, file in zip(entries, stack.files, strict=True)]
        return _measure_pairs(named, stack, tolerance, progress or (lambda done, count: None))


def _check_entries(entries: Sequence[StackEntry], tolerance: float) -> Sequence[StackEntry]:
    if len(entries) < 2:
        raise UserError(f"a conflict needs at least two LoRAs, and the stack has {len(entries) or 'none'}; add more.")
    if not 0 < tolerance < 0.5:
        raise UserError(f"the tolerance is {tolerance!r}; it must be above 0 and below 0.5, such as {TOLERANCE}.")
    return entries


def _measure_pairs(entries: Sequence[StackEntry], stack: LayerStack, tolerance: float,
                   progress: Callable[[int, int], None]) -> ConflictReport:
    found: dict[tuple[int, int], list[LayerConflict]] = {pair: [] for pair in combinations(range(len(entries)), 2)}
    energies = [0.0] * len(entries)
    for done, name in enumerate(stack.names, 1):
        readings = [read_change(change) if change else None for change in stack.deltas(name)]
        energies = [sum_ + (reading.energy if reading else 0.0)
                    for sum_, reading in zip(energies, readings, strict=True)]
        for (first, second), layers in found.items():
            if readings[first] or readings[second]:
                layers.append(_layer(name, stack.shape(name), (readings[first], readings[second]),
                                     (entries[first].strength_of(name), entries[second].strength_of(name))))
        progress(done, len(stack.names))
    pairs = tuple(PairConflict((first, second), (entries[first].name, entries[second].name),
                               (entries[first].strength, entries[second].strength), tuple(layers), tolerance)
                  for (first, second), layers in found.items())
    facts = tuple(_facts(entry, file, size) for entry, file, size in zip(entries, stack.files, energies, strict=True))
    return ConflictReport(facts, pairs, tolerance, recommended_strengths(pairs, [entry.strength for entry in entries]),
                          stack_advice(entries), (*_notes(facts, pairs), *_file_notes(stack)))


def _layer(name: str, shape: tuple[int, int], readings: tuple[Reading | None, Reading | None],
           strengths: tuple[float, float]) -> LayerConflict:
    first, second = readings
    found = measure_overlap(first, second) if first and second else Overlap(
        first.energy if first else 0.0, second.energy if second else 0.0)
    directions = len(first.sizes) if first else 0, len(second.sizes) if second else 0
    return LayerConflict(name, block_of(name), shape, directions, found, strengths)


def _facts(entry: StackEntry, file: LoraFile, size: float) -> FileFacts:
    vectors = sum(float(file.read_vector(vector).square().sum()) for vector in file.vectors)
    return FileFacts(entry.name, str(entry.path), entry.role, entry.strength, entry.strength_of("text_encoder"),
                     len(file.entries), file.kinds, file.dora, len(file.ignored), size + vectors)


def _file_notes(stack: LayerStack) -> list[str]:
    beside = [f"{file.path.name} has differences of biases and norms ({len(file.vectors)}). They count in its energy "
              "alone, because they respond to no input." for file in stack.files if file.vectors]
    unread = (note for file in stack.files for note in (file.strange_note, file.unread_note()) if note)
    return [*stack.notes, *beside, *unread]


def _notes(files: Sequence[FileFacts], pairs: Sequence[PairConflict]) -> tuple[str, ...]:
    notes = []
    for file in files:
        if file.dora:
            notes.append(f"{file.name} is a DoRA in {file.dora} layers. Their magnitudes need the model, so only the "
                         "change of direction was measured.")
        if not file.energy:
            notes.append(f"{file.name} changes nothing: all its weights are zero.")
    for pair in pairs:
        for name, other, layers in zip(pair.names, reversed(pair.names), pair.only, strict=True):
            if layers:
                notes.append(f"{len(layers)} layers, such as {layers[0]}, are in {name} but not in {other}, so there "
                             "is no conflict in them.")
    return tuple(notes)


# -- advice ------------------------------------------------------------------------------------------------------------


def _advice(pair: PairConflict) -> PairAdvice:
    plain, tolerance = pair.total, pair.tolerance
    first, second = pair.names
    if not plain.first or not plain.second or not all(pair.strengths):
        return PairAdvice(FINE, None, None, (f"{first} and {second} have no conflict: one of them changes nothing.",))
    used = plain.at(*pair.strengths)
    shares = (used.second_over_first, used.first_over_second)
    verdict = FINE if max(shares) <= tolerance else STRENGTHS if plain.least_override <= tolerance else MERGE
    most = plain.most_second(tolerance)
    balanced = _balance_strengths(plain.balance, pair.strengths)
    words = {"least": _percent(plain.least_override), "tolerance": _percent(tolerance)}
    if balanced:
        words["balanced"] = f"{first} {balanced[0]:.2f}, {second} {balanced[1]:.2f}"
    if verdict == STRENGTHS:
        words["change"] = _change(pair, most)
    lines = [f"{first} and {second} respond to the same inputs with kappa {plain.kappa:.2f} (chance "
             f"{plain.chance:.2f}). On {first}'s inputs {second} writes {_percent(shares[0])} of the output, on "
             f"{second}'s inputs {first} {_percent(shares[1])}; cosine {round(plain.cosine, 2) + 0.0:+.2f}.",
             _VERDICTS[verdict].format(**words)]
    if verdict != FINE:
        worst = sorted(pair.blocks, key=lambda row: -row.share)[:3]
        lines.append(f"Most of what {second} overwrites of {first} is in " + ", ".join(
            f"{row.name} ({_percent(row.share)})" for row in worst) + ".")
    return PairAdvice(verdict, balanced, None if math.isinf(most) else most * abs(pair.strengths[0]), tuple(lines))


_VERDICTS = {
    FINE: "Within the tolerance of {tolerance}: nothing needs fixing.",
    STRENGTHS: "Other strengths fix this: {change} (tolerance {tolerance}).",
    MERGE: "Strengths cannot fix this: at any strengths, one of the two loses at least {least} (tolerance "
           "{tolerance}). Balanced strengths are {balanced}. A merge by soft null space or a split in time shifts the "
           "balance a little. To preserve both, train the character on images in several styles that are named in "
           "their captions.",
}


def _change(pair: PairConflict, most: float) -> str:
    first, second = pair.names
    a, b = map(abs, pair.strengths)
    if a and b / a > most:
        return f"keep {second} at or below {most * a:.2f} while {first} is at {a:.2f}"
    return f"keep {first} at or below {b / pair.total.least_second(pair.tolerance):.2f} while {second} is at {b:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _balance_strengths(ratio: float | None, strengths: tuple[float, float]) -> tuple[float, float] | None:
    """The strengths at a given ratio of second to first, neither larger than before; signs are preserved."""
    if ratio is None or not all(strengths):
        return None
    a = min(abs(strengths[0]), abs(strengths[1]) / ratio)
    return math.copysign(a, strengths[0]), math.copysign(a * ratio, strengths[1])


def recommended_strengths(pairs: Sequence[PairConflict], strengths: Sequence[float]) -> tuple[float, ...]:
    """Strengths derived from the weights alone, none larger than before.

    In each pair, the LoRA that overwrites too much of the other is lowered until that is within the tolerance, or, if
    no ratio achieves that, until both are balanced. Then all are scaled so that together they are at most 1.1 times as
    large as the largest alone (over-cooking). If the changes are nearly orthogonal, the factor is at least 0.85.
    """
    sizes = [abs(value) for value in strengths]
    for _ in strengths:
        for pair in pairs:
            first, second = pair.places
            if min(sizes[first], sizes[second]) <= 0:
                continue
            least, most = pair.total.least_second(pair.tolerance), pair.total.most_second(pair.tolerance)
            if least > most:
                least = most = pair.total.balance or sizes[second] / sizes[first]
            sizes[second] = min(sizes[second], most * sizes[first])
            sizes[first] = min(sizes[first], sizes[second] / least if least else math.inf)
    signed = [math.copysign(size, value) for size, value in zip(sizes, strengths, strict=True)]
    scale = _scale(pairs, signed, strengths)
    return tuple(scale * value for value in signed)


def _scale(pairs: Sequence[PairConflict], now: Sequence[float], before: Sequence[float]) -> float:
    norms = {}
    together = 0.0
    for pair in pairs:
        first, second = pair.places
        norms[first], norms[second] = pair.total.first, pair.total.second
        together += 2 * now[first] * now[second] * pair.total.inner
    together += sum(now[place] ** 2 * norm for place, norm in norms.items())
    allowed = OVERCOOKED**2 * max(before[place] ** 2 * norm for place, norm in norms.items())
    if together <= allowed or not allowed:
        return 1.0
    orthogonal = all(abs(pair.total.cosine) < NEAR_ORTHOGONAL for pair in pairs)
    return max(math.sqrt(allowed / together), LEAST_SCALE if orthogonal else 0.0)
