"""A second tree of modules over the same weights: adapters go into the shadow, and the original is never changed.

A host that owns a model moves its weights between devices, patches them, and may hold them as inference tensors, which
autograd cannot use. The shadow's parameters are ordinary tensors over the same memory, so there is no second copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from ...trainer.models.blocks_in_ram import takes_memory
from ...trainer.models.recompute import is_recomputed

CPU = torch.device("cpu")
OWN = frozenset(("_parameters", "_buffers", "_modules", "training", "forward"))
"""What a shadow does not copy from the original's attributes."""

Replace = Callable[[nn.Module], Callable[..., Tensor] | None]
Present = Callable[[nn.Module], type]


class Shadow:
    """The shadow of a module and of everything in it.

    Attributes:
        root: the shadow of the module itself.
    """

    def __init__(self, source: nn.Module, replace: Replace = lambda module: None, present: Present = type) -> None:
        """
        Args:
            replace: may give a shadow module a forward of its own; it is asked again at every `refresh`.
            present: the class that a module's shadow has.
        """
        self._replace, self._present = replace, present
        self._copies: dict[int, tuple[nn.Module, nn.Module]] = {}
        self._taken: dict[int, frozenset[str]] = {}
        self._owned: frozenset[int] = frozenset()
        self._home, self._plain = torch.device("cpu"), dict[str, Any]()
        self.root: Any = self._copy(source)  # of the source's own class, with whatever that has
        self.refresh()

    def refresh(self) -> None:
        """Copy what has changed in the original: where weights are, what they are, attributes, replaced modules."""
        self._exchange()
        for source, copy in self._copies.values():
            self._take_attributes(source, copy)
            owned = id(copy) in self._owned
            if owned:
                _move_all(copy, self._home)
                copy.__dict__.update({name: value for name, value in self._plain.items() if hasattr(copy, name)})
            else:
                _alias_all(source._parameters, copy._parameters)
                _alias_all(source._buffers, copy._buffers)
            if not is_recomputed(copy):
                forward = None if owned else self._replace(copy)
                copy.__dict__.pop("forward", None)
                if forward is not None:
                    copy.__dict__["forward"] = forward

    def release(self) -> None:
        """Release the weights, so that their owner can free the memory; shapes stay. `refresh` brings them back."""
        for _, copy in self._copies.values():
            if id(copy) in self._owned:
                _move_all(copy, CPU)
                continue
            for tensors in (copy._parameters, copy._buffers):
                for tensor in tensors.values():
                    if tensor is not None and is_plain(tensor):
                        tensor.data = torch.empty((), dtype=tensor.dtype).expand(tensor.shape)

    def own(self, part: nn.Module, home: torch.device, plain: Mapping[str, Any]) -> None:
        """From here on the modules of `part`, which are in this shadow, have tensors of their own, which do not follow
        the original's. `release` takes them to RAM, and `refresh` brings them to `home`.

        Args:
            plain: attributes with which a module computes with the weights that it has.
        """
        self._owned, self._home, self._plain = frozenset(map(id, part.modules())), home, dict(plain)

    def disown(self) -> None:
        """Follow the original again, from the next `refresh` on."""
        self._owned = frozenset()

    def _copy(self, source: nn.Module) -> nn.Module:
        if id(source) in self._copies:  # a module that is used in two places stays one module
            return self._copies[id(source)][1]
        copy: nn.Module = object.__new__(self._present(source))
        copy.__dict__.update(training=source.training, _parameters={}, _buffers={}, _modules={})
        self._copies[id(source)] = (source, copy)
        self._take_attributes(source, copy)
        for name, child in source._modules.items():
            copy._modules[name] = None if child is None else self._copy(child)
        return copy

    def _take_attributes(self, source: nn.Module, copy: nn.Module) -> None:
        names = source.__dict__.keys() - OWN
        for name in self._taken.get(id(source), frozenset()) - names:
            copy.__dict__.pop(name, None)
        for name in names:
            value = source.__dict__[name]
            if "_hooks" not in name:
                copy.__dict__[name] = value
            elif name not in copy.__dict__:  # from here on the shadow has hooks of its own
                copy.__dict__[name] = value.copy() if isinstance(value, dict) else value
        self._taken[id(source)] = frozenset(names)

    def _exchange(self) -> None:
        """Follow the owner where it replaced modules. A child that an adapter wraps stays wrapped."""
        for source, copy in list(self._copies.values()):
            for name, child in source._modules.items():
                ours = None if child is None else self._copy(child)
                held = copy._modules.get(name)
                if held is not ours and (held is None or all(part is not ours for part in held.modules())):
                    copy._modules[name] = ours
            for name in copy._modules.keys() - source._modules.keys():
                del copy._modules[name]


def _move_all(module: nn.Module, device: torch.device) -> None:
    for tensors in (module._parameters, module._buffers):
        for tensor in tensors.values():
            if tensor is not None and tensor.device != device and takes_memory(tensor):  # else its weight stays in RAM
                tensor.data = tensor.data.to(device)


def is_plain(tensor: Tensor) -> bool:
    """Whether the tensor is plain memory with a shape (not quantised by its own class, not lazy)."""
    return type(tensor.data) is Tensor and tensor.layout == torch.strided and not tensor.is_meta


def _alias_all(sources: Mapping[str, Tensor | None], copies: MutableMapping[str, Any]) -> None:
    for name in copies.keys() - sources.keys():
        del copies[name]
    for name, source in sources.items():
        copy = copies.get(name)
        if source is None or not is_plain(source):
            copies[name] = source
        elif copy is None or not is_plain(copy):
            alias = _alias(source)
            copies[name] = nn.Parameter(alias, requires_grad=False) if isinstance(source, nn.Parameter) else alias
        elif _place(copy) != _place(source):
            copy.data = _alias(source)  # the same object, because handles keep it


def _place(tensor: Tensor) -> tuple[object, ...]:
    return tensor.data_ptr(), tensor.dtype, tensor.device, tensor.shape, tensor.stride()


def _alias(source: Tensor) -> Tensor:
    """A tensor over the same memory that is not an inference tensor, if this is called outside inference mode."""
    alias = torch.empty(0, dtype=source.dtype, device=source.device)
    return alias.set_(source.untyped_storage(), source.storage_offset(), source.size(), source.stride())
