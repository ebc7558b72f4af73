"""Layers of a frozen network whose weights are held otherwise than they compute: in fewer bits, or in RAM.

Each layer gets its weight for the time of its forward and its backward pass; see `models/frozen.py`. fp8 is PyTorch's
own type, as ComfyUI's weight_dtype fp8_e4m3fn has it; int8 and nf4 are those of bitsandbytes (Dettmers et al. 2022,
arXiv:2208.07339, and 2023, arXiv:2305.14314).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..common.checks import check_choice
from ..common.errors import UserError
from ..models.frozen import frozen_forward
from ..models.recompute import blocks_of
from .given_base import AS_LOADED, BASE_PRECISIONS
from .places import CPU


@dataclass(frozen=True)
class Packed:
    """A weight in another form.

    Attributes:
        tensors: what holds it.
        unpack: the same tensors, wherever they are → the weight, in any floating-point type.
    """

    tensors: tuple[Tensor, ...]
    unpack: Callable[..., Tensor]


def _as_fp8(weight: Tensor) -> Packed:
    limit = torch.finfo(torch.float8_e4m3fn).max  # what is beyond it would become NaN
    return Packed((weight.clamp(-limit, limit).to(torch.float8_e4m3fn),), lambda data: data)


def _as_int8(weight: Tensor) -> Packed:
    functional = _bitsandbytes()
    data, scale, _ = functional.int8_vectorwise_quant(weight.flatten(1).to(torch.float16))
    shape = weight.shape
    return Packed((data, scale), lambda data, scale: functional.int8_vectorwise_dequant(data, scale).view(shape))


def _as_nf4(weight: Tensor) -> Packed:
    functional = _bitsandbytes()
    data, state = functional.quantize_4bit(weight, quant_type="nf4")
    kept = {"blocksize": state.blocksize, "quant_type": "nf4", "code": state.code, "shape": state.shape,
            "dtype": state.dtype}

    def unpack(data: Tensor, absmax: Tensor, code: Tensor) -> Tensor:
        return functional.dequantize_4bit(data, functional.QuantState(**{**kept, "absmax": absmax, "code": code}))

    return Packed((data, state.absmax, state.code), unpack)


PRECISIONS: dict[str, Callable[[Tensor], Packed] | None] = {
    AS_LOADED: None, "fp8": _as_fp8, "int8": _as_int8, "nf4": _as_nf4}
"""Precision in which the base's weights are held → how a weight is packed; auto: as they are loaded."""


def check_precision(name: str) -> None:
    """Raises UserError if there is no such precision, or its library is missing."""
    check_choice("base precision", name, BASE_PRECISIONS)
    if name in ("int8", "nf4"):
        _bitsandbytes()


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes.functional as functional
    except ImportError as error:
        raise UserError("base precisions int8 and nf4 need the package bitsandbytes, which is not installed. Install "
                        "lora-bootstrap[8bit], or use fp8.") from error
    return functional


class HeldWeights:
    """The linear and convolution layers inside a network's blocks, as far as their weights are packed or in RAM.

    What embeds the network's inputs and makes its output stays as it is. Make it before adapters are in the network.

    Attributes:
        precision: in which the weights are packed, a key of PRECISIONS.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network, self.precision = network, AS_LOADED
        self._blocks = [[layer for layer in block.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))
                         and frozen_forward(layer, _nothing) is not None] for block in blocks_of(network)]
        self._held: dict[int, _Held] = {}

    def pack(self, precision: str, device: torch.device) -> None:
        """Pack the weights on `device`, one after another, and move all else there. `precision` is a key of PRECISIONS
        other than AS_LOADED."""
        pack = PRECISIONS[precision]
        assert pack is not None, "weights as they are loaded are not packed"
        self.precision = precision
        for layer in chain.from_iterable(self._blocks):
            self._held[id(layer)] = _Held(layer, pack(layer.weight.data.to(device)), device)
        for module in self._network.modules():
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is not None and tensor.device != device:
                    tensor.data = tensor.data.to(device)

    def offload(self, share: float, device: torch.device) -> None:
        """Hold the weights of this share of the blocks, from 0 to 1, in RAM; those of the others on `device`.

        The last blocks are taken: the first are recomputed, for which weights would be brought once more.
        """
        count = math.ceil(share * len(self._blocks))
        for number, block in enumerate(reversed(self._blocks)):
            for layer in block:
                self._place(layer, number < count, device)

    def _place(self, layer: nn.Linear | nn.Conv2d, in_ram: bool, device: torch.device) -> None:
        held = self._held.get(id(layer))
        if in_ram and held is None:
            held = self._held[id(layer)] = _Held(layer, Packed((layer.weight.data,), _itself), device)
        if held is not None:
            held.move(CPU if in_ram else device)
            if not in_ram and held.packed.unpack is _itself:
                held.give_back()
                del self._held[id(layer)]


class _Held:
    """The weight of one layer. The layer keeps one of the same shape, which takes no memory."""

    def __init__(self, layer: nn.Linear | nn.Conv2d, packed: Packed, device: torch.device) -> None:
        self.layer, self.packed = layer, packed
        layer.weight.data = torch.empty((), dtype=layer.weight.dtype, device=device).expand(layer.weight.shape)
        layer.__dict__["forward"] = frozen_forward(layer, self._given)

    def move(self, device: torch.device) -> None:
        """Hold it on this device; where that is RAM, in memory that a GPU can read by itself."""
        pinned = device == CPU and torch.cuda.is_available()
        moved = [tensor.to(device) for tensor in self.packed.tensors]
        self.packed = Packed(tuple(tensor.pin_memory() if pinned else tensor for tensor in moved), self.packed.unpack)

    def give_back(self) -> None:
        """The layer has its own weight again, where it is now."""
        self.layer.__dict__.pop("forward", None)
        (self.layer.weight.data,) = self.packed.tensors

    @contextmanager
    def _given(self, layer: nn.Module, like: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        tensors = (tensor.to(like.device, non_blocking=True) for tensor in self.packed.tensors)
        bias = self.layer.bias
        yield self.packed.unpack(*tensors).to(like.dtype), None if bias is None else bias.to(like.dtype)


def _itself(data: Tensor) -> Tensor:
    return data


@contextmanager
def _nothing(layer: nn.Module, like: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
    raise AssertionError("only asked whether the layer can be held")
    yield
