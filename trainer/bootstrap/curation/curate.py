"""Selects among generated images: gates first, then farthest-point picks under view quotas, each with a reason.

Likeness is always measured against the crops of the ORIGINAL image, never against images of an earlier round: a loop
drifts towards whatever it rewards, and only real images hold it in place (reference: arXiv 2407.09499, 2407.17493).
Without an eye, likeness and tags are not measured; those terms are left out, and the notes say so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...captions.views import ViewPrompt
from ...measures import pixels as metrics
from ...measures.eyes import Likeness
from ...measures.likeness import leave_one_out, likeness_to, tag_recall
from ...measures.marks import find_marks
from ...pictures.duplicates import copies_of, group_copies
from ..config import EVEN, CurationSettings
from .gates import (
    EditFigures,
    face_likeness,
    is_edited,
    measure_edits,
    measures_faces,
    refuse_edits,
    unmeasured_burn,
)

GENERATOR = "generator"
"""The axis of what drew an image, among the axes of a view."""


@dataclass(frozen=True)
class Candidate:
    """A generated image and where it comes from."""

    name: str
    prompt: ViewPrompt
    seed: int
    round: int
    parent: str
    """Name of the LoRA that made it."""
    repaired_from: str = ""
    """Name of the candidate that it replaces, as a repaired copy of it."""
    reference: str = ""
    """Name of the image of View Prompts that it was drawn from; "" for none."""
    edits: bool = False
    """Whether an image was edited, whichever it was."""
    generator: str = ""
    """The model or service that drew it, without its LoRAs; "" if its lineage does not say."""


@dataclass(frozen=True)
class Decision:
    """Whether a candidate is kept, why, and the figures behind it (figures that were not measured are left out)."""

    candidate: str
    kept: bool
    reason: str
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Curation:
    """The outcome of a round: one decision per candidate, in the candidates' order, the picks in order, and notes.

    Attributes:
        copies: groups of near copies, as indices of the candidates.
    """

    decisions: tuple[Decision, ...]
    picked: tuple[int, ...]
    notes: tuple[str, ...]
    copies: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class _Read:
    """Per-candidate figures, all [N]."""

    sharpness_z: Tensor
    burn: Tensor
    likeness: Tensor | None
    recall: Tensor | None
    traits: Tensor | None
    mark: Tensor | None
    scenes: Tensor
    novelty: Tensor
    faces: Tensor | None
    face_floor: float
    edits: EditFigures
    least: float
    """A tenth of the base's own images for the same tags are less like the original than this."""
    unmarked: str
    """Why marks were not measured; "" if they were."""

    def of(self, index: int) -> dict[str, float]:
        figures = {"sharpness_z": self.sharpness_z, "burn_z": self.burn, "likeness": self.likeness,
                   "tag_recall": self.recall, "mark": self.mark, "trait_colours": self.traits,
                   "novelty": self.novelty, "face_likeness": self.faces}
        return {name: round(values[index].item(), 4) for name, values in figures.items()
                if values is not None and not math.isnan(values[index].item())} | self.edits.of(index)


