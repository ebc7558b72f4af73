"""Loss and gradient norm of each step, read from the device while it computes the next one.

Reading a number from a card waits until the card has computed it, and meanwhile nothing more is queued: the card then
idles while the CPU prepares what comes next. So a card's figures are copied as soon as they are there, and read one
step later. What the optimizer must not do with figures that are not finite is decided on the card (as GradScaler does).
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...models.devices import pin
from ..events import StepDone

LAG = {"cuda": 1}
"""Steps by which figures are read late, by type of device. Elsewhere nothing is gained: they are read at once."""


@dataclass(frozen=True)
class Queued:
    """A step that the device may still be computing.

    Attributes:
        figures: [N + 1 + M] float32 on the device: the losses of the step's N batches, which add up to its loss, the
            norm of the gradient, and the losses of its M images.
        started: when the step was begun, as time.perf_counter() gives it.
        images: M.
    """

    step: int
    epoch: int
    learning_rate: float
    figures: Tensor
    started: float
    images: int = 0


class Readings:
    """The steps whose figures are not read yet, in order."""

    def __init__(self, device: torch.device) -> None:
        self.lag = LAG.get(device.type, 0)
        self._waiting: deque[tuple[Queued, Tensor, Any]] = deque()
        self._read_at = -math.inf

    def add(self, queued: Queued) -> None:
        self._waiting.append((queued, *_copy_home(queued.figures)))

    def read(self, left: int = 0) -> Iterator[StepDone]:
        """The steps in order, until only the last `left` are not read. Seconds are from one reading to the next, or
        from the step's beginning if that came later."""
        while len(self._waiting) > left:
            queued, figures, copied = self._waiting.popleft()
            if copied is not None:
                copied.synchronize()
            values = figures.tolist()
            split = len(values) - queued.images
            *losses, norm = values[:split]
            now = time.perf_counter()
            seconds, self._read_at = now - max(queued.started, self._read_at), now
            yield StepDone(queued.step, queued.epoch, sum(losses), queued.learning_rate, norm, seconds,
                           tuple(values[split:]))


def _copy_home(figures: Tensor) -> tuple[Tensor, Any]:
    """The figures where they will be read, and the event after which they are there (None: at once)."""
    if figures.device.type != "cuda":
        return figures, None
    home = pin(lambda: torch.empty(figures.shape, dtype=figures.dtype, pin_memory=True))
    if home is None:
        return figures.cpu(), None
    home.copy_(figures, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record(torch.cuda.current_stream(figures.device))
    return home, copied


def guard(optimizer: torch.optim.Optimizer, figures: Tensor) -> bool:
    """Have the optimizer's next step leave everything unchanged if a figure is not finite, without reading it.

    Returns whether the optimizer can do so: torch's fused ones can, for weights on the device of the figures. (For
    others torch copies the decision without waiting for the copy, so they would act on whatever is there.) After a bad
    step, the weights of another are of no use.
    """
    weights = (weight for group in optimizer.param_groups for weight in group["params"])
    if not getattr(optimizer, "_step_supports_amp_scaling", False) or any(w.device != figures.device for w in weights):
        return False
    optimizer.found_inf = figures.isfinite().all().logical_not().float()  # type: ignore[attr-defined]
    return True
