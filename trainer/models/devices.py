"""Moving tensors to a device without waiting for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_refused = False
"""Whether the system has refused pinned memory to this process."""


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on `device`. What goes to a CUDA card is queued there from pinned memory: an ordinary copy would make
    the CPU wait for all that the card still has to do."""
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        pinned = pin(tensor.pin_memory)
        if pinned is not None:
            return pinned.to(device, non_blocking=True)
    return tensor.to(device)


def pin(make: Callable[[], Tensor]) -> Tensor | None:
    """The tensor that `make` returns in pinned memory. None if the system refuses such memory, which it is then not
    asked for again: locked memory may be limited, and containers and WSL often limit it."""
    global _refused
    if _refused:
        return None
    try:
        return make()
    except RuntimeError:
        _refused = True
        return None
