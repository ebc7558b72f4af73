"""The loss of a diffusion model: noise, target, density of times, and weight. Pure functions and tables.

Times t are in [0, 1], 0 clean and 1 pure noise. Every schedule mixes x_t = alpha·x0 + sigma·noise, so
eps, v (Salimans & Ho, 2202.00512), and rectified flow (2209.03003) differ only in their table row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .config import ObjectiveConfig
from .families import Family


class NoiseSchedule(Protocol):
    """How much signal and noise there is at time t."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at times t [B], each [B] float32."""


@dataclass(frozen=True)
class DiscreteSchedule:
    """The schedule of Stable Diffusion: a table of cumulative alphas, one row a training timestep."""

    alphas_cumprod: Tensor

    def timesteps(self, t: Tensor) -> Tensor:
        """The table rows [B] (int64) that times t [B] fall into."""
        count = len(self.alphas_cumprod)
        return (t * count).long().clamp(0, count - 1)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        signal = self.alphas_cumprod.to(t.device)[self.timesteps(t)].float()
        return signal.sqrt(), (1 - signal).sqrt()


@dataclass(frozen=True)
class FlowSchedule:
    """The straight path of rectified flow: x_t = (1 - t)·x0 + t·noise."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t


@dataclass(frozen=True)
class Objective:
    """What a network predicts.

    Attributes:
        target: (x0, noise, alpha, sigma) → the right answer.
        x0_gain: (alpha, sigma) → by what a prediction error is multiplied to become an error of x0.
    """

    target: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    x0_gain: Callable[[Tensor, Tensor], Tensor]


OBJECTIVES = {
    "eps": Objective(lambda x0, noise, alpha, sigma: noise, lambda alpha, sigma: sigma / alpha),
    "v": Objective(lambda x0, noise, alpha, sigma: alpha * noise - sigma * x0, lambda alpha, sigma: sigma),
    "flow": Objective(lambda x0, noise, alpha, sigma: noise - x0, lambda alpha, sigma: sigma),
}


def _logit_normal(u: Tensor, settings: ObjectiveConfig) -> Tensor:
    return torch.sigmoid(math.sqrt(2) * torch.erfinv(2 * u.clamp(1e-6, 1 - 1e-6) - 1))


def _shifted(u: Tensor, settings: ObjectiveConfig) -> Tensor:
    return settings.density_shift * u / (1 + (settings.density_shift - 1) * u)


DENSITIES: dict[str, Callable[[Tensor, ObjectiveConfig], Tensor]] = {
    # each maps uniform u in (0, 1) through the density's inverse distribution function
    "uniform": lambda u, settings: u,
    "logit_normal": _logit_normal,
    "shifted": _shifted,
}


def _min_snr(alpha: Tensor, sigma: Tensor, objective: Objective, gamma: float) -> Tensor:
    """Min-SNR-γ (2303.09556): weight min(SNR, γ) on the x0 error, whatever the network predicts."""
    snr = (alpha / sigma.clamp_min(1e-8)) ** 2
    return snr.clamp(max=gamma) * objective.x0_gain(alpha, sigma) ** 2


WEIGHTINGS: dict[str, Callable[[Tensor, Tensor, Objective, float], Tensor]] = {
    "none": lambda alpha, sigma, objective, gamma: torch.ones_like(sigma),
    "min_snr": _min_snr,
}


@dataclass(frozen=True)
class Loss:
    """The training loss of one family under one config."""

    objective: Objective
    schedule: NoiseSchedule
    density: str
    weighting: str
    settings: ObjectiveConfig

    @classmethod
    def of(cls, family: Family, schedule: NoiseSchedule, settings: ObjectiveConfig) -> Loss:
        return cls(
            OBJECTIVES[family.objective],
            schedule,
            settings.timestep_density or family.timestep_density,
            settings.weighting or family.weighting,
            settings,
        )

    def times(self, u: Tensor) -> Tensor:
        """Uniform numbers u [B] in (0, 1) → times of the chosen density."""
        return DENSITIES[self.density](u, self.settings)

    def per_sample(self, prediction: Tensor, latents: Tensor, noise: Tensor, t: Tensor,
                   mean: Callable[[Tensor], Tensor] = lambda error: error.flatten(1).mean(1)) -> Tensor:
        """Weighted squared error [B] of a prediction at times t [B].

        `mean` makes of the squared error [B, C, ...] one number [B] a sample; by default all elements count alike.
        """
        alpha, sigma = self.schedule.coefficients(t)
        target = self.objective.target(latents, noise, per_row(alpha, latents), per_row(sigma, latents))
        error = mean((prediction.float() - target.float()).pow(2))
        return error * WEIGHTINGS[self.weighting](alpha, sigma, self.objective, self.settings.min_snr_gamma)


def mix(schedule: NoiseSchedule, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t = alpha·latents + sigma·noise at times t [B]."""
    alpha, sigma = schedule.coefficients(t)
    return per_row(alpha, latents) * latents + per_row(sigma, latents) * noise


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """[B] → [B, 1, 1, …], to be multiplied with `like` [B, …]."""
    return values.view(-1, *[1] * (like.ndim - 1))
