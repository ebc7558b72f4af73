"""What `torch.autograd.graph.allow_mutation_on_saved_tensors` takes, for fake tensors.

That one knows tensors by their addresses, which fake ones do not have.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@contextlib.contextmanager
def keeping_overwritten() -> Iterator[None]:
    """While the block lasts, hold a copy of whatever is overwritten after it was saved for the backward pass."""
    mode = _Copies()
    with torch.autograd.graph.saved_tensors_hooks(mode.save, lambda saved: saved), mode:
        yield


class _Copies(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self._saved: dict[int, Any] = {}
        self._held: list[Tensor] = []

    def save(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = id(storage)
        self._saved[key] = weakref.ref(storage, lambda _: self._saved.pop(key, None))
        return tensor.detach()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if operation._schema.is_mutable:
            given = zip(operation._schema.arguments, args, strict=False)
            changed = [value for argument, value in given if argument.alias_info and argument.alias_info.is_write]
            self._held += [torch.empty_like(value) for value in changed
                           if isinstance(value, Tensor) and id(value.untyped_storage()) in self._saved]
        return operation(*args, **kwargs)
