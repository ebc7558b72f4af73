"""Number formats of the network's arithmetic: which one suits a base and its device, and autocast around a pass."""

from __future__ import annotations

import contextlib

import torch

from .backbone import Backbone

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""By precision: what autocast computes in. Others have no autocast."""


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Around a forward pass in this precision."""
    dtype = AUTOCAST.get(precision)
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def choose_precision(backbone: Backbone) -> str:
    """fp32 for a base in float32 or on the CPU; else the format of 16 bits that its device computes fast."""
    dtype = next((parameter.dtype for parameter in backbone.network.parameters()), torch.float32)
    return "fp32" if backbone.device.type == "cpu" or dtype == torch.float32 else backbone.half_precision
