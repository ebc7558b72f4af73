"""The gradients of several processes, added up in one message a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class GradientSum:
    """Adds up the gradients of parameters, in float32. Its memory, that of the parameters in float32, is taken when it
    is made, because a process must not run out of memory while others wait for its gradients."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters
        self._messages: list[tuple[Tensor, list[int], list[Tensor]]] = []
        for device in dict.fromkeys(parameter.device for parameter in parameters):
            rows = [row for row, parameter in enumerate(parameters) if parameter.device == device]
            sizes = [parameters[row].numel() for row in rows]
            flat = torch.zeros(sum(sizes), device=device)
            views = [part.view(parameters[row].shape) for part, row in zip(flat.split(sizes), rows, strict=True)]
            self._messages.append((flat, rows, views))

    def present(self) -> list[bool]:
        """Whether each parameter has a gradient here."""
        return [parameter.grad is not None for parameter in self.parameters]

    @torch.no_grad()
    def add_up(self, used: Sequence[bool], reduce: Callable[[Tensor], object]) -> None:
        """Give each parameter that is used anywhere the sum of its gradients; others keep none, so that an optimizer
        leaves them alone as it does in one process.

        Args:
            used: whether each parameter has a gradient in any process.
            reduce: adds up a tensor over the processes, in place.
        """
        for flat, rows, views in self._messages:
            flat.zero_()
            for row, view in zip(rows, views, strict=True):
                if (gradient := self.parameters[row].grad) is not None:
                    view.copy_(gradient)
            reduce(flat)
            for row, view in zip(rows, views, strict=True):
                if used[row]:
                    _set_gradient(self.parameters[row], view)


def _set_gradient(parameter: nn.Parameter, total: Tensor) -> None:
    if parameter.grad is None:
        parameter.grad = total.to(parameter.dtype, copy=True)
    else:
        parameter.grad.copy_(total)
