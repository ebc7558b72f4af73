"""Counts what operations on fake tensors would take: bytes held at once, arithmetic, memory traffic, kernels."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from .autocast import AcceleratorRules

flop_of: dict[Any, Callable[..., int]] = flop_registry
ASKED = "prim"
"""The namespace of questions about a tensor, such as for its device. They compute nothing, and some are asked from C++
that lets no Python error through: torch would end the whole process."""


class TookTooLong(RuntimeError):
    """The count did not end within the seconds that it was given."""


@dataclass
class Work:
    """What operations do.

    Attributes:
        operations: floating-point operations of matrix products, convolutions and attention.
        traffic: bytes that all other operations read and write.
        kernels: operations that are started one by one.
    """

    operations: int = 0
    traffic: int = 0
    kernels: int = 0


class StorageCounter(TorchDispatchMode):
    """Counts the storages that are alive, by weak references, and what the operations do.

    Attributes:
        now, peak: bytes of all storages that operations under this mode made and that are still, or were once, alive.
        work: see `Work`.
    """

    def __init__(self, ends_at: float | None = None) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.work = Work()
        self._alive: dict[int, Any] = {}
        self._ends_at = ends_at

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if operation.namespace == ASKED:
            return operation(*args, **kwargs)
        if self._ends_at is not None and time.monotonic() > self._ends_at:
            raise TookTooLong
        made = operation(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        new = [self.hold(tensor) for tensor in tensors]
        if any(new) or operation._schema.is_mutable:
            self._work(operation, args, kwargs, made, tensors)
        return made

    def hold(self, tensor: Tensor) -> bool:
        """Count the tensor's storage; false if it was counted before."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._alive:
            return False
        size = storage.nbytes()
        self._alive[key] = weakref.ref(storage, lambda _: self._release(key, size))
        self.now += size
        self.peak = max(self.peak, self.now)
        return True

    def _release(self, key: int, size: int) -> None:
        del self._alive[key]
        self.now -= size

    def _work(self, operation: Any, args: Any, kwargs: Any, made: Any, tensors: list[Tensor]) -> None:
        self.work.kernels += 1
        formula = flop_of.get(operation._overloadpacket)
        if formula is not None:
            self.work.operations += formula(*args, **kwargs, out_val=made)
            return
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        self.work.traffic += sum(tensor.numel() * tensor.element_size() for tensor in (*read, *tensors))


@contextmanager
def counting(ends_at: float | None = None) -> Iterator[StorageCounter]:
    """Everything computed in this context is fake and counted, with the arithmetic rules of an accelerator.

    Tensors have shapes but no memory, and no random number is drawn. Raises TookTooLong once time.monotonic() passes
    `ends_at`.
    """
    with (torch.random.fork_rng(devices=[]), FakeTensorMode(allow_non_fake_inputs=True),
          StorageCounter(ends_at) as counter, AcceleratorRules()):
        yield counter
