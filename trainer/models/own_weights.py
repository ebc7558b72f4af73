"""A network that trains weights of its own, while those it came with are kept unchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from ..common.errors import UserError

TRAINABLE = (torch.float32, torch.bfloat16, torch.float16)
"""Types of the weights that a fine-tune can start from."""


def check_trainable(name: str, weight: Tensor) -> None:
    """Raises UserError for a weight that holds no plain 16- or 32-bit numbers."""
    if type(weight.data) is not Tensor or weight.dtype not in TRAINABLE:
        kind = type(weight.data).__name__ if type(weight.data) is not Tensor else str(weight.dtype)
        raise UserError(f"weight {name} is {kind.removeprefix('torch.')}: a fine-tune needs a base in 16 or 32 bits. "
                        "Load the model without quantisation, or train a LoRA.")


Keep = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""Weights by name → the same weights, kept somewhere else. Each of them is read from there at every use."""


@contextmanager
def own_weights(network: nn.Module, device: torch.device, dtype: torch.dtype, keep: Keep | None = None
                ) -> Iterator[Mapping[str, Tensor]]:
    """Give the network's parameters new memory on `device`, in `dtype`, while the block lasts. Yields its weights of
    before by name, wherever they are; after the block, the network has them back, untouched.

    Args:
        keep: where the weights of before are kept, so that the memory that they have is free meanwhile. The network
            then gets them back in other memory on the same devices.
    """
    parameters = dict(network.named_parameters())
    for name, parameter in parameters.items():
        check_trainable(name, parameter)
    places = {name: parameter.device for name, parameter in parameters.items()}
    before: Mapping[str, Tensor] = {name: parameter.data for name, parameter in parameters.items()}
    if keep is not None:
        before = keep(before)
    try:
        for parameter in parameters.values():
            parameter.data = parameter.data.to(device, dtype, copy=True)
        yield before
    finally:
        for name, parameter in parameters.items():
            parameter.grad = None
            parameter.requires_grad_(False)
            parameter.data = before[name].to(places[name])


@contextmanager
def as_before(network: nn.Module, before: Mapping[str, Tensor]) -> Iterator[None]:
    """The network computes with its weights of before while the block lasts, without gradients.

    Each module is given its own for the time of its forward pass, so no second copy of the network is on the device.
    A pass that is broken off, even by what is not an Exception, leaves the trained weights in all of them.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    with ExitStack() as stack:
        for module in network.modules():
            held = {parameter: before[names[id(parameter)]] for parameter in module._parameters.values()
                    if parameter is not None and id(parameter) in names}
            if held:
                exchange = _Exchange(held)
                stack.callback(exchange.end)
                stack.callback(module.register_forward_pre_hook(exchange.put).remove)
                stack.callback(module.register_forward_hook(exchange.take, always_call=True).remove)
        yield


class _Exchange:
    """The weights of a module, exchanged before its forward pass and back after it. It may run inside itself: only the
    outermost pass counts."""

    def __init__(self, held: Mapping[nn.Parameter, Tensor]) -> None:
        self._held, self._depth = held, 0
        self._trained: dict[nn.Parameter, Tensor] = {}

    def put(self, *_: object) -> None:
        self._depth += 1
        if self._depth == 1:
            for parameter, weight in self._held.items():
                self._trained[parameter] = parameter.data
                parameter.data = weight.to(parameter.device, parameter.dtype)

    def take(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.end()

    def end(self) -> None:
        """Give the trained weights back. torch calls `take` after any Exception, but a cancelled run of ComfyUI and
        Ctrl-C raise others."""
        for parameter, weight in self._trained.items():
            parameter.data = weight
        self._trained.clear()
