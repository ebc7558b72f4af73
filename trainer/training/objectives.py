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
from ..common.errors import UserError
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
    """None: the family's own; a name of WEIGHTINGS."""
    min_snr_gamma: float = 5.0
    loss: str = "squared"
    """What an error costs: a name of LOSSES."""
    huber_delta: float = 0.1
    """Size of an error from which huber and smooth_l1 grow no faster than the error itself."""
    huber_schedule: str = "exponential"
    """How that size follows the time: a name of HUBER_SCHEDULES."""
    noise_offset: float = 0.0
    """Strength of noise that a whole channel has in common."""
    ip_noise_gamma: float = 0.0
    """Strength of noise in the input that the network is not to recognise."""
    min_timestep: float = 0.0
    max_timestep: float = 1.0
    """Times from the one to the other are trained, 0 clean and 1 pure noise. The density keeps its shape between
    them."""

    def __post_init__(self) -> None:
        if self.timestep_density is not None:
            check_choice("timestep_density", self.timestep_density, DENSITIES)
        if self.weighting is not None:
            check_choice("weighting", self.weighting, WEIGHTINGS)
        check(self.density_shift > 0, "density_shift", self.density_shift, "greater than 0")
        check(self.min_snr_gamma > 0, "min_snr_gamma", self.min_snr_gamma, "greater than 0")
        check_choice("loss", self.loss, LOSSES)
        check(0 < self.huber_delta <= 1, "huber_delta", self.huber_delta, "greater than 0 and at most 1")
        check_choice("huber_schedule", self.huber_schedule, HUBER_SCHEDULES)
        for name in ("noise_offset", "ip_noise_gamma"):
            check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "from 0 (off) to 1")
        check(0 <= self.min_timestep < 1, "min_timestep", self.min_timestep, "from 0 to below 1, a share of all times")
        check(self.min_timestep < self.max_timestep <= 1, "max_timestep", self.max_timestep,
              f"above min_timestep ({self.min_timestep:g}) and at most 1")


@dataclass(frozen=True)
class Objective:
    """What a network predicts.

    Attributes:
        target: (x0, noise, alpha, sigma) → what the network should predict.
        x0_gain: (alpha, sigma) → the factor that turns a prediction error into an error of x0.
        debiased: SNR → the weight of debiased estimation; None where it has no meaning.
    """

    target: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    x0_gain: Callable[[Tensor, Tensor], Tensor]
    debiased: Callable[[Tensor], Tensor] | None = None


OBJECTIVES = {
    "eps": Objective(lambda x0, noise, alpha, sigma: noise, lambda alpha, sigma: sigma / alpha,
                     lambda snr: snr.rsqrt()),
    "v": Objective(lambda x0, noise, alpha, sigma: alpha * noise - sigma * x0, lambda alpha, sigma: sigma,
                   lambda snr: 1 / (snr + 1)),
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
    return _snr(alpha, sigma).clamp(max=gamma) * objective.x0_gain(alpha, sigma) ** 2


MOST_SNR = 1000.0
"""Signal-to-noise ratio at which the weight of debiased estimation stops falling, as kohya has it."""


def _debiased(alpha: Tensor, sigma: Tensor, objective: Objective, gamma: float) -> Tensor:
    """Debiased estimation (2310.08442): weight 1/sqrt(SNR) for eps; for v kohya's 1/(SNR + 1)."""
    assert objective.debiased, "Loss.of refuses it for others"
    return objective.debiased(_snr(alpha, sigma).clamp(max=MOST_SNR))


def _snr(alpha: Tensor, sigma: Tensor) -> Tensor:
    return (alpha / sigma.clamp_min(1e-8)) ** 2


WEIGHTINGS: dict[str, Callable[[Tensor, Tensor, Objective, float], Tensor]] = {
    "none": lambda alpha, sigma, objective, gamma: sigma.new_ones(sigma.shape),
    "min_snr": _min_snr,
    "debiased": _debiased,
}


def _pseudo_huber(error: Tensor, delta: Tensor) -> Tensor:
    return 2 * ((error.pow(2) + delta.pow(2)).sqrt() - delta)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    # (error [B, C, ...], delta [B, 1, ...]) → what each value costs. As kohya has them: huber is the square of a small
    # error and 2·delta times a large one, smooth_l1 is huber / delta
    "squared": lambda error, delta: error.pow(2),
    "huber": lambda error, delta: delta * _pseudo_huber(error, delta),
    "smooth_l1": _pseudo_huber,
}

HUBER_SCHEDULES: dict[str, Callable[[float, Tensor, Tensor, Tensor], Tensor]] = {
    # (huber_delta, t, alpha, sigma) → delta at those times, from about 1 at clean images to huber_delta at pure noise
    "constant": lambda delta, t, alpha, sigma: delta * t.new_ones(t.shape),
    "exponential": lambda delta, t, alpha, sigma: delta ** t,
    "snr": lambda delta, t, alpha, sigma: (1 - delta) / (1 + sigma / alpha) ** 2 + delta,
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
        """Raises UserError for a setting that has no meaning for the family."""
        import torch

        if family.objective == "flow":
            _check_flow(family, settings)
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
        least, most = self.settings.min_timestep, self.settings.max_timestep
        t = _shift(DENSITIES[self.density](u, self.settings), self.shift)
        return t if (least, most) == (0, 1) else least + (most - least) * t

    def per_sample(self, prediction: Tensor, latents: Tensor, noise: Tensor, t: Tensor,
                   mean: Callable[[Tensor], Tensor] = lambda error: error.flatten(1).mean(1)) -> Tensor:
        """Weighted loss [B] of a prediction at times t [B], which may be on the CPU.

        `mean` reduces the losses [B, C, ...] to one number per sample [B]; by default all elements count alike.
        """
        from ..models.devices import to_device
        from ..models.noise import per_row

        alpha, sigma = self.schedule.coefficients(t)
        target = self.objective.target(latents, noise, per_row(alpha, latents), per_row(sigma, latents))
        difference = prediction.float() - target.float()
        delta = per_row(self._delta(t, alpha, sigma), difference)
        error = mean(LOSSES[self.settings.loss](difference, delta))
        weight = WEIGHTINGS[self.weighting](alpha, sigma, self.objective, self.settings.min_snr_gamma)
        return error * to_device(weight, error.device)

    def _delta(self, t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return HUBER_SCHEDULES[self.settings.huber_schedule](self.settings.huber_delta, t, alpha, sigma)


def _check_flow(family: Family, settings: ObjectiveConfig) -> None:
    """Raises UserError for what has no meaning where a network learns a straight path from noise to images."""
    huber = settings.loss != "squared"
    reasons = {
        "weighting": (settings.weighting == "debiased", "none or min_snr",
                      "debiased estimation is derived for networks that predict the noise or v"),
        "huber_schedule": (huber and settings.huber_schedule == "snr", "constant or exponential",
                           "the schedule snr follows the noise levels of Stable Diffusion"),
        "noise_offset": (settings.noise_offset > 0, "0",
                         "its training reaches pure noise, which the offset is to make up for"),
    }
    for name, (is_set, valid, reason) in reasons.items():
        if is_set:
            raise UserError(f"{name} is {getattr(settings, name)}, but {family.title} is a flow model: {reason}. "
                            f"Set {name} to {valid}.")
