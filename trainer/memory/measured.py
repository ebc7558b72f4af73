"""What a training took: the memory of a device or of this process."""

from __future__ import annotations

import platform

import torch


def peak_memory(device: torch.device, *, anew: bool = False) -> int | None:
    """Most bytes that tensors have used on an accelerator; on the CPU, that this process has; None if unknown.

    `anew`: count from here on, where that is possible.
    """
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        if anew:
            torch.cuda.reset_peak_memory_stats(device)
        return peak
    if device.type != "cpu":
        return None
    try:
        import resource
    except ImportError:  # Windows
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if platform.system() == "Darwin" else used * 1024


def free_memory(device: torch.device) -> int:
    """Bytes of a CUDA card that this process has or can still get: what other programs use is not among them."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device)
