"""Blocks of a network that trains its own weights, held in RAM and brought to the device for each use.

The weight of each of their linear and convolution layers is copied to the device for its forward pass, again for its
backward pass, and for the step of the optimizer, after which the new weight is copied back. The device computes all of
it as it would without this, so losses and weights are the same to the last bit.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from .devices import pin
from .recompute import blocks_of

CPU = torch.device("cpu")


def movable_layers(network: nn.Module) -> list[list[nn.Linear | nn.Conv2d]]:
    """The layers of each block whose weights can be in RAM: the linear and convolution layers. One whose weight
    another module uses too is left out."""
    owners = Counter(id(parameter) for module in network.modules() for parameter in module._parameters.values()
                     if parameter is not None)
    seen: set[nn.Module] = set()
    found = []
    for block in blocks_of(network):
        layers = [layer for layer in block.modules() if isinstance(layer, (nn.Linear, nn.Conv2d)) and layer not in seen
                  and owners[id(layer.weight)] == 1]
        seen.update(layers)
        found.append(layers)
    return found


def takes_memory(tensor: Tensor) -> bool:
    """Whether the tensor has its own memory; the place holder of a weight in RAM has none."""
    return tensor.untyped_storage().nbytes() >= tensor.nbytes


class BlocksInRam:
    """The last blocks of a network. Its first ones are those that are recomputed.

    Each parameter in RAM keeps a place holder on the device, which has its shape and takes no memory, so its gradient
    arrives on the device.

    Attributes:
        share: of the blocks, from 0 to 1, that are in RAM now.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._device, self.share = device, 0.0
        self._blocks = movable_layers(network)
        self._held: dict[nn.Parameter, _Held] = {}
        self._out: dict[int, nn.Parameter] = {}  # weights of layers that compute now, by the address of their copies
        self._last: tuple[nn.Parameter, Tensor] | None = None  # what the backward pass used last is stepped next
        self._off = False
        self._saving: list[saved_tensors_hooks] = []
        self._hooks = [network.register_forward_pre_hook(self._begin),
                       network.register_forward_hook(self._end, always_call=True)]

    def set_share(self, share: float) -> None:
        """Hold this share of the blocks in RAM from the next forward pass on. Call it between steps."""
        self.share = share
        first = len(self._blocks) - math.ceil(share * len(self._blocks))
        for number, layers in enumerate(self._blocks):
            for layer in layers:
                if number >= first:
                    self._hold(layer)
                else:
                    self._give_back(_own_weight(layer))
        self._last = None

    def close(self) -> None:
        """Do nothing more in the network. Weights in RAM are lost, unless their parameters get others."""
        while self._saving:  # of a pass that was broken off by what is not an Exception: torch calls no hook then
            self._end()
        for held in self._held.values():
            held.remove()
        for hook in self._hooks:
            hook.remove()
        self._held, self._out, self._hooks, self._last = {}, {}, [], None

    def weight(self, parameter: nn.Parameter) -> Tensor:
        """The weight itself, wherever it is; not copied."""
        held = self._held.get(parameter)
        return parameter.data if held is None else held.home

    @contextmanager
    def off(self) -> Iterator[None]:
        """Layers compute with their parameters' own data while the block lasts, which their caller provides."""
        self._off = True
        try:
            yield
        finally:
            self._off = False

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Parameters in RAM have their weights as data while the block lasts, so that whatever is made like them is in
        RAM too."""
        for parameter, held in self._held.items():
            parameter.data = held.home
        try:
            yield
        finally:
            for parameter, held in self._held.items():
                parameter.data = held.place

    @contextmanager
    def stepped(self, parameter: nn.Parameter, state: Mapping[Tensor, Any]) -> Iterator[Tensor]:
        """The weight on the device, to be changed in place, with the optimizer's state of it there too.

        After the block, the weight is back in RAM, and so is what the state has for each of its numbers. Factors and
        tables stay on the device. A parameter that is not in RAM is as it was.
        """
        held = self._held.get(parameter)
        if held is None:
            data = parameter.data
            try:
                yield data
            finally:
                parameter.data = data
            return
        weight = self._last[1] if self._last and self._last[0] is parameter else self._bring(held)
        self._last = None
        try:
            _move_state(state.get(parameter, {}), self._device, at_least=2)
            yield weight
            held.home.copy_(weight)
            _move_state(state.get(parameter, {}), CPU, at_least=max(parameter.numel(), 2))
        finally:
            parameter.data = held.place

    # -- one layer -------------------------------------------------------------------------------------------------

    def _hold(self, layer: nn.Linear | nn.Conv2d) -> None:
        parameter = _own_weight(layer)
        if parameter in self._held:
            return
        home = parameter.data.to(CPU)
        if self._device.type == "cuda":
            pinned = pin(home.pin_memory)
            home = home if pinned is None else pinned
        place = torch.empty((), dtype=home.dtype, device=self._device).expand(home.shape)
        held = self._held[parameter] = _Held(layer, parameter, home, place)
        parameter.data = place
        held.hooks = (layer.register_forward_pre_hook(partial(self._put, held)),
                      layer.register_forward_hook(partial(self._take, held), always_call=True))

    def _give_back(self, parameter: nn.Parameter) -> None:
        held = self._held.pop(parameter, None)
        if held is not None:
            held.remove()
            parameter.data = held.home.to(self._device)

    def _bring(self, held: _Held) -> Tensor:
        return held.home.to(self._device, copy=True, non_blocking=True)

    def _put(self, held: _Held, *_: object) -> None:
        if self._off:
            return
        held.depth += 1
        if held.depth == 1:  # a module may run inside itself
            brought = _Brought.apply(held.parameter, partial(self._bring, held))
            held.layer.__dict__["weight"] = brought
            held.address = brought.untyped_storage().data_ptr()
            self._out[held.address] = held.parameter

    def _take(self, held: _Held, *_: object) -> None:
        if held.depth == 0:
            return
        held.depth -= 1
        if held.depth == 0:
            held.layer.__dict__.pop("weight", None)
            self._out.pop(held.address, None)

    # -- what autograd keeps for the backward pass -----------------------------------------------------------------

    def _begin(self, *_: object) -> None:
        """From here to the end of the network's forward pass, weights are not kept for the backward pass. Where someone
        else says what is kept (a network that overwrites its inputs), they are, which takes more memory."""
        hooks = saved_tensors_hooks(self._pack, self._unpack)
        if self._held and not self._off and torch.is_grad_enabled() and not _is_watched():
            hooks.__enter__()  # type: ignore[no-untyped-call]
            self._saving.append(hooks)

    def _end(self, *_: object) -> None:
        if self._saving:
            self._saving.pop().__exit__()  # type: ignore[no-untyped-call]

    def _pack(self, tensor: Tensor) -> _Kept | _Weight:
        parameter = self._out.get(tensor.untyped_storage().data_ptr()) if self._out else None
        if parameter is None or tensor.dtype != parameter.dtype:
            return _Kept(tensor, tensor._version)
        return _Weight(parameter, tensor.shape, tensor.stride(), int(tensor.storage_offset()))

    def _unpack(self, kept: _Kept | _Weight) -> Tensor:
        if isinstance(kept, _Kept):
            return kept.read()
        if self._last is None or self._last[0] is not kept.parameter:
            self._last = None  # before another takes memory
            self._last = kept.parameter, self._bring(self._held[kept.parameter])
        return self._last[1].as_strided(kept.shape, kept.stride, kept.offset)


@dataclass(eq=False)
class _Held:
    """A weight in RAM.

    Attributes:
        home: the weight itself.
        place: what the parameter has instead.
        depth: of the layer's forward passes that run now.
        address: of the weight's copy on the device meanwhile.
    """

    layer: nn.Linear | nn.Conv2d
    parameter: nn.Parameter
    home: Tensor
    place: Tensor
    hooks: tuple[Any, ...] = ()
    depth: int = 0
    address: int = 0

    def remove(self) -> None:
        for hook in self.hooks:
            hook.remove()
        self.layer.__dict__.pop("weight", None)


@dataclass(frozen=True, eq=False)
class _Weight:
    """Stands for a weight, or a view of it, that autograd keeps."""

    parameter: nn.Parameter
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int


@dataclass(frozen=True, eq=False)
class _Kept:
    """Another tensor that autograd keeps. It compares no versions of what passes such hooks."""

    tensor: Tensor
    version: int

    def read(self) -> Tensor:
        if self.tensor._version != self.version:
            raise RuntimeError("a tensor needed for the backward pass has been modified by an inplace operation: "
                               f"{list(self.tensor.shape)} is at version {self.tensor._version}, expected "
                               f"{self.version}.")
        return self.tensor


class _Brought(torch.autograd.Function):
    """The copy of a weight on the device. Its gradient is that of the parameter, whose place holder is there."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bring: Callable[[], Tensor]) -> Tensor:
        return bring()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def _own_weight(layer: nn.Linear | nn.Conv2d) -> nn.Parameter:
    """The parameter itself, also while the layer computes with a copy."""
    parameter = layer._parameters["weight"]
    assert parameter is not None, "these layers have weights"
    return parameter


def _move_state(state: MutableMapping[str, Any], device: torch.device, at_least: int) -> None:
    """Move what an optimizer keeps of a parameter, as far as it has so many numbers. Counts of steps stay."""
    for name, value in state.items():
        if isinstance(value, Tensor) and value.ndim and value.numel() >= at_least and value.device != device:
            state[name] = value.to(device)


def _is_watched() -> bool:
    """Whether hooks of others are told what autograd keeps."""
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return bool(top and top(False))
