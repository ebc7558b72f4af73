"""How a caption is varied from one time it is used to the next.

keep_tokens, shuffling and tag dropout mean what they mean in kohya's sd-scripts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ..captions.tags import add_trigger, join_tags, split_tags
from ..datasets.dataset import Sample
from .config import DataConfig


@dataclass(frozen=True)
class CaptionPolicy:
    """How a caption is varied from one time it is used to the next.

    Attributes:
        trigger: put first, and never dropped.
        keep_tokens: number of leading tags, the trigger included, that stay in place and are never dropped.
        shuffle: whether the tags after them come in random order.
        tag_dropout: the chance that each of the tags after them is left out.
    """

    trigger: str = ""
    keep_tokens: int = 1
    shuffle: bool = False
    tag_dropout: float = 0.0

    @classmethod
    def of(cls, sample: Sample, config: DataConfig) -> CaptionPolicy:
        """That of a sample; regularisation images get no trigger."""
        trigger = "" if sample.regularisation else config.trigger
        return cls(trigger, config.keep_tokens, config.shuffle_captions, config.tag_dropout)

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
        """At most `count` distinct variants, always the same for the same seed; fewer if there are not as many."""
        rng = random.Random(f"{seed}:{caption}")
        found = [self.apply(caption, rng)]
        for _ in range(8 * count if self.varies else 0):
            if len(found) >= count:
                break
            variant = self.apply(caption, rng)
            if variant not in found:
                found.append(variant)
        return found