def curate(candidates: Sequence[Candidate], pixels: Tensor, anchors: Tensor, *, count: int,
           reference: Tensor | None = None, eye: Likeness | None = None,
           settings: CurationSettings | None = None, by_hand: Mapping[int, bool] | None = None,
           own_tags: Collection[str] = ()) -> Curation:
    """Keep at most `count` of the candidates, or all that were kept by hand if those are more.

    Args:
        pixels: the candidates' images [N, 3, H, W] in 0..1, at the anchors' size.
        anchors: the original crops [A, 3, H, W].
        reference: the base model's own images for such prompts [R, 3, H, W], for the burn figure; None leaves it out.
        by_hand: candidates decided by hand: kept (True), whatever the gates say, or rejected (False).
        own_tags: what the original image shows: its angle, its style, whether it is a photograph.
    """
    settings, by_hand = settings or CurationSettings(), by_hand or {}
    read = _measure(candidates, pixels, anchors, reference, eye, settings, own_tags)
    prints = metrics.fingerprints(pixels)
    replaced = _find_replaced(candidates, by_hand)
    groups = _without_replaced(candidates, group_copies(prints), replaced)
    copied = copies_of(prints, metrics.fingerprints(anchors))
    refused = _quality_gate(candidates, pixels, read, settings, copied, groups, replaced)
    refuse_edits(candidates, refused, read.edits, settings)
    notes = [] if eye else ["Likeness and tags were not measured: there is no eye for this base."]
    notes += ["Faces were not measured: there is no eye for this base."] * (settings.faces == "on" and eye is None)
    notes += unmeasured_burn(candidates) if reference is not None else []
    for index in (index for index, kept in by_hand.items() if not kept):
        refused[index] = "rejected by hand"
    if eye and read.likeness is not None:
        gate = settings.likeness_floor
        if gate is None:
            gate = torch.quantile(leave_one_out(eye.embed(anchors)), settings.likeness_percentile / 100).item()
        notes += _likeness_gate(candidates, refused, read.likeness, min(gate, read.least), gate,
                                math.ceil(count * settings.spare))
    if read.faces is not None:
        notes += _likeness_gate(candidates, refused, read.faces, -1.0, read.face_floor,
                                math.ceil(count * settings.spare), "face likeness")
    if read.recall is not None:
        for index in _open(refused):
            if read.recall[index] < settings.tag_recall:
                share, least = read.recall[index].item(), settings.tag_recall
                refused[index] = f"shows {share:.0%} of the requested tags, below {least:.0%}"
    first = [index for index, kept in by_hand.items() if kept]
    ranked = _rank(candidates, read, _open(refused), count, settings, first)
    picked, reserve = ranked[:max(count, len(first))], ranked[max(count, len(first)):]
    notes += _unmet_shares(candidates, picked, min(count, len(picked)), settings)
    if len(picked) < count:
        notes.append(f"Only {len(picked)} of the {count} images wanted passed; generate more candidates to keep more.")
    notes += [read.unmarked] if read.unmarked else []
    return Curation(_decisions(candidates, read, refused, picked, reserve, first), tuple(picked), tuple(notes),
                    tuple(map(tuple, groups)))


def _find_replaced(candidates: Sequence[Candidate], by_hand: Mapping[int, bool]) -> dict[str, str]:
    """Name of a candidate -> name of the repaired copy that replaces it. One that was rejected by hand replaces none.
    """
    return {candidate.repaired_from: candidate.name for index, candidate in enumerate(candidates)
            if candidate.repaired_from and by_hand.get(index, True)}


def _without_replaced(candidates: Sequence[Candidate], groups: Sequence[Sequence[int]],
                      replaced: Collection[str]) -> list[list[int]]:
    """The groups of near copies without the candidates that a repaired one replaces, which is meant to be like them."""
    left = ([index for index in group if candidates[index].name not in replaced] for group in groups)
    return [group for group in left if len(group) > 1]


def _open(refused: Sequence[str]) -> list[int]:
    return [index for index, reason in enumerate(refused) if not reason]


def _measure(candidates, pixels, anchors, reference, eye, settings, own_tags) -> _Read:
    sharp = metrics.sharpness(pixels).clamp(min=1e-9).log()
    burn = metrics.burn_z(pixels, reference) if reference is not None else torch.full((len(pixels),), float("nan"))
    likeness = likeness_to(eye.embed(pixels), eye.embed(anchors)) if eye else None
    recall = tag_recall(pixels, [c.prompt for c in candidates], eye, settings.tag_threshold) if eye else None
    burn[[is_edited(candidate) for candidate in candidates]] = float("nan")
    faces, floor = None, -1.0
    if eye and measures_faces(settings.faces, own_tags):
        faces, own = face_likeness(candidates, pixels, anchors, eye)
        floor = torch.quantile(own, settings.likeness_percentile / 100).item()
    least = -1.0
    if eye and reference is not None:
        least = torch.quantile(likeness_to(eye.embed(reference), eye.embed(anchors)), 0.1).item()
    traits = metrics.trait_share(pixels, anchors, reference) if reference is not None else None
    marks, unmarked = find_marks(anchors, reference)
    scenes = metrics.scene_embedding(pixels)
    novelty = torch.cdist(scenes, metrics.scene_embedding(anchors)).amin(1)
    return _Read(metrics.robust_z(sharp, sharp), burn, likeness, recall, traits,
                 marks.shown(pixels) if marks else None, scenes, novelty, faces, floor,
                 measure_edits(candidates, pixels, anchors, own_tags), least, unmarked)


