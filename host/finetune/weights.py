"""The weights of a MODEL as it computes with them: the loader's own, with what other nodes have patched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.lora
import torch
from torch import Tensor, nn

from ...trainer.models.blocks_in_ram import takes_memory
from ...trainer.models.own_weights import check_trainable
from ...trainer.training.trained.model_file import save_model
from ..backbone.loras import apply_lora

PREFIX = "diffusion_model."
PLAIN = {"comfy_cast_weights": False, "weight_function": [], "bias_function": []}
"""Attributes of the host's layers that compute with the weights that they have."""


def patched_weights(model: Any) -> dict[str, Tensor]:
    """The weights that other nodes have changed (a LoRA, a merge), as the host computes them, by their names in the
    denoiser; on the CPU, in the MODEL's own type. Call it while the MODEL is unloaded."""
    with torch.no_grad():
        return {key.removeprefix(PREFIX): _patched(model, key) for key in model.patches if key.startswith(PREFIX)}


def _patched(model: Any, key: str) -> Tensor:
    weight = model.model.get_parameter(key)
    check_trainable(key, weight)
    changed: Tensor = comfy.lora.calculate_weight(model.patches[key], weight.to("cpu", torch.float32, copy=True), key)
    return changed.to(weight.dtype)


def size_of(network: nn.Module) -> int:
    """Bytes of its weights, but for those that stay in RAM."""
    return sum(parameter.nbytes for parameter in network.parameters() if takes_memory(parameter))


def save_fine_tuned(model: Any, difference: Path, path: Path) -> None:
    """Write the MODEL with a fine-tune's difference as a whole diffusion model, under the keys that the host itself
    saves. The MODEL is left unchanged; call this while it is unloaded."""
    with torch.inference_mode(False):
        tuned, _ = apply_lora(model, None, difference)
        weights = {name: weight.detach().cpu() for name, weight in model.model.diffusion_model.state_dict().items()}
        weights |= patched_weights(tuned)
        save_model(path, model.model.model_config.process_unet_state_dict_for_saving(weights), difference)
