"""A limit to what each layer of a LoRA adds (max-norm regularisation, as kohya's scale_weight_norms has it)."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from ...lora.file import Factors


@torch.no_grad()
def limit_norms(layers: Iterable[Factors], limit: float) -> None:
    """Scale the factors of each layer whose alpha / rank · up · down has a Frobenius norm above `limit` down to it, in
    place, both by the same factor. Nothing is read from the device."""
    for factors in layers:
        up, down = factors.up.flatten(1).float(), factors.down.flatten(1).float()
        square = ((up.mT @ up) * (down @ down.mT)).sum().clamp_min(0)  # the norm of the product, without the product
        scale = (limit / (factors.alpha / factors.rank * square.sqrt())).clamp(max=1).sqrt()
        factors.up.mul_(scale)
        factors.down.mul_(scale)