def _quality_gate(candidates, pixels, read: _Read, settings: CurationSettings, copied: Sequence[bool],
                  groups: Sequence[Sequence[int]], replaced: Mapping[str, str]) -> list[str]:
    refused = [f"replaced by {replaced[candidate.name]}, which was repaired" if candidate.name in replaced else ""
               for candidate in candidates]
    twins = {index: group for group in groups for index in group}
    flat = pixels.flatten(1).std(1) < 0.02
    for index in _open(refused):
        twin = next((other for other in twins.get(index, ()) if other < index and not refused[other]), None)
        if flat[index]:
            refused[index] = "almost one colour"
        elif read.sharpness_z[index] < settings.blur_limit:
            refused[index] = f"blurred (sharpness z {read.sharpness_z[index]:.1f})"
        elif read.burn[index] > settings.burn_limit:
            refused[index] = f"burnt (z {read.burn[index]:.1f} over the base)"
        elif copied[index]:
            refused[index] = "a copy of an original crop"
        elif twin is not None:
            refused[index] = f"duplicate of {candidates[twin].name}"
    return refused


def _likeness_gate(candidates, refused: list[str], likeness: Tensor, least: float, gate: float,
                   enough: int, called: str = "likeness") -> list[str]:
    """Reject what is less alike than `gate`. Returns a note if the gate had to be lowered.

    The crops show one angle, and other angles are less alike by nature. So the gate is lowered angle by angle, until
    each has its share of `enough`, but never below `least`.
    """
    angles: dict[str, list[int]] = {}
    for index in (~likeness.isnan()).nonzero()[:, 0].tolist():
        angles.setdefault(candidates[index].prompt.view.get("angle", ""), []).append(index)
    lowest = gate
    for members in angles.values():
        share = math.ceil(enough * len(members) / len(candidates))
        best = sorted((likeness[index].item() for index in members if not refused[index]), reverse=True)
        own = max(least, min([gate, *best[:share]]))
        lowest = min(lowest, own)
        for index in members:
            if not refused[index] and likeness[index] < own:
                refused[index] = f"{called} {likeness[index]:.2f} to the original, below {own:.2f}"
    if lowest == gate:
        return []
    return [f"The {called} gate was lowered from {gate:.2f} to as little as {lowest:.2f}: too few images were as much "
            "like the original as its crops are like each other."]


def _z(values: Tensor | None, members: Sequence[int]) -> Tensor:
    if values is None or not members:
        return torch.zeros(0 if values is None else len(values))
    inside = values[list(members)]
    inside = inside[~inside.isnan()]
    if not len(inside):
        return torch.zeros(len(values))
    return ((values - inside.mean()) / inside.std(unbiased=False).clamp(min=1e-6)).nan_to_num(0)


def _rank(candidates: Sequence[Candidate], read: _Read, members: list[int], count: int,
          settings: CurationSettings, first: Sequence[int] = ()) -> list[int]:
    """`first`, then greedily the best sum of score and distance to what is already picked, until none is left. No view
    takes more than its share of `count`, as long as an image is left whose views all have room; then each image beyond
    a share weighs as much as a standard deviation of the likeness. What comes after the first `count` is the reserve.
    """
    if not members:
        return list(first)
    # sharpness above the usual is texture, not quality; so only a lack of it counts, and looking burnt
    quality = read.sharpness_z.clamp(max=0.5) - 0.25 * (read.burn.nan_to_num(0) - 2).clamp(min=0)
    score = 0.3 * _z(quality, members)
    for values, weight in ((read.likeness, 1.0), (read.recall, 0.5), (read.traits, 0.5), (read.faces, 0.5),
                           (read.mark, settings.mark_weight)):
        if values is not None:
            score = score + weight * _z(values, members)
    distance = torch.cdist(read.scenes, read.scenes)
    distance = distance / distance[members][:, members].median().clamp(min=1e-6)
    caps, picked = quotas([candidate.prompt.view for candidate in candidates], count), list(first)
    if settings.generators == EVEN and len(_count_by_generator(candidates)) > 1:
        caps |= _even_shares([name for index in {*members, *first} if (name := candidates[index].generator)], count)
    used = Counter(group for index in first for group in _groups(candidates[index]))
    while rest := [i for i in members if i not in picked]:
        room = [i for i in rest if not _overshoot(candidates[i], used, caps, (GENERATOR,))] or rest
        over = {i: _overshoot(candidates[i], used, caps) for i in room}
        within = [i for i in room if not over[i]] or room
        spread = distance[within][:, picked].amin(1) if picked else torch.zeros(len(within))
        beyond = torch.tensor([float(over[i]) for i in within])
        best = within[int((score[within] + settings.distance_weight * spread.clamp(max=2) - beyond).argmax())]
        picked.append(best)
        used.update(_groups(candidates[best]))
    return picked


