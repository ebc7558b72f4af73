"""How much signal and noise there is at time t in [0, 1], 0 clean and 1 pure noise: x_t = alpha·x0 + sigma·noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from .devices import to_device


class NoiseSchedule(Protocol):
    """How much signal and noise there is at time t."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at times t [B], each [B] float32, on the device of t. In a training step t is on the CPU, and
        what is made of it is moved once: reading times from a card would wait for all that it still has to do."""


@dataclass(frozen=True)
class DiscreteSchedule:
    """The schedule of Stable Diffusion: a table of cumulative alphas, one row per training timestep."""

    alphas_cumprod: Tensor
    _tables: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False, compare=False)

    def timesteps(self, t: Tensor) -> Tensor:
        """The table rows [B] (int64) that times t [B] fall into."""
        count = len(self.alphas_cumprod)
        return (t * count).long().clamp(0, count - 1)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at times t [B], each [B] float32."""
        signal = self._table(t.device)[self.timesteps(t)].float()
        return signal.sqrt(), (1 - signal).sqrt()

    def _table(self, device: torch.device) -> Tensor:
        """The table on that device, moved there once."""
        if device == self.alphas_cumprod.device:
            return self.alphas_cumprod
        if device not in self._tables:
            self._tables[device] = self.alphas_cumprod.to(device)
        return self._tables[device]


def mix(schedule: NoiseSchedule, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = alpha·latents + sigma·noise at times t [B]."""
    alpha, sigma = schedule.coefficients(t)
    return per_row(alpha, latents) * latents + per_row(sigma, latents) * noise


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """[B] → [B, 1, 1, …] on the device of `like` [B, …], to be multiplied with it."""
    return to_device(values, like.device).view(-1, *[1] * (like.ndim - 1))
