"""Captions as booru tags: the trigger in front, shuffling and dropping of tags, and what the tokenizer cuts off.

keep_tokens, shuffling and tag dropout mean what they mean in kohya's sd-scripts.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .config import DataConfig


def split_tags(caption: str) -> list[str]:
    """The parts between commas, trimmed, without empty ones."""
    return [tag for part in caption.split(",") if (tag := part.strip())]


def join_tags(tags: Iterable[str]) -> str:
    return ", ".join(tags)


def same_tag(tag: str) -> str:
    """What tags are compared by: `Long_Hair` and `long hair` are one tag, as are `1girl (solo)` with its escapes."""
    return " ".join(tag.replace("_", " ").replace("\\", "").split()).casefold()


def distinct_tags(tags: Iterable[str]) -> list[str]:
    """Each tag once, where it first stands and as it is spelled there."""
    found: dict[str, str] = {}
    for tag in tags:
        found.setdefault(same_tag(tag), tag)
    return list(found.values())


def add_trigger(tags: Sequence[str], trigger: str) -> list[str]:
    """The tags with the trigger first and only once. A sentence that begins with the trigger stays as it is."""
    triggers = split_tags(trigger)
    if not triggers or (len(triggers) == 1 and tags and same_tag(tags[0]).startswith(same_tag(trigger) + " ")):
        return list(tags)
    owned = {same_tag(tag) for tag in triggers}
    return triggers + [tag for tag in tags if same_tag(tag) not in owned]


def absorb(tags: Sequence[str], identity_tags: Iterable[str]) -> list[str]:
    """The tags without those that the trigger shall come to mean. Only exactly the listed ones go, in any case and
    with blank or underscore: `hair` leaves `long hair` alone."""
    owned = {same_tag(tag) for tag in identity_tags}
    return [tag for tag in tags if same_tag(tag) not in owned]


@dataclass(frozen=True)
class CaptionPolicy:
    """How a caption is varied from one showing to the next.

    Attributes:
        trigger: put first, and never dropped.
        keep_tokens: how many leading tags (the trigger being the first) stay in place and are never dropped.
        shuffle: the tags after them come in random order.
        tag_dropout: the chance of each of them to be left out.
    """

    trigger: str = ""
    keep_tokens: int = 1
    shuffle: bool = False
    tag_dropout: float = 0.0

    @classmethod
    def from_config(cls, config: DataConfig) -> CaptionPolicy:
        return cls(config.trigger, config.keep_tokens, config.shuffle_captions, config.tag_dropout)

    @property
    def varies(self) -> bool:
        return self.shuffle or self.tag_dropout > 0

    def apply(self, caption: str, rng: random.Random) -> str:
        """One variant of the caption."""
        tags = add_trigger(split_tags(caption), self.trigger)
        keep = max(self.keep_tokens, len(split_tags(self.trigger)))
        kept, rest = tags[:keep], tags[keep:]
        if self.tag_dropout > 0:
            rest = [tag for tag in rest if rng.random() >= self.tag_dropout]
        if self.shuffle:
            rng.shuffle(rest)
        return join_tags(kept + rest)

    def variants(self, caption: str, count: int, seed: int) -> list[str]:
        """At most `count` distinct variants, always the same for the same seed; fewer if there are no more."""
        rng = random.Random(f"{seed}:{caption}")
        found = [self.apply(caption, rng)]
        for _ in range(8 * count if self.varies else 0):
            if len(found) >= count:
                break
            variant = self.apply(caption, rng)
            if variant not in found:
                found.append(variant)
        return found


def tag_frequency(captions: Iterable[str]) -> dict[str, int]:
    """How many captions hold each tag, most frequent first."""
    counts = Counter(tag for caption in captions for tag in dict.fromkeys(split_tags(caption)))
    return dict(counts.most_common())


def truncation_report(captions: Iterable[str], token_count: Callable[[str], tuple[int, int]]) -> list[str]:
    """One line for each distinct caption of which the model does not hear the end.

    Args:
        token_count: caption → (its tokens, the tokens the model hears), as `Backbone.token_count`.
    """
    lines = []
    for caption in dict.fromkeys(captions):
        used, limit = token_count(caption)
        if used > limit:
            cut = caption[_heard(caption, token_count):].lstrip(" ,")
            lines.append(f"caption {_short(caption)!r} has {used} tokens, the model hears {limit}; "
                         f"cut from: {_short(cut)!r}")
    return lines


def _heard(caption: str, token_count: Callable[[str], tuple[int, int]]) -> int:
    """How many characters are heard, in whole words, found by bisection."""
    ends = [0] + [match.end() for match in re.finditer(r"[^\s,]+", caption)]
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high + 1) // 2
        used, limit = token_count(caption[:ends[middle]])
        low, high = (middle, high) if used <= limit else (low, middle - 1)
    return ends[low]


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[:length - 1].rstrip() + "…"
