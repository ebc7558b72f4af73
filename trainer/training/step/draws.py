"""What a step draws: the noise, what is added beside it, and the times. All are pure functions of the batch's number,
so a resumed run needs no state of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..feed import derived_seed
from ..objectives import Loss


@dataclass(frozen=True, eq=False)
class Draw:
    """Attributes:
        noise: [B, C, ...] what the network is to recognise.
        added: [B, C, ...] what the latents are mixed with; the noise itself without `ip_noise_gamma`.
        t: [B] times.
    """

    noise: Tensor
    added: Tensor
    t: Tensor


def draw_batch(loss: Loss, seed: int, index: int, shape: Sequence[int]) -> Draw:
    """What batch `index` of a run with this seed draws, on the CPU.

    `noise_offset` (Guttenberg, 2023) adds to the noise one number for each channel, so that light and dark as a whole
    are trained too. `ip_noise_gamma` (input perturbation: Ning et al., 2301.11706) adds noise that the network is not
    told of, as its own errors are when it draws.
    """
    settings = loss.settings
    generator = torch.Generator().manual_seed(derived_seed(seed, "noise", index))
    noise = torch.randn(tuple(shape), generator=generator)
    t = loss.times(torch.rand(shape[0], generator=generator))
    if settings.noise_offset:
        flat = (*shape[:2], *(1 for _ in shape[2:]))
        noise = noise + settings.noise_offset * _normal(flat, seed, "noise offset", index)
    added = noise
    if settings.ip_noise_gamma:
        added = noise + settings.ip_noise_gamma * _normal(shape, seed, "input perturbation", index)
    return Draw(noise, added, t)


def _normal(shape: Sequence[int], seed: int, purpose: str, index: int) -> Tensor:
    return torch.randn(tuple(shape), generator=torch.Generator().manual_seed(derived_seed(seed, purpose, index)))
