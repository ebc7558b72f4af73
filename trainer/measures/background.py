"""Whether an image repeats the background of another, whoever stands before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..pictures.filters import rgb_to_lab
from ..pictures.images import to_tensor
from .subject import subject_mask

_SIDE = 32
_LEAST_SHARED = 0.06
"""Share of the image that must be background in both."""
_PLAIN = 5.0
"""A background whose CIELAB colours vary by less is plain. It is not copied, it is only white."""
_SAME = 0.8
"""Correlation above which two backgrounds are one."""
_NEAR, _LEAST_NEAR = 12.0, 0.4
"""Two backgrounds can be one if their colours are this near, in CIELAB, along this share of the border."""
_BORDER = np.pad(np.zeros((_SIDE - 6, _SIDE - 6), dtype=bool), 3, constant_values=True)


@dataclass(frozen=True)
class Background:
    """An image, and its small copy [3, 32, 32] in CIELAB."""

    image: Image.Image
    lab: NDArray[np.float32]

    @cached_property
    def there(self) -> NDArray[np.bool_]:
        """[32, 32] where no subject is. This takes long, so only backgrounds that agree at the border come to it."""
        subject = subject_mask(self.image).resize((_SIDE, _SIDE), Image.Resampling.BOX)
        return ~ndimage.binary_dilation(np.asarray(subject) >= 64)


def read_background(image: Image.Image) -> Background:
    """The background of an RGB image."""
    small = image.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    return Background(image, rgb_to_lab(to_tensor(small)[None])[0].numpy().astype(np.float32))


def copies_background(own: Background, others: Sequence[Background]) -> bool:
    """Whether a background is one of the others, where neither shows its subject."""
    return any(_is_same(own, other) for other in others)


def _agree_at_border(a: Background, b: Background) -> bool:
    borders = [side.lab[:, _BORDER] for side in (a, b)]
    near = np.linalg.norm(borders[0] - borders[1], axis=0) < _NEAR
    return near.mean() > _LEAST_NEAR and all(np.linalg.norm(border.std(1)) > _PLAIN for border in borders)


def _is_same(a: Background, b: Background) -> bool:
    if not _agree_at_border(a, b):
        return False
    shared = a.there & b.there
    if shared.mean() < _LEAST_SHARED:
        return False
    rows = [side.lab[:, shared] for side in (a, b)]
    rows = [row - row.mean(1, keepdims=True) for row in rows]
    spreads = [float(np.sqrt((row**2).sum(0).mean())) for row in rows]
    if min(spreads) < _PLAIN:
        return False
    return float((rows[0] * rows[1]).sum(0).mean()) / (spreads[0] * spreads[1]) > _SAME
