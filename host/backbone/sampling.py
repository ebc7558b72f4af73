"""What the host itself predicts for a caption: its CLIP Text Encode node, its guider and its MODEL, as when sampling.

Nothing here goes through the training step of `model.py`, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ...trainer.models.backbone import Controls, NetworkInputs
from ..drawing.runner import call, node_class
from .edit import encode_edit


@dataclass
class Sampled:
    """What the host's sampling path made of a few latents.

    Attributes:
        denoised: its estimate of x0, [1, ...] for each.
        inputs: what the network was conditioned on.
    """

    denoised: list[Tensor] = field(default_factory=list)
    inputs: NetworkInputs = NetworkInputs({}, {})


def encode_prompt(clip: Any, prompt: str, guidance: float | None, vae: Any = None,
                  controls: Controls | None = None) -> list[Any]:
    """The host's CONDITIONING of a prompt, with the guidance that its FluxGuidance node would set, if there is one, and
    with control images (one row), which the VAE encodes."""
    with torch.inference_mode():
        if controls is not None and controls.rows[0]:
            made = encode_edit(controls.form, clip, vae, prompt, controls.rows[0])
        else:
            (made,) = call(node_class("CLIPTextEncode")(), {"clip": clip, "text": prompt})
        return made if guidance is None else [[row, {**values, "guidance": guidance}] for row, values in made]


def sample_once(model: Any, positive: list[Any], noisy: Tensor, sigmas: Tensor) -> Sampled:
    """The host's own estimate of x0 for each of the latents [B, ...] at its sigma [B], without guidance.

    The host runs its guider as for sampling, with one that looks in the place of its sampler. What other nodes do to
    the result of the guidance is left out.
    """
    guider, look = comfy.samplers.CFGGuider(model), _Look(noisy, sigmas)
    guider.inner_set_conds({"positive": positive})
    guider.set_cfg(1.0)
    empty = torch.zeros_like(noisy[:1])
    with torch.inference_mode():
        guider.sample(empty, empty, look, torch.cat([sigmas.max()[None], sigmas.new_zeros(1)]), disable_pbar=True,
                      seed=0)
    return look.sampled


class _Look(comfy.samplers.Sampler):
    """Stands in for a sampler of the host: runs the model at given latents and sigmas, and takes no step."""

    def __init__(self, noisy: Tensor, sigmas: Tensor) -> None:
        self._noisy, self._sigmas, self.sampled = noisy, sigmas, Sampled()

    def sample(self, model_wrap: Any, sigmas: Tensor, extra_args: dict[str, Any], callback: Any, noise: Tensor,
               latent_image: Tensor | None = None, denoise_mask: Tensor | None = None,
               disable_pbar: bool = False) -> Tensor:
        positive = model_wrap.conds["positive"]
        self.sampled.inputs = _inputs_of(positive[0])
        for x, sigma in zip(self._noisy.split(1), self._sigmas.split(1), strict=True):
            (denoised,) = comfy.samplers.calc_cond_batch(
                model_wrap.inner_model, [positive], x, sigma, extra_args["model_options"])
            self.sampled.denoised.append(denoised)
        return noise


_OWN = ("model_conds", "uuid", "guidance")
"""What the host's guider, and not the text encoder, puts into a conditioning."""


def _inputs_of(condition: Mapping[str, Any]) -> NetworkInputs:
    encoded = {name: value for name, value in condition.items() if name not in _OWN}
    return NetworkInputs(tensors_of(encoded), tensors_of(given_values(condition["model_conds"])))


def given_values(model_conds: Mapping[str, Any]) -> dict[str, Any]:
    """What the host's condition objects hold."""
    return {name: value.cond for name, value in model_conds.items()}


def tensors_of(values: Mapping[str, Any]) -> dict[str, Tensor]:
    """Named tensors of nested values; numbers become tensors of one value, all else is left out."""
    found: dict[str, Tensor] = {}
    for name, value in values.items():
        if isinstance(value, Tensor):
            found[name] = value
        elif isinstance(value, (bool, int, float)):
            found[name] = torch.tensor(float(value))
        elif isinstance(value, Mapping):
            found |= tensors_of({f"{name}.{key}": item for key, item in value.items()})
        elif isinstance(value, Sequence) and not isinstance(value, str):
            found |= tensors_of({f"{name}.{row}": item for row, item in enumerate(value)})
    return found
