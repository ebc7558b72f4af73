"""The loss of a diffusion model: noise, target, density of times, and weight. Pure functions and tables.

Times t are in [0, 1], 0 clean and 1 pure noise. Every schedule mixes x_t = alpha·x0 + sigma·noise, so
eps, v (Salimans & Ho, 2202.00512), and rectified flow (2209.03003) differ only in their table row.

The tables are read before torch is imported, by what checks the settings of the command line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..common.checks import check, check_choice
from ..models.families import Family

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.noise import NoiseSchedule


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The loss: which times are trained, and how much each counts. What is predicted is a fact of the family."""

    timestep_density: str | None = None
    """None: the family's own."""
    density_shift: float = 3.0
    """Shift of the `shifted` density (SD3 paper, eq. 23)."""
    weighting: str | None = None
    """None: the family's own; `none` or `min_snr`."""
    min_snr_gamma: float = 5.0

    def __post_init__(self) -> None:
        if self.timestep_density is not None:
            check_choice("timestep_density", self.timestep_density, DENSITIES)
        if self.weighting is not None:
            check_choice("weighting", self.weighting, WEIGHTINGS)
        check(self.density_shift > 0, "density_shift", self.density_shift, "greater than 0")
        check(self.min_snr_gamma > 0, "min_snr_gamma", self.min_snr_gamma, "greater than 0")


@dataclass(frozen=True)
class Objective:
    """What a network predicts.

    Attributes:
        target: (x0, noise, alpha, sigma) → what the network should predict.
        x0_gain: (alpha, sigma) → the factor that turns a prediction error into an error of x0.
    """

    target: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    x0_gain: Callable[[Tensor, Tensor], Tensor]


OBJECTIVES = {
    "eps": Objective(lambda x0, noise, alpha, sigma: noise, lambda alpha, sigma: sigma / alpha),
    "v": Objective(lambda x0, noise, alpha, sigma: alpha * noise - sigma * x0, lambda alpha, sigma: sigma),
    "flow": Objective(lambda x0, noise, alpha, sigma: noise - x0, lambda alpha, sigma: sigma),
}


def _logit_normal(u: Tensor, settings: ObjectiveConfig) -> Tensor:
    return (math.sqrt(2) * (2 * u.clamp(1e-6, 1 - 1e-6) - 1).erfinv()).sigmoid()


def _shifted(u: Tensor, settings: ObjectiveConfig) -> Tensor:
    return _shift(u, settings.density_shift)


def _shift(t: Tensor, shift: float) -> Tensor:
    return shift * t / (1 + (shift - 1) * t)


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
    "none": lambda alpha, sigma, objective, gamma: sigma.new_ones(sigma.shape),
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
    shift: float = 1.0
    """Shift of the density, beside the schedule's own."""

    @classmethod
    def of(cls, family: Family, schedule: NoiseSchedule, settings: ObjectiveConfig) -> Loss:
        import torch

        shift = 1.0
        if family.shift is not None and settings.timestep_density is None:
            alpha, sigma = schedule.coefficients(torch.tensor([0.5]))
            shift = family.shift / (sigma / alpha).item()  # shifts one after the other multiply
        return cls(
            OBJECTIVES[family.objective],
            schedule,
            settings.timestep_density or family.timestep_density,
            settings.weighting or family.weighting,
            settings,
            shift,
        )

    def times(self, u: Tensor) -> Tensor:
        """Uniform numbers u [B] in (0, 1) → times of the chosen density."""
        return _shift(DENSITIES[self.density](u, self.settings), self.shift)

    def per_sample(self, prediction: Tensor, latents: Tensor, noise: Tensor, t: Tensor,
                   mean: Callable[[Tensor], Tensor] = lambda error: error.flatten(1).mean(1)) -> Tensor:
        """Weighted squared error [B] of a prediction at times t [B], which may be on the CPU.

        `mean` reduces the squared error [B, C, ...] to one number per sample [B]; by default all elements count alike.
        """
        from ..models.devices import to_device
        from ..models.noise import per_row

        alpha, sigma = self.schedule.coefficients(t)
        target = self.objective.target(latents, noise, per_row(alpha, latents), per_row(sigma, latents))
        error = mean((prediction.float() - target.float()).pow(2))
        weight = WEIGHTINGS[self.weighting](alpha, sigma, self.objective, self.settings.min_snr_gamma)
        return error * to_device(weight, error.device)
