"""What kornia does to pixels: colour spaces, resizing, the Laplacian.

It is imported by the first call, because its 421 modules would slow every start of a ComfyUI, whether or not anything
is measured there.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor


def rgb_to_lab(pixels: Tensor) -> Tensor:
    """[B, 3, H, W] in 0..1 as CIELAB: L* in 0..100, a* and b* around 0."""
    return _kornia().color.rgb_to_lab(pixels)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """[B, 3, H, W] in CIELAB as RGB, cut to 0..1."""
    return _kornia().color.lab_to_rgb(lab)


def rgb_to_grayscale(pixels: Tensor) -> Tensor:
    """[B, 3, H, W] in 0..1 as [B, 1, H, W], with the weights of ITU-R BT.601."""
    return _kornia().color.rgb_to_grayscale(pixels)


def laplacian(grey: Tensor) -> Tensor:
    """[B, 1, H, W], each pixel's sum of differences to the eight around it."""
    return _kornia().filters.laplacian(grey, kernel_size=3, normalized=False)


def resize_bicubic(pixels: Tensor, height: int, width: int) -> Tensor:
    """[B, C, height, width], antialiased when it shrinks."""
    return _kornia().geometry.transform.resize(pixels, (height, width), interpolation="bicubic", antialias=True)


def _kornia() -> ModuleType:
    """The library. It makes tensors while it is imported; in the host's inference mode these would be useless for
    gradients, also to other packs."""
    with torch.inference_mode(False):
        import kornia
    return kornia
