"""Whether gradients flow through a network that was written for inference, and what they need to do so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...trainer.common.errors import UserError

_IN_PLACE = "modified by an inplace operation"
_NO_BACKWARD = ("autograd formula", "derivative for", "does not require grad", "cannot be saved for backward",
                "not differentiable", "not implemented for")


class GuardedStep:
    """One forward and backward pass at a time, protected against in-place changes if the network makes them.

    The protection is slow, because every operation is watched, so it is on only where it is known to be needed.
    """

    def __init__(self) -> None:
        self._needed: bool | None = None
        self._stack: contextlib.ExitStack | None = None

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
        if self._needed is None:
            self._needed = check_gradients(network, run)
        if self._needed and self._stack is not None:
            self._stack.enter_context(torch.autograd.graph.allow_mutation_on_saved_tensors())


def keeping_copies() -> contextlib.AbstractContextManager[None]:
    """Keep copies for the backward pass, so that a forward pass may overwrite its tensors. For small networks: it costs
    memory."""
    def keep(tensor: Tensor) -> Tensor:
        whole = tensor if tensor._base is None else tensor._base
        return tensor if isinstance(whole, nn.Parameter) else tensor.detach().clone()

    return torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept)


def check_gradients(network: nn.Module, run: Callable[[], Tensor]) -> bool | None:
    """Whether the network overwrites what its backward pass needs; None if nothing in it is trained.

    `run` is one forward pass and returns a tensor of any shape. Raises UserError, naming the layer, if no gradient can
    pass through it.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if not trained:
        return None
    for protected in (False, True):
        try:
            with _protection(protected):
                gradients = torch.autograd.grad(run().float().square().mean(), trained, allow_unused=True)
        except RuntimeError as error:
            if not protected and _IN_PLACE in str(error):
                continue
            if any(words in str(error) for words in _NO_BACKWARD):
                raise _refusal(network, run, error) from error
            raise
        reached = sum(gradient is not None for gradient in gradients)
        if reached < len(gradients) / 2:  # nothing may use the last block's text half, but no more than that
            raise UserError(f"gradients reach only {reached} of {len(gradients)} parts of the LoRA in "
                            f"{type(network).__name__}: layers in between carry none. Use weights of the model that "
                            "are not quantised, and link the MODEL directly from its loader.")
        return protected
    raise AssertionError("unreachable")


def _protection(on: bool) -> contextlib.AbstractContextManager[Any]:
    return torch.autograd.graph.allow_mutation_on_saved_tensors() if on else contextlib.nullcontext()


def _refusal(network: nn.Module, run: Callable[[], Tensor], error: RuntimeError) -> UserError:
    layer = _without_backward(network, run)
    where = f"layer {layer} of {type(network).__name__}" if layer else type(network).__name__
    reason = str(error).strip().splitlines()[0]
    return UserError(f"{where} cannot carry gradients ({reason}), so this model cannot be trained as it is loaded. "
                     "Use weights that are not quantised, and link the MODEL directly from its loader.")


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
        with _protection(True):
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
