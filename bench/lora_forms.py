"""LoRAs in the forms of other trainers, and none at all, to count beside ours: see trainer/memory/step.py."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..trainer.memory.step import META, Attach, Rehearsal, attach_adapters
from ..trainer.models.layers import select_modules
from ..trainer.training.config import TrainConfig


class KohyaForm:
    """As sd-scripts has it: down and up in float32 beside a frozen layer, whatever autocast makes of their input."""

    def __init__(self, layer: nn.Module, down: nn.Module, up: nn.Module, scale: float) -> None:
        self._frozen, self._down, self._up, self._scale = layer.forward, down, up, scale

    def __call__(self, x: Tensor) -> Tensor:
        return self._frozen(x) + self._up(self._down(x)) * self._scale


def attach_kohya(rehearsal: Rehearsal, config: TrainConfig) -> None:
    """Linear layers only, as every preset without convolutions chooses."""
    adapter, network = config.adapter, rehearsal.network
    network.requires_grad_(False)
    for name in _chosen(rehearsal, config):
        layer: Any = network.get_submodule(name)
        width, out = layer.weight.shape[1], layer.weight.shape[0]
        if isinstance(layer, nn.Conv2d):
            down, up = nn.Conv2d(width, adapter.rank, 1, bias=False), nn.Conv2d(adapter.rank, out, 1, bias=False)
        else:
            down, up = nn.Linear(width, adapter.rank, bias=False), nn.Linear(adapter.rank, out, bias=False)
        form = KohyaForm(layer, down, up, adapter.alpha / adapter.rank)
        layer.lora_down, layer.lora_up = down, up
        layer.forward = form


def attach_peft(rehearsal: Rehearsal, config: TrainConfig) -> None:
    """Peft as it comes, its adapters in float32 as get_peft_model makes them."""
    from peft import LoraConfig, inject_adapter_in_model

    network = rehearsal.network
    network.requires_grad_(False)
    inject_adapter_in_model(LoraConfig(r=config.adapter.rank, lora_alpha=int(config.adapter.alpha),
                                       target_modules=list(_chosen(rehearsal, config))), network)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = torch.empty(parameter.shape, dtype=torch.float32, device=META)


def attach_nothing(rehearsal: Rehearsal, config: TrainConfig) -> None:
    """The bare network: what no LoRA can go below."""
    rehearsal.network.requires_grad_(False)


def _chosen(rehearsal: Rehearsal, config: TrainConfig) -> dict[str, str]:
    adapter = config.adapter
    return select_modules(rehearsal.network, adapter.layers, rehearsal.blocks, adapter.conv_rank,
                          rehearsal.family.excluded)


FORMS: dict[str, Attach] = {
    "ours": attach_adapters, "kohya": attach_kohya, "peft": attach_peft, "bare": attach_nothing}
