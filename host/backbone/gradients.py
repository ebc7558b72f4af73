"""Whether gradients flow through a network that was written for inference, and what they need to do so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...trainer.common.errors import UserError
from ...trainer.models.recompute import is_recomputed
from ...trainer.training.step.compiled import uncompiled
from .overwritten import Overwritten, copy_inputs, finding_overwritten

_IN_PLACE = "modified by an inplace operation"
_NO_BACKWARD = ("autograd formula", "derivative for", "does not require grad", "cannot be saved for backward",
                "not differentiable", "not implemented for")


@dataclass(frozen=True)
class Guard:
    """What a network needs so that its backward pass finds what the forward pass kept.

    Attributes:
        copies: of layers that are given copies of their inputs.
        whole: whether every operation is watched, which is slow.
    """

    copies: tuple[RemovableHandle, ...] = ()
    whole: bool = False

    def open(self) -> contextlib.AbstractContextManager[Any]:
        """A context around a forward pass and its backward pass."""
        return torch.autograd.graph.allow_mutation_on_saved_tensors() if self.whole else contextlib.nullcontext()

    def remove(self) -> None:
        """Take the copies away from the network."""
        for copy in self.copies:
            copy.remove()


class GuardedStep:
    """One forward and backward pass at a time, protected against in-place changes if the network makes them."""

    def __init__(self) -> None:
        self._guard: Guard | None = None
        self._stack: contextlib.ExitStack | None = None

    def close(self) -> None:
        """Leave the network as it was before the first step."""
        if self._guard is not None:
            self._guard.remove()
        self._guard = None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """A context around a forward pass with gradients and its backward pass."""
        with contextlib.ExitStack() as self._stack:
            yield
        self._stack = None

    def prepare(self, network: nn.Module, run: Callable[[], Tensor]) -> None:
        """Call this before the forward pass. The first time, `run`, a similar pass, is tried out. Does nothing if
        gradients are off.

        Raises UserError, naming the layer, if no gradient can pass through the network.
        """
        if not torch.is_grad_enabled():
            return
        if self._guard is None:
            with uncompiled():
                self._guard = find_guard(network, run)
        if self._guard is not None and self._stack is not None:
            self._stack.enter_context(self._guard.open())


def keeping_copies() -> contextlib.AbstractContextManager[None]:
    """Keep copies for the backward pass, so that a forward pass may overwrite its tensors. For small networks: it costs
    memory."""
    def keep(tensor: Tensor) -> Tensor:
        whole = tensor if tensor._base is None else tensor._base
        return tensor if isinstance(whole, nn.Parameter) else tensor.detach().clone()

    return torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept)


def find_guard(network: nn.Module, run: Callable[[], Tensor]) -> Guard | None:
    """The cheapest guard with which gradients flow through the network rightly; None if nothing in it is trained.

    `run` is one forward pass and returns a tensor of any shape. Raises UserError, naming the layer, if no gradient can
    pass through it.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained:
        return None
    for guard in _guards(network, run):
        try:
            if _carries_gradients(network, run, guard, trained):
                return guard
        except BaseException:
            guard.remove()
            raise
        guard.remove()
    raise AssertionError("unreachable: autograd complains of nothing under the last guard")


def _guards(network: nn.Module, run: Callable[[], Tensor]) -> Iterator[Guard]:
    """From the cheapest on. Autograd notices what is overwritten, but not in blocks that are recomputed."""
    recomputed = any(map(is_recomputed, network.modules()))
    if not recomputed:
        yield Guard()
    found = _overwritten(network, run)
    if found.recomputed:
        raise UserError(f"what layer {found.recomputed[0]} of {type(network).__name__} keeps is overwritten, so the "
                        "LoRA would be trained wrongly with gradient checkpointing. Turn gradient_checkpointing "
                        "and fit_memory off for this model.")
    if not found.elsewhere:
        yield Guard(copy_inputs(found.inputs))
    yield Guard(copy_inputs(found.inputs) if recomputed else (), whole=True)


