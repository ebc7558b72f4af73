"""The table in which a user lists the views of a round, and how it is steered towards what a dataset lacks.

One line per axis, with comma-separated tags and their weights: `angle: from side 2, from behind 1.5`. `own` stands for
what the original image shows on that axis.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

from ...captions.coverage import kinds_in
from ...captions.coverage_words import AXES as GUIDES
from ...captions.sentences import say_tag
from ...captions.tags import same_tag, split_tags
from ...captions.views import OWN, VIEW_AXES
from ...captions.vocabulary import Vocabulary, normal
from ...common.errors import UserError, unknown_name

Axes = Mapping[str, Mapping[str, float]]
"""Axis → tag → weight. A tag's share of the views is in proportion to its weight."""
_ENTRY = re.compile(r"(?P<tag>.*?\S)(?:\s+(?P<weight>\d+(?:\.\d+)?))?")
_AXIS_NAMES = {"view": "angle", "distance": "framing", "elevation": "height", "light": "lighting"}
_COVERED = {"angle": "view", "framing": "framing", "expression": "expression", "outfit": "outfit",
            "background": "background", "lighting": "lighting"}
"""Our axis → the axis of the coverage audit."""
SPARE = 0.15
"""Part of its usual share that a tag keeps once the dataset shows it often enough, so that there is still a choice."""


def parse_table(text: str, vocabulary: Vocabulary) -> Axes:
    """The axes as the text gives them, the others from the vocabulary, in the order of VIEW_AXES.

    A line `expression:` with nothing after the colon leaves that axis out. Raises UserError for anything else.
    """
    axes = dict(vocabulary.axes)
    for line in (line.strip() for line in text.splitlines()):
        if not line:
            continue
        name, colon, entries = line.partition(":")
        axis = _AXIS_NAMES.get(normal(name), normal(name))
        if not colon:
            raise UserError(f"line {line!r} of the views cannot be read; write it as in angle: from side 2, from "
                            "behind")
        if axis not in VIEW_AXES:
            raise unknown_name("axis", name.strip(), VIEW_AXES)
        axes[axis] = dict(_entry(part) for part in split_tags(entries))
    axes = {axis: axes[axis] for axis in VIEW_AXES if axes.get(axis)}
    if not axes:
        raise UserError("the views contain no tags; give at least one line such as angle: from side, from behind")
    return axes


def _entry(part: str) -> tuple[str, float]:
    found = _ENTRY.fullmatch(part)
    assert found is not None, "split_tags gives no empty part"
    if found["tag"].isdecimal():
        raise UserError(f"{part!r} among the views is not a tag; decimals of weights have a point: from side 1.5.")
    weight = float(found["weight"] or 1)
    if weight <= 0 or not math.isfinite(weight):
        raise UserError(f"{part!r} has the weight {found['weight']}; it must be above 0. Leave the tag out instead.")
    return normal(found["tag"]), weight


def table_text(axes: Axes) -> str:
    """Axes as text that `parse_table` reads."""
    return "\n".join(f"{axis}: " + ", ".join(f"{tag} {weight:g}" for tag, weight in axes[axis].items())
                     for axis in VIEW_AXES if axis in axes)


def steer_axes(axes: Axes, captions: Sequence[str], target: int,
               said: Mapping[str, tuple[str, ...]] | None = None) -> tuple[Axes, tuple[str, ...]]:
    """(the axes, each tag weighted by how many a dataset of `target` images still lacks; a note for each tag whose
    weight changes a lot).

    A tag's share of the target is that of its weight, or what the guides want of its kind if that is more
    (`coverage_words`).

    Args:
        captions: captions of the existing images.
        said: word of a view -> the tags that say it in a caption (`Vocabulary.said`).
    """
    result, notes = {}, []
    for axis, weights in axes.items():
        words = {word: () if word == OWN else (said or {}).get(word, (word,)) for word in weights}
        shown, unsaid = _count_shown(axis, captions, words)
        silent = [word for word, tags in words.items() if not tags]
        if silent:  # no tag says it: what shows none of the axis's other tags shows it
            shown[silent[0]] = unsaid
        needs = {}
        for tag, share in _shares(axis, weights).items():
            lacking = share * target - shown.get(tag, 0)
            needs[tag] = max(lacking, SPARE * share * target)
            if tag in silent:
                continue
            if shown.get(tag, 0) > share * target:
                notes.append(f"{tag}: {shown[tag]:g} already there, so it is requested rarely")
            elif not shown.get(tag, 0) and shown:
                notes.append(f"{tag}: none yet, so it is requested more often")
        result[axis] = {tag: round(need, 3) for tag, need in needs.items()}
    return result, tuple(notes)


def _count_shown(axis: str, captions: Sequence[str],
                 words: Mapping[str, tuple[str, ...]]) -> tuple[dict[str, float], int]:
    """(how many captions say each word, how many say none of them).

    Of two words, the one with more tags counts: not `from behind` where the caption says `back quarter left`. Words
    that have the same tags share the caption.

    Args:
        words: word of a view -> the tags that say it together; a word without any is in no caption.
    """
    counts: dict[str, float] = {}
    unsaid = 0
    for caption in captions:
        held = {normal(same_tag(tag)) for tag in split_tags(caption)}
        said = {word: set(tags) for word, tags in words.items()
                if tags and all(tag in held or _is_said(say_tag(tag, axis), held) for tag in tags)}
        exact = {word: tags for word, tags in said.items() if not any(tags < others for others in said.values())}
        for word, tags in exact.items():
            counts[word] = counts.get(word, 0) + 1 / sum(tags == others for others in exact.values())
        unsaid += not said
    return counts, unsaid


def _is_said(phrase: str, parts: Collection[str]) -> bool:
    """Whether a sentence has the phrase: `wearing a hoodie` in "wearing a hoodie and glasses"."""
    return any(part == phrase or part.startswith(f"{phrase} and ") for part in parts)


def _shares(axis: str, weights: Mapping[str, float]) -> dict[str, float]:
    """Each tag's share by its weight, or more where the guides want more of its kind. The shares sum to 1."""
    total = sum(weights.values())
    shares = {tag: weight / total for tag, weight in weights.items()}
    if covered := _COVERED.get(axis):
        kinds = {tag: next(iter(kinds_in(tag, covered)), None) for tag in weights}
        for tag, kind in kinds.items():
            if kind is not None:
                members = sum(other == kind for other in kinds.values())
                shares[tag] = max(shares[tag], GUIDES[covered].kinds[kind].least / members)
    scale = sum(shares.values())
    return {tag: share / scale for tag, share in shares.items()}


def count_views(views: Sequence[Mapping[str, str]]) -> str:
    """How often each tag is requested, one line per axis: `angle: from side 12, from behind 9`."""
    counts: dict[str, dict[str, float]] = {}
    for view in views:
        for axis, tag in view.items():
            counts.setdefault(axis, {}).setdefault(tag, 0)
            counts[axis][tag] += 1
    ordered = {axis: dict(sorted(tags.items(), key=lambda item: -item[1])) for axis, tags in counts.items()}
    return table_text(ordered)
