"""Figures of images, from pixels alone: quality, memorisation, and a bootstrap round's drift.

Images are [B, 3, H, W] tensors in 0..1. Nothing here needs a model; likeness and tags are read in `eyes.py`. Sharpness:
variance of the Laplacian (Pech-Pacheco 2000).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..pictures.duplicates import Print, fingerprint_picture
from ..pictures.filters import laplacian, rgb_to_grayscale, rgb_to_lab
from ..pictures.images import to_image
from .remembered import per_image

SHARPNESS_SIDE = 256
HUES = 24


def resize_pixels(pixels: Tensor, side: int) -> Tensor:
    """The images as [B, 3, side, side], antialiased."""
    return F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)


@per_image
def sharpness(pixels: Tensor) -> Tensor:
    """[B] variance of the Laplacian of the grey image at a fixed size. A small image counts as a blurred one."""
    grey = rgb_to_grayscale(resize_pixels(pixels, SHARPNESS_SIDE))
    return laplacian(grey).flatten(1).var(1)


@per_image
def clipped_share(pixels: Tensor) -> Tensor:
    """[B] share of channel values at the ends of the range (<= 2 or >= 253 of 255)."""
    return ((pixels <= 2 / 255) | (pixels >= 253 / 255)).float().flatten(1).mean(1)


@per_image
def chroma(pixels: Tensor) -> Tensor:
    """[B] mean CIELAB chroma, 0 for grey."""
    lab = rgb_to_lab(pixels.clamp(0, 1))
    return lab[:, 1:].norm(dim=1).flatten(1).mean(1)


@per_image
def contrast(pixels: Tensor) -> Tensor:
    """[B] mean local contrast: the grey image's standard deviation within 1/8-side squares."""
    grey = rgb_to_grayscale(resize_pixels(pixels, 64))
    mean = F.avg_pool2d(grey, 8)
    return (F.avg_pool2d(grey**2, 8) - mean**2).clamp(min=0).sqrt().flatten(1).mean(1)


@per_image
def high_frequency(pixels: Tensor) -> Tensor:
    """[B] share of the spectrum's power (without the mean) above half the Nyquist frequency."""
    grey = rgb_to_grayscale(pixels)[:, 0]
    power = torch.fft.rfft2(grey - grey.mean((1, 2), keepdim=True)).abs() ** 2
    rows = torch.fft.fftfreq(grey.shape[1], device=grey.device).abs()[:, None]
    columns = torch.fft.rfftfreq(grey.shape[2], device=grey.device)[None]
    high = (torch.maximum(rows, columns.expand(len(rows), -1)) > 0.25).float()
    return (power * high).flatten(1).sum(1) / power.flatten(1).sum(1).clamp(min=1e-12)


def fingerprints(pixels: Tensor) -> list[Print]:
    """[B] fingerprints by which `pictures.duplicates` finds near copies."""
    return [fingerprint_picture(to_image(picture)) for picture in pixels]


@per_image
def scene_embedding(pixels: Tensor) -> Tensor:
    """[B, 192] colour layout of the image (8 x 8 CIELAB). It varies with pose and scene, and hardly with identity."""
    return rgb_to_lab(resize_pixels(pixels, 8)).flatten(1) / 100


@per_image
def hue_shares(pixels: Tensor) -> Tensor:
    """[B, 24] for each 15-degree hue, the share of the image's pixels with a clear colour (CIELAB chroma above 20)."""
    lab = rgb_to_lab(pixels.clamp(0, 1)).flatten(2)
    hue = torch.atan2(lab[:, 2], lab[:, 1]) / (2 * math.pi) % 1
    place = (hue * HUES).long().clamp(max=HUES - 1)
    clear = (lab[:, 1:].norm(dim=1) > 20).float()
    return torch.zeros(len(pixels), HUES, device=pixels.device).scatter_add_(1, place, clear) / place.shape[1]


def trait_weights(anchors: Tensor, reference: Tensor) -> Tensor:
    """[24] in 0..1: hues that the original shows at least twice as much as the base does when given its tags.

    These are the things that no tag describes: an emblem, an odd eye, a coloured strand.
    """
    own, usual = hue_shares(anchors).mean(0), hue_shares(reference).mean(0)
    return ((own - 2 * usual) / (own + usual).clamp(min=1e-9)).clamp(min=0) * (own > 0.004)


def trait_share(pixels: Tensor, anchors: Tensor, reference: Tensor) -> Tensor | None:
    """[B] in 0..1: how fully images show the original's colours that no tag describes; None if it has none."""
    weights = trait_weights(anchors, reference)
    if weights.sum() == 0:
        return None
    shown = (hue_shares(pixels) / hue_shares(anchors).mean(0).clamp(min=1e-9)).clamp(max=1)
    return (shown * weights).sum(1) / weights.sum()


def robust_z(values: Tensor, reference: Tensor) -> Tensor:
    """(values - median) / (1.4826 MAD) of the reference. The spread has a floor, so that near-constant figures do not
    explode.

    Args:
        values, reference: [N] and [R]; the result is [N].
    """
    center = reference.median()
    spread = 1.4826 * (reference - center).abs().median()
    floor = torch.maximum(0.25 * reference.std(unbiased=False), 0.02 * center.abs())
    return (values - center) / torch.maximum(spread, floor).clamp(min=1e-6)


BURN_FIGURES = {
    "chroma": chroma,
    "clipped": clipped_share,
    "high_frequency": high_frequency,
    "contrast": contrast,
}
"""Figures that rise when a LoRA is burnt."""


def burn_z(pixels: Tensor, reference: Tensor) -> Tensor:
    """[B] the largest robust z of the burn figures against images of the base model for the same kind of prompts."""
    return _burn_figures(pixels, reference).amax(0)


def burn_level(pixels: Tensor, reference: Tensor) -> float:
    """The burn of a whole set: the median z of each figure over the set, then the largest. About 0 for the base's own
    images."""
    return _burn_figures(pixels, reference).median(1).values.max().item()


def _burn_figures(pixels: Tensor, reference: Tensor) -> Tensor:
    return torch.stack([robust_z(figure(pixels), figure(reference)) for figure in BURN_FIGURES.values()])


def cosine_drift(accepted: Tensor, anchors: Tensor) -> float:
    """D = 1 - cos(mean of the accepted, mean of the anchors), of likeness embeddings [N, D]."""
    return 1 - F.cosine_similarity(accepted.mean(0), anchors.mean(0), dim=0).item()


def diversity(scenes: Tensor) -> float:
    """V: mean distance between two different rows of scene embeddings [N, D]; 0 for fewer than two."""
    if len(scenes) < 2:
        return 0.0
    return torch.pdist(scenes).mean().item()


def copied(pixels: Tensor, training: Tensor) -> Tensor:
    """[N] similarity in 0..1 to the nearest training image: correlation of the 16-pixel colour thumbnails.

    1 is the same image. It compares layout and colours, not likeness: two poses of one character differ.
    """
    def rows(batch: Tensor) -> Tensor:
        flat = resize_pixels(batch, 16).flatten(1)
        return F.normalize(flat - flat.mean(1, keepdim=True), dim=1)

    return (rows(pixels) @ rows(training).T).amax(1).clamp(0, 1)