def _overwritten(network: nn.Module, run: Callable[[], Tensor]) -> Overwritten:
    try:
        with finding_overwritten(network) as found:
            run()
    except RuntimeError as error:
        _refuse(network, run, error)
        raise
    return found


def _carries_gradients(network: nn.Module, run: Callable[[], Tensor], guard: Guard, trained: list[nn.Parameter]
                       ) -> bool:
    """Whether the backward pass works under this guard; false if something that it needs was overwritten."""
    gradients: list[bool] = []
    try:
        with guard.open():
            loss, left = run().float().square().mean(), len(trained)
            for part in _in_parts(trained):
                left -= len(part)
                found = torch.autograd.grad(loss, part, allow_unused=True, retain_graph=left > 0)
                gradients += [gradient is not None for gradient in found]
    except RuntimeError as error:
        if not guard.whole and _IN_PLACE in str(error):
            return False
        _refuse(network, run, error)
        raise
    reached = sum(gradients)
    if reached < len(gradients) / 2:  # nothing may use the last block's text half, but no more than that
        raise UserError(f"gradients reach only {reached} of {len(gradients)} parts of the LoRA in "
                        f"{type(network).__name__}: layers in between carry none. Use weights of the model that "
                        "are not quantised, and link the MODEL directly from its loader.")
    return True


MOST_TOGETHER = 1 << 28
"""Weights whose gradients are held at once while a network is tried out. LoRAs have less; a fine-tune has more."""


def _in_parts(trained: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    part: list[nn.Parameter] = []
    for parameter in trained:
        if part and sum(other.numel() for other in part) + parameter.numel() > MOST_TOGETHER:
            yield part
            part = []
        part.append(parameter)
    yield part


def _refuse(network: nn.Module, run: Callable[[], Tensor], error: RuntimeError) -> None:
    """Raises UserError, naming the layer, if the error says that no gradient can pass through one."""
    if not any(words in str(error) for words in _NO_BACKWARD):
        return
    layer = _without_backward(network, run)
    where = f"layer {layer} of {type(network).__name__}" if layer else type(network).__name__
    reason = str(error).strip().splitlines()[0]
    raise UserError(f"{where} cannot carry gradients ({reason}), so this model cannot be trained as it is loaded. "
                    "Use weights that are not quantised, and link the MODEL directly from its loader.") from error


def _without_backward(network: nn.Module, run: Callable[[], Tensor]) -> str:
    """The innermost module whose own part of the graph has no backward pass; "" if none is found."""
    entered: list[str] = []
    passed: list[tuple[str, list[Tensor], list[Tensor]]] = []

    def after(name: str, inputs: Any, output: Any) -> None:
        entered.remove(name)
        own = [parameter for parameter in modules[name].parameters() if parameter.requires_grad]
        passed.append((name, [*_tensors(inputs), *own], list(_tensors(output))))

    hooks, modules = [], {name: module for name, module in network.named_modules() if name}
    for name, module in modules.items():
        hooks.append(module.register_forward_pre_hook(lambda _, args, name=name: entered.append(name)))
        hooks.append(module.register_forward_hook(
            lambda _, args, kwargs, output, name=name: after(name, (args, kwargs), output), with_kwargs=True))
    try:
        with Guard(whole=True).open():
            try:
                run()
            except RuntimeError:
                return entered[-1] if entered else ""
            return next((name for name, inputs, outputs in passed if not _differentiable(inputs, outputs)), "")
    finally:
        for hook in hooks:
            hook.remove()


def _differentiable(inputs: list[Tensor], outputs: list[Tensor]) -> bool:
    if not (inputs and outputs):
        return True
    try:
        torch.autograd.grad([output.float().sum() for output in outputs], inputs, retain_graph=True, allow_unused=True)
    except RuntimeError as error:
        return not any(words in str(error) for words in _NO_BACKWARD)
    return True


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor with gradients in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        if value.requires_grad:
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
