"""The weights that a run shows and saves, where an average of them does better than those of the last step.

Either an exponential moving average (EMA; Polyak & Juditsky, 1992), or the average that a schedule-free optimizer keeps
(Defazio et al., 2405.15682). The training goes on with its own weights, bit by bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..optimizers import OPTIMIZERS, OptimizerConfig


def decay_at(step: int, decay: float) -> float:
    """The decay of an EMA after `step` steps, from 1. It rises from 0 to `decay`: the average keeps nothing of the
    weights that it began with, and a DoRA's magnitudes have none before the first step."""
    return min(decay, (step - 1) / (step + 8))


class Averages:
    """The EMA of trained weights, in float32 on their devices; or nothing, if the settings ask for none."""

    def __init__(self, parameters: Sequence[nn.Parameter], settings: OptimizerConfig) -> None:
        self._parameters, self._decay = parameters, settings.ema_decay
        self._of_optimizer = OPTIMIZERS[settings.name].averages
        self._held: list[Tensor] = []
        self.restart()

    def restart(self) -> None:
        """Begin again with the weights as they are."""
        if self._decay:
            self._held = [parameter.detach().float().clone() for parameter in self._parameters]

    def tensors(self) -> dict[str, Tensor]:
        """The averages, not copied, by their names in the training state."""
        return {f"average.{row}": tensor for row, tensor in enumerate(self._held)}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        if self._held:
            trained = [parameter.detach().float() for parameter in self._parameters]
            torch._foreach_lerp_(self._held, trained, 1 - decay_at(step, self._decay))

    @contextmanager
    def shown(self, optimizer: Any) -> Iterator[None]:
        """The network computes with the averages while the block lasts. The trained weights are copied, because an
        optimizer that computes them back from its average rounds."""
        if not (self._held or self._of_optimizer):
            yield
            return
        trained = [parameter.detach().clone() for parameter in self._parameters]
        try:
            if self._of_optimizer:
                optimizer.eval()
            else:
                _copy(self._held, self._parameters)
            yield
        finally:
            if self._of_optimizer:
                optimizer.train()
            _copy(trained, self._parameters)


@torch.no_grad()
def _copy(values: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> None:
    for value, parameter in zip(values, parameters, strict=True):
        parameter.copy_(value)
