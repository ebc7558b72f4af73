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
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    with ExitStack() as stack:
        for module in network.modules():
            held = {parameter: before[names[id(parameter)]] for parameter in module._parameters.values()
                    if parameter is not None and id(parameter) in names}
            if held:
                put, take = _exchanger(held)
                stack.callback(module.register_forward_pre_hook(put).remove)
                stack.callback(module.register_forward_hook(take, always_call=True).remove)
        yield


def _exchanger(held: Mapping[nn.Parameter, Tensor]) -> tuple[Callable[..., None], Callable[..., None]]:
    """Hooks before and after a module's forward pass. A module may run inside itself: only the outermost counts."""
    trained: dict[nn.Parameter, Tensor] = {}
    depth = [0]

    def put(*_: object) -> None:
        depth[0] += 1
        if depth[0] == 1:
            for parameter, weight in held.items():
                trained[parameter] = parameter.data
                parameter.data = weight.to(parameter.device, parameter.dtype)

    def take(*_: object) -> None:
        depth[0] -= 1
        if depth[0] == 0:
            for parameter, weight in trained.items():
                parameter.data = weight
            trained.clear()

    return put, take
