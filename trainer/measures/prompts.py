"""What test images show of their prompts, and how alike they are, prompt by prompt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..captions.tags import same_tag, split_tags
from .eyes import Likeness

SEEN = 0.5
"""A tag counts as shown if the eye gives it this probability."""


@dataclass(frozen=True)
class PromptFigures:
    """The images of one prompt.

    Attributes:
        cells: how many there are.
        likeness: mean cosine to the two most similar training images.
        shown: share of its tags that the images show.
        missed: its tags that none of them shows.
    """

    prompt: str
    cells: int
    likeness: float | None = None
    shown: float | None = None
    missed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShownTags:
    """What an eye sees in each image of the tags that are asked for.

    Attributes:
        tags: all that any prompt asks for.
        seen, wanted: bool, images × tags. What the eye does not know is not wanted.
    """

    tags: tuple[str, ...]
    seen: Tensor
    wanted: Tensor

    def share(self, images: Sequence[int] | None = None) -> float | None:
        """The share of the tags asked of these images (None: all) that they show; None if no tag was asked."""
        rows = slice(None) if images is None else list(images)
        wanted = self.wanted[rows]
        return (self.seen[rows] & wanted).sum().item() / wanted.sum().item() if wanted.any() else None

    def missed(self, images: Sequence[int]) -> tuple[str, ...]:
        """The tags that these images should show and none of them does."""
        rows = list(images)
        absent = self.wanted[rows].any(0) & ~(self.seen[rows] & self.wanted[rows]).any(0)
        return tuple(tag for tag, is_absent in zip(self.tags, absent.tolist(), strict=True) if is_absent)


def read_shown(eye: Likeness | None, pixels: Tensor, prompts: Sequence[str],
               unread: Collection[str]) -> ShownTags | None:
    """Which of the requested tags the eye sees; None if it reads none.

    Args:
        pixels: N x 3 x H x W, an image for each prompt.
        unread: words that no tagger knows, such as triggers.
    """
    if eye is None:
        return None
    unread = {same_tag(word) for word in unread}
    asked = [[tag for tag in split_tags(prompt) if same_tag(tag) not in unread] for prompt in prompts]
    tags = sorted({tag for row in asked for tag in row})
    read = eye.read_tags(pixels, tags) if tags else None
    if read is None:
        return None
    wanted = torch.tensor([[tag in row for tag in tags] for row in asked]) & ~read.isnan()
    return ShownTags(tuple(tags), read >= SEEN, wanted)


def prompt_shown(eye: Likeness | None, pixels: Tensor, prompts: Sequence[str], unread: Collection[str]) -> float | None:
    """The share of the requested tags known to the eye that it sees; None if it knows none of them."""
    shown = read_shown(eye, pixels, prompts, unread)
    return None if shown is None else shown.share()


def figures_by_prompt(prompts: Sequence[str], likeness: Tensor | None,
                      shown: ShownTags | None) -> tuple[PromptFigures, ...]:
    """The figures of each prompt, in the order of the images; none if nothing was measured.

    Args:
        prompts: that of each image.
        likeness: of each image.
    """
    if likeness is None and shown is None:
        return ()
    groups: dict[str, list[int]] = {}
    for place, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(place)
    return tuple(PromptFigures(
        prompt, len(places), None if likeness is None else likeness[places].mean().item(),
        None if shown is None else shown.share(places), () if shown is None else shown.missed(places))
        for prompt, places in groups.items())
