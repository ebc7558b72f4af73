"""Likeness of images to the originals, by an eye's embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..captions.views import ViewPrompt
from ..datasets.dataset import Dataset
from ..pictures.images import to_tensor
from .eyes import Likeness


def likeness_to(embeddings: Tensor, anchors: Tensor) -> Tensor:
    """[N] mean cosine to the two nearest anchors, so that a close-up may resemble the close-up crops."""
    return (embeddings @ anchors.T).topk(min(2, len(anchors)), dim=1).values.mean(1)


def leave_one_out(anchors: Tensor) -> Tensor:
    """[A] each anchor's likeness to the other anchors; a lone anchor is compared with itself."""
    if len(anchors) == 1:
        return torch.ones(1)
    rows = [likeness_to(anchors[i : i + 1], torch.cat([anchors[:i], anchors[i + 1 :]])) for i in range(len(anchors))]
    return torch.cat(rows)


def tag_recall(pixels: Tensor, prompts: Sequence[ViewPrompt], eye: Likeness, threshold: float) -> Tensor | None:
    """[N] share of each image's requested tags that the eye sees; NaN where it knows none of them."""
    tags = sorted({tag for prompt in prompts for tag in prompt.tags})
    read = eye.read_tags(pixels, tags)
    if read is None:
        return None
    asked = torch.tensor([[tag in prompt.tags for tag in tags] for prompt in prompts])
    asked &= ~read.isnan()
    return ((read >= threshold) & asked).sum(1) / asked.sum(1).where(asked.any(1), torch.tensor(float("nan")))


def anchor_pixels(crops: Dataset, size: tuple[int, int]) -> Tensor:
    """The crops [A, 3, H, W] in 0..1 at (width, height), padded with the colour of their corner."""
    images = [crop.load() for crop in crops]
    return torch.stack([to_tensor(ImageOps.pad(image, size, color=_corner_colour(image))) for image in images])


def _corner_colour(image: Image.Image) -> tuple[int, ...]:
    return tuple(image.crop((0, 0, 1, 1)).tobytes())
