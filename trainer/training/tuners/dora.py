"""DoRA (arXiv:2402.09353): a LoRA whose columns are normed, and scaled by magnitudes that are trained beside it.

The weight becomes magnitude * (W + up @ down * alpha / rank) / |W + up @ down * alpha / rank|, where the norm runs over
all of a column: the weights of one input channel. That is the paper's norm and OneTrainer's, and the one that ComfyUI,
A1111, Forge and LyCORIS compute alike. peft norms rows instead, for which ComfyUI (0.33 at least) divides by the norm
of W alone (`weight_decompose` in comfy/weight_adapter/base.py), so such a LoRA would do something else there.

At a strength other than 1, the host adds this share of the whole change of the weight, and so does this file.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...common.errors import UserError
from ...models.frozen import apply_weight, is_readable, used_weight
from ...models.noise import per_row

_EPSILON = torch.finfo(torch.float32).eps
"""What the host adds to a norm."""


class Magnitude(nn.Module):
    """The magnitudes of a layer's columns, in float32. `weight` is [1, in], for a convolution [1, in, 1, 1].

    Those of a new DoRA are the norms of the weight itself, and are filled in at the first pass: a host has the weights
    in memory only while it computes with them. Until then they are zeros.
    """

    def __init__(self, values: Tensor, is_filled: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(values)
        self._is_filled = is_filled

    @torch.no_grad()
    def fill(self, norms: Tensor) -> None:
        """Set what is not set yet."""
        if not self._is_filled:
            if not self.weight.any():
                self.weight.copy_(norms)
            self._is_filled = True


class ColumnDora:
    """A variant of peft's LoRA layer, in place of its own DoRA.

    Attributes:
        strength: of the whole change; several are for the rows of a batch.
    """

    def __init__(self) -> None:
        self.strength: float | Tensor = 1.0

    def forward(self, module: Any, active_adapter: str, x: Tensor, result: Tensor, **_: Any) -> Tensor:
        """`result`, the layer's output so far, and what the adapter changes of it. Gradients do not flow through the
        norm, as in the paper (4.3)."""
        down, up = module.lora_A[active_adapter], module.lora_B[active_adapter]
        scale, base = module.scaling[active_adapter], module.get_base_layer()
        magnitude, norms = module.lora_magnitude_vector[active_adapter], column_norms(
            base, down.weight, up.weight, scale, x)
        magnitude.fill(norms)
        factor = magnitude.weight / norms
        factor = factor if isinstance(base, nn.Conv2d) else factor.flatten()
        # a column's factor multiplies the weight's input, so that the weight is never held a second time
        change = apply_weight(base, (x * (factor - 1)).to(x)) + up(down((x * factor).to(x))) * scale
        return result + self._weighted(change)

    def _weighted(self, change: Tensor) -> Tensor:
        if not isinstance(self.strength, Tensor):
            return change * self.strength
        if len(change) % len(self.strength):
            raise ValueError(f"{len(self.strength)} strengths do not fit a batch of {len(change)} rows: give one for "
                             "each row")
        rows = self.strength.to(change).repeat(len(change) // len(self.strength))
        return change * per_row(rows, change)


@torch.no_grad()
def column_norms(base: nn.Module, down: Tensor, up: Tensor, scale: float, like: Tensor) -> Tensor:
    """The norms of the columns of W + up @ down * scale, [1, in] or [1, in, 1, 1] in float32.

    Args:
        like: has the device on which the layer computes.
    """
    with torch.autocast(like.device.type, enabled=False), used_weight(base, like.float()) as (weight, _):
        change = (up.float().flatten(1) @ down.float().flatten(1)).reshape(weight.shape)
        norms = weight.float().add(change, alpha=scale).transpose(0, 1).flatten(1).norm(dim=1)
    return (norms + _EPSILON).reshape(1, -1, *(1 for _ in down.shape[2:]))


def add_magnitudes(layer: Any, adapter: str, values: Tensor | None = None) -> None:
    """Make the LoRA of this name in peft's layer a DoRA.

    Args:
        values: its magnitudes; without any, those of the weight as the LoRA leaves it at the first pass.

    Raises UserError if peft is too old, for a layer whose padding is not of zeros, and for a weight that cannot be
    read here.
    """
    if not hasattr(layer, "lora_variant"):
        raise UserError("a DoRA needs peft 0.16 or newer. Update peft, or choose adapter.kind lora.")
    base = layer.get_base_layer()
    if isinstance(base, nn.Conv2d) and base.padding_mode != "zeros":
        raise UserError(f"a convolution whose padding is {base.padding_mode} cannot have a DoRA. Set conv_rank to 0, "
                        "or choose adapter.kind lora.")
    if not is_readable(base):
        raise UserError("this model's weights are packed in a way that a DoRA cannot read. Load it in another format, "
                        "or choose adapter.kind lora.")
    down = layer.lora_A[adapter].weight
    start = torch.zeros(1, down.shape[1], *(1 for _ in down.shape[2:])) if values is None else values.detach()
    layer.lora_magnitude_vector[adapter] = Magnitude(start.to(down.device, torch.float32, copy=True),
                                                     is_filled=values is not None or down.is_meta)
    layer.lora_variant[adapter] = ColumnDora()
