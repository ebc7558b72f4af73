"""How the learning rate moves over a run: pure functions of the step, so that resuming needs no state."""

from __future__ import annotations

import math
from collections.abc import Callable

SCHEDULES: dict[str, Callable[[float, int], float]] = {
    # (progress through the steps after warm-up, in [0, 1); cycles) → factor on the learning rate
    "constant": lambda progress, cycles: 1.0,
    "cosine": lambda progress, cycles: 0.5 * (1 + math.cos(math.pi * progress)),
    "cosine_with_restarts": lambda progress, cycles: 0.5 * (1 + math.cos(math.pi * (progress * cycles % 1.0))),
    "linear": lambda progress, cycles: 1.0 - progress,
    "polynomial": lambda progress, cycles: (1.0 - progress) ** 2,
    # Chen, Wolfe & Kyrillidis, 2107.04197: between linear and constant, and steep at the end
    "rex": lambda progress, cycles: (1.0 - progress) / (1.0 - 0.5 * progress),
}


def rate_factor(schedule: str, step: int, total: int, warmup: int = 0, cycles: int = 1) -> float:
    """The factor on the learning rate at a step counted from 0: linear warm-up, then the schedule."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return SCHEDULES[schedule]((step - warmup) / max(1, total - warmup), cycles)
