"""From a tagger's scores to the tags of an image: thresholds by category, MCut, the rating, underscores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..captions.tags import join_tags, same_tag, spaced
from ..common.errors import UserError, unknown_name
from .labels import CATEGORIES, Label

LEAST_CHARACTER = 0.15
"""MCut chooses no character below this score, because most images show none that the tagger knows."""
RATINGS = ("none", "first", "last")


@dataclass(frozen=True)
class ScoredTag:
    """A tag as it will be written, its category, and how certain the tagger is (0..1)."""

    name: str
    category: str
    score: float


@dataclass(frozen=True)
class PictureTags:
    """A tagger's result for one image.

    Attributes:
        tags: the chosen tags: characters first, then the others, in each group the most certain first.
        rating: the likeliest rating, whether it was chosen or not; None if the tagger gives none.
    """

    tags: tuple[ScoredTag, ...]
    rating: ScoredTag | None = None

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(tag.name for tag in self.tags)

    @property
    def caption(self) -> str:
        return join_tags(self.names)

    @property
    def scores(self) -> dict[str, float]:
        """Score by tag, keyed as tags are compared (`captions.tags.same_tag`)."""
        return {same_tag(tag.name): tag.score for tag in self.tags}


@dataclass(frozen=True, kw_only=True)
class TagChoice:
    """Which of a tagger's tags become the caption.

    Attributes:
        general, character: lowest score of a tag; None: what the model's makers recommend. Other categories use
            `general`.
        mcut: instead of thresholds, cut each category at the widest gap between two successive scores
            (Largeron et al., 2012).
        categories: the categories that are written, beside the rating.
        rating: place of the rating among the tags: none, first, or last.
        underscores: write `long_hair` instead of `long hair`.
        blacklist: tags that are never written.
        most: maximum number of tags, the most certain ones; 0: no limit.
    """

    general: float | None = None
    character: float | None = None
    mcut: bool = False
    categories: tuple[str, ...] = ("character", "general")
    rating: str = "none"
    underscores: bool = False
    blacklist: tuple[str, ...] = ()
    most: int = 0

    def __post_init__(self) -> None:
        for name in ("general", "character"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise UserError(f"the {name} threshold is {value}; it must be from 0 to 1, such as 0.35.")
        for category in self.categories:
            if category not in CATEGORIES:
                raise unknown_name("tag category", category, CATEGORIES)
        if self.rating not in RATINGS:
            raise unknown_name("place for the rating", self.rating, RATINGS)
        if self.most < 0:
            raise UserError(f"most is {self.most}; it must be 0 (all tags) or more.")


def mcut(scores: np.ndarray) -> float:
    """The middle of the widest gap between two successive scores; infinite if no score stands out."""
    ordered = np.sort(np.asarray(scores, dtype=np.float64))[::-1]
    gaps = ordered[:-1] - ordered[1:]
    if not len(gaps) or gaps.max() <= 0:
        return math.inf
    widest = int(gaps.argmax())
    return float(ordered[widest] + ordered[widest + 1]) / 2


class Chooser:
    """A choice prepared for one tagger's labels, for many images."""

    def __init__(self, labels: Sequence[Label], choice: TagChoice, defaults: Mapping[str, float]) -> None:
        """`defaults`: the model's own threshold of each category."""
        self.labels, self.choice, self.defaults = labels, choice, defaults
        refused = {same_tag(tag) for tag in choice.blacklist}
        self.written = [label.name if choice.underscores else spaced(label.name) for label in labels]
        self.places: dict[str, np.ndarray] = {
            category: np.array([i for i, label in enumerate(labels) if label.category == category and label.name
                                and same_tag(label.name) not in refused], dtype=int)
            for category in CATEGORIES}

    def threshold(self, category: str, scores: np.ndarray) -> float:
        """Lowest score of a tag of the category, given the scores of all its tags."""
        if self.choice.mcut:
            return max(mcut(scores), LEAST_CHARACTER) if category == "character" else mcut(scores)
        own = self.choice.character if category == "character" else self.choice.general
        return self.defaults[category] if own is None else own

    def choose(self, scores: np.ndarray) -> PictureTags:
        """The tags of one image from its scores [L] in 0..1, in the order of the labels."""
        tags: list[ScoredTag] = []
        # An image has exactly one rating, so no threshold decides it.
        for category in sorted(set(self.choice.categories) - {"rating"}, key=_rank):
            tags += self._category(category, scores)
        if self.choice.most:
            surest = sorted(tags, key=lambda tag: -tag.score)[:self.choice.most]
            tags = [tag for tag in tags if tag in surest]
        rating = self._rating(scores)
        if rating and self.choice.rating != "none":
            tags = [rating, *tags] if self.choice.rating == "first" else [*tags, rating]
        return PictureTags(tuple(tags), rating)

    def _category(self, category: str, scores: np.ndarray) -> list[ScoredTag]:
        places = self.places[category]
        own = scores[places]
        # Compared in the model's own precision: 0.35 in float32 is a little above 0.35.
        kept = places[own >= np.asarray(self.threshold(category, own), dtype=own.dtype)] if len(places) else places
        surest_first = kept[np.argsort(-scores[kept], kind="stable")]
        return [ScoredTag(self.written[i], category, float(scores[i])) for i in surest_first]

    def _rating(self, scores: np.ndarray) -> ScoredTag | None:
        places = self.places["rating"]
        if not len(places):
            return None
        best = int(places[scores[places].argmax()])
        return ScoredTag(self.written[best], "rating", float(scores[best]))


def _rank(category: str) -> int:
    order = ("character", "copyright", "artist", "general", "meta", "quality", "model")
    return order.index(category)
