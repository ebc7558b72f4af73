"""The noise levels of the host's model, and what its network predicts, from the host's own model_sampling."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...trainer.common.errors import UserError
from ...trainer.models.devices import to_device
from ...trainer.models.noise import per_row

_PREDICTIONS = {
    # class of the host's model_sampling → (objective, whether x_t = x0 + sigma·noise instead of a mix); the first that
    # fits counts. None: the network does not denoise.
    "IMG_TO_IMG_FLOW": None,
    "IMG_TO_IMG": None,
    "COSMOS_RFLOW": ("flow", True),
    "CONST": ("flow", False),
    "V_PREDICTION_DDPM": ("v", True),
    "V_PREDICTION": ("v", True),  # EDM (2206.00364) too: its estimate is brought into the same form
    "X0": ("v", True),
    "EPS": ("eps", True),
}

_RAW = {
    # (estimate of the noise, estimate of x0, alpha, sigma) → what a network of this objective predicts
    "eps": lambda noise, x0, alpha, sigma: noise,
    "v": lambda noise, x0, alpha, sigma: alpha * noise - sigma * x0,
    "flow": lambda noise, x0, alpha, sigma: noise - x0,
}


@dataclass(frozen=True, eq=False)
class HostSchedule:
    """The model's own noise levels, including its shift, as `noise.NoiseSchedule`.

    Attributes:
        sampling: the host's model_sampling, its tables on the CPU: the host moves its own to the card, where every look
            at a table would wait for all that the card still has to do.
        objective: what the network predicts, a key of objectives.OBJECTIVES.
        exploding: whether the network's input is x0 + sigma·noise rather than a mix of the two.
    """

    sampling: Any
    objective: str
    exploding: bool

    @classmethod
    def of(cls, sampling: Any) -> HostSchedule:
        """Raises UserError if the network does not denoise."""
        kinds = [kind.__name__ for kind in type(sampling).__mro__]
        row = next((row for name, row in _PREDICTIONS.items() if name in kinds), None)
        if row is None:
            raise UserError(f"a model of the kind {', '.join(kinds[1:3])} cannot be trained: it does not denoise "
                            "images. Use a text-to-image model.")
        return cls(_on_cpu(sampling), *row)

    def sigmas(self, t: Tensor) -> Tensor:
        """The host's sigma [B] at times t [B], on the device of t. It is found on the CPU."""
        sampling, times = self.sampling, t.cpu()
        if type(sampling).timestep.__qualname__.startswith("ModelSamplingDiscrete."):
            rows = (times * len(sampling.sigmas)).long().clamp(0, len(sampling.sigmas) - 1)
            return to_device(sampling.sigmas[rows].float(), t.device)
        sigmas = torch.tensor([float(sampling.percent_to_sigma(1 - time)) for time in times.tolist()])
        return to_device(sigmas.clamp(*self._ends), t.device)

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """The lowest and the highest sigma."""
        return float(self.sampling.sigma_min), float(self.sampling.sigma_max)

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma) at times t [B], each [B] float32."""
        return self.mix_of(self.sigmas(t))

    def mix_of(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha, sigma), each [B], of the mix that has the same signal-to-noise ratio as the host's sigma [B]."""
        if self.objective == "flow":
            noise = sigma / (1 + sigma) if self.exploding else sigma
            return 1 - noise, noise
        signal = (1 + sigma**2).rsqrt()
        return signal, sigma * signal

    def raw(self, noisy: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
        """The network's raw prediction [B, C, ...], from its estimate of x0 and its input at the host's sigma [B]."""
        alpha, level = (per_row(value, noisy) for value in self.mix_of(sigma))
        mixed = noisy * alpha if self.exploding else noisy
        strength = getattr(self.sampling, "noise_scale", 1.0)  # a few models are given noise of more than variance 1
        return _RAW[self.objective]((mixed - alpha * denoised) / (level * strength), denoised, alpha, level)


def _on_cpu(sampling: Any) -> Any:
    """The same model_sampling with buffers of its own on the CPU."""
    held = copy.copy(sampling)
    if isinstance(held, torch.nn.Module):
        with torch.inference_mode(False):
            held._buffers = {name: None if buffer is None else buffer.to("cpu", copy=True)
                             for name, buffer in sampling._buffers.items()}
    return held
