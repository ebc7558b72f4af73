"""How much signal and noise there is at time t in [0, 1], 0 clean and 1 pure noise: x_t = alpha·x0 + sigma·noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class NoiseSchedule(Protocol):
    """How much signal and noise there is at time t."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at times t [B], each [B] float32."""


@dataclass(frozen=True)
class DiscreteSchedule:
    """The schedule of Stable Diffusion: a table of cumulative alphas, one row per training timestep."""

    alphas_cumprod: Tensor

    def timesteps(self, t: Tensor) -> Tensor:
        """The table rows [B] (int64) that times t [B] fall into."""
        count = len(self.alphas_cumprod)
        return (t * count).long().clamp(0, count - 1)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at times t [B], each [B] float32."""
        signal = self.alphas_cumprod.to(t.device)[self.timesteps(t)].float()
        return signal.sqrt(), (1 - signal).sqrt()


def mix(schedule: NoiseSchedule, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = alpha·latents + sigma·noise at times t [B]."""
    alpha, sigma = schedule.coefficients(t)
    return per_row(alpha, latents) * latents + per_row(sigma, latents) * noise


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """[B] → [B, 1, 1, …], to be multiplied with `like` [B, …]."""
    return values.view(-1, *[1] * (like.ndim - 1))
