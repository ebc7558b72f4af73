"""What the captions of a dataset say as a whole: how often each tag occurs, which come together, what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..captions.classes import tag_class
from ..captions.tags import same_tag, split_tags
from ..common.errors import UserError
from ..datasets.dataset import Dataset

MOST_PAIRED = 400
"""Number of tags whose pairs are counted, the most frequent ones."""
LEAST_TOGETHER = 3
"""Number of images that a pair must share to be reported."""


@dataclass(frozen=True)
class TagCount:
    """A tag, the number of its images, their share of all (0..1), and its class (`captions.classes.ORDER`)."""

    tag: str
    count: int
    share: float
    tag_class: str


@dataclass(frozen=True)
class TagPair:
    """Two tags, the number of images that have both, and their share of those with either (Jaccard, 0..1)."""

    first: str
    second: str
    count: int
    overlap: float


@dataclass(frozen=True)
class TagStatistics:
    """Figures about a dataset's captions.

    Attributes:
        pictures: number of images; uncaptioned: number of those without a caption.
        tags: the tags without the trigger, the most frequent first.
        everywhere: tags in every image, which the trigger learns too.
        once: tags in a single image, which are too rare to be learnt.
        pairs: tags that come together, the most alike first.
        lacking_trigger: images whose caption lacks the trigger; empty if no trigger was asked for.
    """

    pictures: int
    uncaptioned: int
    trigger: str
    tags: tuple[TagCount, ...]
    everywhere: tuple[str, ...]
    once: tuple[str, ...]
    pairs: tuple[TagPair, ...]
    lacking_trigger: tuple[Path, ...]

    @property
    def inseparable(self) -> tuple[TagPair, ...]:
        """Pairs that always come together, but not in every image: a LoRA cannot tell one from the other."""
        return tuple(pair for pair in self.pairs if pair.overlap == 1.0 and pair.count < self.pictures)

    def text(self, most: int = 40, gap: str = "  ") -> str:
        """A table for people, with advice; `gap` is what is between two columns."""
        lines = [f"{self.pictures} images, {len(self.tags)} different tags"]
        lines += [f"note: {note}" for note in self.notes()]
        width = max((len(entry.tag) for entry in self.tags[:most]), default=0)
        lines += [f"{entry.count:5} {entry.share:4.0%}{gap}{entry.tag:{width}}{gap}{entry.tag_class}"
                  for entry in self.tags[:most]]
        if len(self.tags) > most:
            lines.append(f"… and {len(self.tags) - most} more, {len(self.once)} of them in only one image")
        return "\n".join(lines)

    def notes(self) -> list[str]:
        """What the user should know, one line each."""
        notes = []
        if self.uncaptioned:
            notes.append(f"{self.uncaptioned} images have no caption.")
        if self.lacking_trigger:
            names = ", ".join(path.name for path in self.lacking_trigger[:3])
            more = ", …" if len(self.lacking_trigger) > 3 else ""
            notes.append(f"{len(self.lacking_trigger)} captions lack the trigger {self.trigger!r}: {names}{more}.")
        traits = [tag for tag in self.everywhere if tag_class(tag) in ("identity", "outfit", "style")]
        if traits:
            notes.append(f"in every image: {', '.join(traits[:12])}. The trigger can absorb them.")
        others = [tag for tag in self.everywhere if tag not in traits and tag_class(tag) not in ("class", "count")]
        if others:
            notes.append(f"in every image: {', '.join(others[:12])}. Add images without them, or the trigger learns "
                         "them.")
        for pair in self.inseparable[:5]:
            notes.append(f"{pair.first!r} and {pair.second!r} always come together ({pair.count} images).")
        return notes

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"pictures": self.pictures, "uncaptioned": self.uncaptioned, "trigger": self.trigger,
                "tags": [{"tag": entry.tag, "count": entry.count, "share": round(entry.share, 4),
                          "class": entry.tag_class} for entry in self.tags],
                "everywhere": list(self.everywhere), "once": list(self.once), "notes": self.notes(),
                "pairs": [{"first": pair.first, "second": pair.second, "count": pair.count,
                           "overlap": round(pair.overlap, 4)} for pair in self.pairs],
                "lacking_trigger": [path.name for path in self.lacking_trigger]}


def tag_statistics(dataset: Dataset, trigger: str = "", most_pairs: int = 50) -> TagStatistics:
    """Count the tags of a dataset. Each image counts once, whatever its repeats. Raises UserError if it is empty."""
    if not len(dataset):
        raise UserError("the dataset is empty, so there are no tags to count; add images.")
    captions = [dict.fromkeys(same_tag(tag) for tag in split_tags(sample.caption)) for sample in dataset]
    triggers = {same_tag(tag) for tag in split_tags(trigger)}
    lacking = tuple(sample.path for sample, tags in zip(dataset, captions, strict=True)
                    if triggers and not _has(triggers, tags))
    counts = Counter(tag for tags in captions for tag in tags if tag not in triggers)
    ranked = [TagCount(tag, count, count / len(dataset), tag_class(tag)) for tag, count in counts.most_common()]
    return TagStatistics(
        pictures=len(dataset), uncaptioned=sum(not tags for tags in captions), trigger=trigger, tags=tuple(ranked),
        everywhere=tuple(entry.tag for entry in ranked if entry.count == len(dataset) > 1),
        once=tuple(entry.tag for entry in ranked if entry.count == 1),
        pairs=_pairs(captions, [entry.tag for entry in ranked if entry.count >= LEAST_TOGETHER][:MOST_PAIRED],
                     most_pairs),
        lacking_trigger=lacking)


def _has(triggers: set[str], tags: Sequence[str] | dict[str, None]) -> bool:
    """Whether the caption has all triggers, or is a sentence that begins with the only one."""
    first = next(iter(tags), "")
    return triggers <= set(tags) or (len(triggers) == 1 and first.startswith(next(iter(triggers)) + " "))


def _pairs(captions: Sequence[dict[str, None]], tags: Sequence[str], most: int) -> tuple[TagPair, ...]:
    places = {tag: place for place, tag in enumerate(tags)}
    table = np.zeros((len(captions), len(tags)), np.float32)
    for row, caption in enumerate(captions):
        table[row, [places[tag] for tag in caption if tag in places]] = 1
    both = table.T @ table
    alone = both.diagonal()
    overlap = np.triu(both / np.maximum(alone[:, None] + alone[None, :] - both, 1), 1)
    # A tag in every image comes together with all others, which says nothing.
    overlap *= (alone < len(captions))[:, None] & (alone < len(captions))[None, :]
    overlap *= both >= LEAST_TOGETHER
    order = np.argsort(-overlap, axis=None, kind="stable")[:most]
    found = [(int(place) // len(tags), int(place) % len(tags)) for place in order] if tags else []
    return tuple(TagPair(tags[i], tags[j], int(both[i, j]), float(overlap[i, j]))
                 for i, j in found if overlap[i, j] > 0)


_COLOURS = {"class": "#7f8c8d", "count": "#7f8c8d", "identity": "#c0392b", "outfit": "#d35400", "pose": "#2980b9",
            "view": "#16a085", "expression": "#8e44ad", "object": "#795548", "lighting": "#f39c12",
            "background": "#27ae60", "style": "#e84393", "quality": "#b2bec3", "other": "#636e72"}


def frequency_chart(statistics: TagStatistics, most: int = 30) -> Image.Image:
    """Bars of the most frequent tags, RGB, coloured by class."""
    rows, line, label, bar = statistics.tags[:most], 18, 190, 380
    image = Image.new("RGB", (label + bar + 70, line * max(1, len(rows)) + 12), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default()
    for number, entry in enumerate(rows):
        top = 6 + number * line
        text = entry.tag if len(entry.tag) <= 30 else entry.tag[:29] + "…"
        text = text.encode("latin-1", "replace").decode("latin-1")  # what the built-in font can draw
        left, _, right, bottom = font.getbbox(text)
        pen.text((label - 8 - (right - left), top + (line - bottom) // 2 - 1), text, fill="black", font=font)
        end = label + max(1, round(bar * entry.share))
        pen.rectangle((label, top + 2, end, top + line - 4), fill=_COLOURS[entry.tag_class])
        pen.text((end + 6, top + (line - bottom) // 2 - 1), str(entry.count), fill="black", font=font)
    return image
