"""Training on a part of an image: losses weighted by a mask, and a prior that keeps the rest as the base predicts it.

As in OneTrainer (its masked training and masked prior preservation): loss = clamp(mask, u, 1) * error² +
(1 - mask) * w * (prediction - the base's own prediction)².
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from .config import PRIOR_WEIGHT, UNMASKED_WEIGHT


def latent_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask [..., H, W] in 0..1 at the latents' (height, width): the share of each latent's pixels that is masked.

    Returns [B, 1, h, w] for [B, 1, H, W], and [1, h, w] for [1, H, W].
    """
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask.float()
    flat = mask.float().reshape(-1, 1, *mask.shape[-2:])
    return F.adaptive_avg_pool2d(flat, size).reshape(*mask.shape[:-2], *size)


def masked_loss(error: Tensor, mask: Tensor, unmasked_weight: float = UNMASKED_WEIGHT,
                normalize: bool = True) -> Tensor:
    """The mean [B] of the error, each place weighted by the mask.

    Args:
        error: [B, C, ..., h, w] squared error of each latent value (with a frame axis for video-shaped latents).
        mask: [B, 1, h, w] in 0..1, as `latent_mask` returns it. A row of ones trains on the whole image.
        unmasked_weight: weight of a place outside the mask relative to one inside, 0..1.
        normalize: divide by the mean weight, so that a small subject trains as strongly as a large one.

    With all ones the result is the plain mean.
    """
    weight = _as_wide_as(mask.clamp(unmasked_weight, 1.0), error)
    loss = (error * weight).flatten(1).mean(1)
    if not normalize:
        return loss
    return loss / weight.flatten(1).mean(1).clamp(min=1e-3)


def masked_prior(prediction: Tensor, base_prediction: Tensor, mask: Tensor, weight: float = PRIOR_WEIGHT) -> Tensor:
    """The loss [B] to add so that outside the mask the network still predicts what the base predicts.

    Args:
        prediction: [B, C, ..., h, w] of the network in training.
        base_prediction: the same from the base alone (adapters off), without gradients.
        mask: [B, 1, h, w] in 0..1.
        weight: strength; 0 gives zeros. Rows that are masked all over give 0.
    """
    outside = _as_wide_as(1 - mask, prediction)
    return weight * (outside * (prediction - base_prediction.detach()) ** 2).flatten(1).mean(1)


def _as_wide_as(mask: Tensor, latents: Tensor) -> Tensor:
    """The mask [B, 1, h, w] with as many axes as the latents, the new ones before height and width."""
    if mask.shape[-2:] != latents.shape[-2:] or len(mask) != len(latents):
        raise ValueError(f"mask {list(mask.shape)} does not fit latents {list(latents.shape)}")
    return mask.to(latents.dtype).reshape(len(mask), *[1] * (latents.ndim - 3), *mask.shape[-2:])
