"""Images that do not look like the others of a folder that shows one character: someone else among them.

How alike images of one character are depends on the character, the views and what measures it, so an image is held
against the folder itself. bench/outliers.py measures how many planted images are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from PIL import ImageOps
from torch import Tensor

from ..captions.kinds import KINDS
from ..common.tensor_cache import TensorCache
from ..datasets.dataset import Sample
from ..pictures.images import to_tensor
from ..pictures.probe import mark_of_eye
from .checks import Finding
from .config import AuditConfig

LEAST_IMAGES = 8
"""A folder with fewer images has no common look."""
NEAR_SHARE, LEAST_NEAR = 0.25, 2
"""Share of the other images, the most alike ones, that an image is compared with: a view from behind is like other
views from behind, and two images of someone else are like each other but not like so many."""
FAR = 5.0
"""Robust standard deviations below the folder's median from which on an image is reported."""
LEAST_SPREAD = 0.02
"""Images whose likeness differs by less are alike."""
MOST_SIDE = 448
"""Pixels a side of the square that is looked at."""


class Eye(Protocol):
    """What measures likeness, as trainer/measures/eyes.py has it."""

    name: str

    def embed(self, pixels: Tensor) -> Tensor:
        """[B, D], rows L2-normalised, of images [B, 3, H, W] in 0..1."""


def compares_looks(config: AuditConfig) -> bool:
    """Whether an audit compares looks, which needs an eye: images of one subject should look alike."""
    return not config.copies_only and config.purpose in KINDS and KINDS[config.purpose].likeness > 1


class LookReader:
    """Embeds the images of a folder with one eye. A cache holds them by what the eye makes of a fixed image, because
    two models may have the same name."""

    def __init__(self, eye: Eye, side: int, cache: TensorCache | None) -> None:
        self._eye, self._side, self._cache = eye, min(side, MOST_SIDE), cache
        self._mark = "" if cache is None else mark_of_eye(eye.name, eye.embed)

    def embed(self, sample: Sample, content: str) -> Tensor:
        """[D], the embedding of an image whose content has that hash. Raises UserError if it cannot be read."""
        parts = {"what": "look", "image": content, "eye": self._mark, "side": self._side, "form": 1}
        found = self._compute(sample) if self._cache is None else self._cache.get(parts, lambda: self._compute(sample))
        return found["look"]

    def _compute(self, sample: Sample) -> dict[str, Tensor]:
        side = self._side
        image = sample.load(shown_at=side)
        square = ImageOps.pad(image, (side, side), color=tuple(image.crop((0, 0, 1, 1)).tobytes()))
        return {"look": self._eye.embed(to_tensor(square)[None])[0].float().cpu()}


def measure_looks(embeddings: Tensor) -> Tensor:
    """[N] how like the others each image is: its mean cosine to the quarter of them that it is most like."""
    cosines = embeddings @ embeddings.T
    cosines.fill_diagonal_(-2)
    near = max(LEAST_NEAR, int(NEAR_SHARE * len(embeddings)))
    return cosines.topk(min(near, len(embeddings) - 1), dim=1).values.mean(1)


def look_findings(embeddings: Sequence[Tensor | None]) -> list[Finding | None]:
    """For each image, whether it looks unlike the others; None for images that were not measured."""
    found: list[Finding | None] = [None] * len(embeddings)
    places = [place for place, embedding in enumerate(embeddings) if embedding is not None]
    if len(places) < LEAST_IMAGES:
        return found
    likeness = measure_looks(torch.stack([row for row in embeddings if row is not None]))
    middle = likeness.median()
    spread = max(LEAST_SPREAD, 1.4826 * float((likeness - middle).abs().median()))
    limit = float(middle) - FAR * spread
    for place, value in zip(places, likeness.tolist(), strict=True):
        if value < limit:
            found[place] = Finding(
                "other look", "warning", round(value, 3), round(limit, 3),
                f"looks unlike the others: likeness {value:.2f}, most have about {float(middle):.2f}; look whether it "
                "shows someone else, and leave it out if so.")
    return found
