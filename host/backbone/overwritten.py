"""Which layers keep inputs for the backward pass that the network overwrites afterwards, and copies of those alone.

Networks written for inference add to their tensors in place (Flux: `img += ...` after a norm has read img). To watch
every operation is slow; where such an input is known, the layer is given a copy of it, and nothing else is watched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...trainer.models.recompute import is_recomputed, keeping_all

Place = int | str
"""Where a layer's forward takes an argument: its position, or its name."""


@dataclass
class Overwritten:
    """What a network overwrites of that which its backward pass needs.

    Attributes:
        inputs: by layer, where it takes the inputs concerned.
        elsewhere: names of layers that keep something else that is overwritten, which no copy of an input would save.
        recomputed: the same, of layers in blocks that are recomputed, where autograd does not notice it.
    """

    inputs: dict[nn.Module, frozenset[Place]] = field(default_factory=dict)
    elsewhere: tuple[str, ...] = ()
    recomputed: tuple[str, ...] = ()


@contextmanager
def finding_overwritten(network: nn.Module) -> Iterator[Overwritten]:
    """Watch one forward pass with gradients, and fill in what is yielded as the block ends.

    Blocks that are recomputed run as in the backward pass, on copies of their inputs. What a block keeps is held until
    it ends, all else until the pass ends.
    """
    watch = _Watch({module: name for name, module in network.named_modules()})
    keep = torch.autograd.graph.saved_tensors_hooks(watch.save, lambda kept: kept)
    with watch.on_layers(), keeping_all(network), keep:
        yield watch.found
        watch.found.elsewhere += watch.judge(0)


def copy_inputs(inputs: Mapping[nn.Module, frozenset[Place]]) -> tuple[RemovableHandle, ...]:
    """Give these layers copies of their inputs where gradients are on, until the handles are removed."""
    return tuple(layer.register_forward_pre_hook(partial(_copied, places), with_kwargs=True)
                 for layer, places in inputs.items())


def _copied(places: frozenset[Place], layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not torch.is_grad_enabled():
        return None
    return (tuple(arg.clone() if place in places else arg for place, arg in enumerate(args)),
            {name: arg.clone() if name in places else arg for name, arg in kwargs.items()})


@dataclass
class _Call:
    """One call of a layer: its inputs with their versions at its begin, and those that it changed itself."""

    layer: nn.Module
    first: int
    inputs: dict[Place, tuple[Tensor, int]]
    changed: frozenset[Place] = frozenset()

    def places_of(self, tensor: Tensor) -> frozenset[Place]:
        return frozenset(place for place, (other, _) in self.inputs.items() if _same_memory(tensor, other))


class _Watch:
    def __init__(self, names: Mapping[nn.Module, str]) -> None:
        self.found = Overwritten()
        self._names = names
        self._running: list[_Call] = []
        self._kept: list[tuple[Tensor, int, _Call | None]] = []

    def save(self, tensor: Tensor) -> None:
        """Called for what is kept for a backward pass that never comes."""
        if not isinstance(tensor, nn.Parameter):
            call = self._running[-1] if self._running else None
            self._kept.append((tensor.detach(), tensor._version, call))  # which shares the count of changes

    @contextmanager
    def on_layers(self) -> Iterator[None]:
        hooks = []
        for layer in self._names:
            hooks.append(layer.register_forward_pre_hook(self._enter, with_kwargs=True))
            hooks.append(layer.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _enter(self, layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._running.append(_Call(layer, len(self._kept), {
            place: (value.detach(), value._version) for place, value in (*enumerate(args), *kwargs.items())
            if isinstance(value, Tensor) and not value.is_inference()}))

    def _leave(self, layer: nn.Module, args: Any, output: Any) -> None:
        call = self._running.pop()
        call.changed = frozenset(place for place, (value, version) in call.inputs.items() if value._version != version)
        if is_recomputed(layer):
            self.found.recomputed += self.judge(call.first)

    def judge(self, first: int) -> tuple[str, ...]:
        """See which of the tensors kept since the `first` were overwritten, and let go of them.

        Returns the names of the layers that copies of their inputs would not help.
        """
        overwritten = [(tensor, call) for tensor, version, call in self._kept[first:] if tensor._version != version]
        del self._kept[first:]
        return tuple(self._name(call) for tensor, call in overwritten if not self._is_input(tensor, call))

    def _name(self, call: _Call | None) -> str:
        return self._names[call.layer] if call is not None else ""

    def _is_input(self, tensor: Tensor, call: _Call | None) -> bool:
        """Whether the tensor came into the layer that keeps it, which is then noted, and was overwritten outside."""
        places = call.places_of(tensor) if call is not None else frozenset()
        if call is None or not places or places & call.changed:
            return False
        self.found.inputs[call.layer] = self.found.inputs.get(call.layer, frozenset()) | places
        return True


def _same_memory(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
