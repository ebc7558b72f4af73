"""An optimizer that takes each gradient as the backward pass makes it, and frees it at once ("fused backward").

A fine-tune would otherwise hold the gradients of all weights beside the weights. Here the memory is that of the
weights, of the optimizer's state, and of one layer's gradient (Lv et al. 2023, arXiv:2306.09782). Gradients cannot be
clipped by the norm of them all, which is known too late, so each parameter's is clipped by its own. Weights in bf16 are
stepped in float32 and rounded by chance; see `step/rounding.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ...models.blocks_in_ram import BlocksInRam
from ..step.rounding import round_to_bf16


class OnArrival:
    """Steps another optimizer, one parameter after another, during the backward pass.

    It stands in for that optimizer in the loop: `step` has nothing left to do. What is rounded up is a pure function of
    the step, so a resumed run goes on with the same bits.

    Attributes:
        applying: whether gradients that arrive are applied; else they add up, as those of all but the last batch of a
            step do. Then the gradients of all parameters are held.
        changed: called when a step changes its first weight, from where it cannot be undone.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, max_norm: float, changed: Callable[[], None],
                 matrices: bool = False, blocks: BlocksInRam | None = None) -> None:
        """
        Args:
            max_norm: limit of the norm of each parameter's gradient; 0: none.
            matrices: whether the optimizer is given each convolution as a matrix [out, in * kh * kw].
            blocks: weights that are in RAM between their steps; the optimizer's state of them is there too.
        """
        self._matrices, self._blocks = matrices, blocks
        self.optimizer, self.applying, self.changed = optimizer, True, changed
        self._limit = max_norm or math.inf
        self._squares: list[Tensor] = []
        for group in optimizer.param_groups:
            group["rounded"] = 0  # the loop sets it to the step
        self._rows = self._find_rows()
        self._hooks = [parameter.register_post_accumulate_grad_hook(self._apply) for parameter in self._rows]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def state_dict(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As the optimizer does, but each tensor keeps the type that it was saved in: torch gives it that of the
        parameter, and what is kept in float32 for weights in bf16 would be rounded."""
        with self._blocks.shown() if self._blocks else nullcontext():
            self.optimizer.load_state_dict(dict(state))
        self._rows = self._find_rows()
        parameters = list(self._rows)
        for number, values in state["state"].items():
            held = self.optimizer.state[parameters[number]]
            held.update({name: value.to(held[name].device, copy=True) for name, value in values.items()
                         if isinstance(value, Tensor)})

    def _find_rows(self) -> dict[nn.Parameter, tuple[dict[str, Any], int]]:
        """The group and the number of each parameter. A state that is loaded brings other groups."""
        pairs = ((group, parameter) for group in self.param_groups for parameter in group["params"])
        return {parameter: (group, number) for number, (group, parameter) in enumerate(pairs)}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of a step that was broken off, and what was measured of them."""
        self.optimizer.zero_grad(set_to_none)
        self._squares = []

    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Nothing: all parameters have been stepped."""

    def norm(self) -> Tensor:
        """The norm of all gradients since the last `zero_grad`, before they were clipped, on their device; 0 without
        any."""
        return torch.stack(self._squares).sum().sqrt() if self._squares else torch.zeros(())

    def remove(self) -> None:
        """Leave the parameters as they are from here on."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @torch.no_grad()
    def _apply(self, parameter: nn.Parameter) -> None:
        if not self.applying or parameter.grad is None:
            return
        self.changed()
        group, number = self._rows[parameter]
        gradient = parameter.grad.float()
        square = gradient.square().sum()
        self._squares.append(square)
        if self._limit < math.inf:
            gradient = gradient * (self._limit / (square.sqrt() + 1e-6)).clamp(max=1.0)
        parameter.grad = None
        with self._held(parameter) as held:
            flat = self._matrices and held.ndim > 2
            parameter.data = held.float().flatten(1) if flat else held.float()  # over the same memory if it is float32
            try:
                parameter.grad = gradient.flatten(1) if flat else gradient
                self._step_alone(group, parameter)
                if held.dtype == torch.bfloat16:
                    generator = torch.Generator(held.device).manual_seed((group["rounded"] << 24) + number)
                    held.copy_(round_to_bf16(parameter.data, generator).view(held.shape))
            finally:
                parameter.grad = None

    @contextmanager
    def _held(self, parameter: nn.Parameter) -> Iterator[Tensor]:
        """The weight on the device, to be changed in place while the block lasts."""
        if self._blocks is not None:
            with self._blocks.stepped(parameter, self.optimizer.state) as held:
                yield held
            return
        held = parameter.data
        try:
            yield held
        finally:
            parameter.data = held

    def _step_alone(self, group: dict[str, Any], parameter: nn.Parameter) -> None:
        """The optimizer's own step, as if it had this parameter only."""
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        own: Sequence[nn.Parameter] = group["params"]
        try:
            group["params"], self.optimizer.param_groups = [parameter], [group]
            self.optimizer.step()
        finally:
            group["params"], self.optimizer.param_groups = own, groups