def _groups(candidate: Candidate) -> list[tuple[str, str]]:
    return [*candidate.prompt.view.items(), (GENERATOR, candidate.generator)]


def _overshoot(candidate: Candidate, used: Mapping[tuple[str, str], int], caps: Mapping[tuple[str, str], int],
               axes: Collection[str] = ()) -> float:
    """By how many images the candidate would take its groups, or those on these axes only, beyond their caps; 0 if each
    has room."""
    return sum(max(0, used[group] + 1 - caps.get(group, math.inf)) for group in _groups(candidate)
               if not axes or group[0] in axes)


def _count_by_generator(candidates: Sequence[Candidate]) -> Counter[str]:
    """How many images each generator drew, as far as their lineages name it."""
    return Counter(candidate.generator for candidate in candidates if candidate.generator)


def _even_shares(generators: Sequence[str], count: int) -> dict[tuple[str, str], int]:
    """(GENERATOR, generator) → how many of `count` images it may draw. Each has the same share. What one has too few
    images for goes to the others.

    Args:
        generators: of each image that can be picked.
    """
    there = Counter(generators)
    shares: dict[tuple[str, str], int] = {}
    for place, (name, most) in enumerate(sorted(there.items(), key=lambda item: (item[1], item[0]))):
        shares[GENERATOR, name] = min(most, math.ceil((count - sum(shares.values())) / (len(there) - place)))
    return shares


def _unmet_shares(candidates: Sequence[Candidate], picked: Sequence[int], count: int,
                  settings: CurationSettings) -> list[str]:
    """A note for each generator that got less than an even share of the picks, without those that drew nothing in the
    latest round."""
    drawn, latest = _count_by_generator(candidates), max((candidate.round for candidate in candidates), default=0)
    drawing = _count_by_generator([candidate for candidate in candidates if candidate.round == latest])
    if settings.generators != EVEN or len(drawn) < 2:
        return []
    got, share = Counter(candidates[index].generator for index in picked), count // len(drawn)
    return [f"{name} drew {got[name]} of the picks; an even share is {share}. Generate "
            "more candidates with it, or set generators to free." for name in sorted(drawing) if got[name] < share]


def quotas(views: Sequence[Mapping[str, str]], count: int) -> dict[tuple[str, str], int]:
    """(axis, tag) → how many of `count` images may show it: the same share as in these views, rounded up."""
    asked = Counter(group for view in views for group in view.items())
    return {group: math.ceil(count * times / len(views)) for group, times in asked.items()}


def _decisions(candidates, read: _Read, refused, picked, reserve, first) -> tuple[Decision, ...]:
    reasons = dict(enumerate(refused))
    # the gallery reads these two numbers
    reasons |= {index: f"passed, but others fit better (reserve {place})" for place, index in enumerate(reserve, 1)}
    reasons |= {index: f"pick {place} of {len(picked)}" for place, index in enumerate(picked, 1)}
    reasons |= dict.fromkeys(first, "kept by hand")
    return tuple(Decision(candidate.name, index in picked, reasons[index], read.of(index))
                 for index, candidate in enumerate(candidates))
