"""Kernels and layers that have no backward pass, exchanged for others while a model is trained.

ComfyUI calls its kernel library (comfy_kitchen) as operators of torch, and some model files do so in training too
(Anima's rotary embedding). The library holds a plain form of each operator, whose gradients torch knows. Flags of the
host choose attention kernels (Sage, Flash, 8-bit) for inference only; the host's own pytorch attention does the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import comfy.ldm.modules.attention as attention
import comfy.ops
import torch
from torch import Tensor, nn

from ...trainer.models.frozen import frozen_forward
from .shadow import is_plain

try:
    import comfy_kitchen
    from comfy_kitchen.backends import eager
except ImportError:  # older hosts
    comfy_kitchen = eager = None

INFERENCE_ATTENTION = ("attention_sage", "attention_flash", "attention_comfy_kitchen_int8")
"""The host's attention functions without a backward pass."""


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """Calls with gradients go to the plain forms while the block lasts, all others to the kernels as before."""
    replaced = {name: _Plain(getattr(torch.ops.comfy_kitchen, name), plain) for name, plain in _plain_forms()}
    for name, call in replaced.items():
        setattr(torch.ops.comfy_kitchen, name, call)
    try:
        yield
    finally:
        for name, call in replaced.items():
            setattr(torch.ops.comfy_kitchen, name, call.operator)


def attention_options() -> dict[str, Any]:
    """transformer_options under which the host computes attention with a backward pass."""
    fused = attention.optimized_attention.__name__ in INFERENCE_ATTENTION
    return {"optimized_attention_override": _plain_attention} if fused else {}


def _plain_attention(fused: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    return attention.attention_pytorch(*args, **kwargs)


def _plain_forms() -> Iterator[tuple[str, Callable[..., Any]]]:
    """(name of the operator, function that takes the same arguments) of the kernel library."""
    if comfy_kitchen is None:
        return
    for name in comfy_kitchen.list_backends()["eager"]["capabilities"]:
        plain = getattr(eager, name.removesuffix("_"), None)
        if plain is not None and hasattr(torch.ops.comfy_kitchen, name):
            yield name, plain


class _Plain:
    """Stands in for an operator of torch."""

    def __init__(self, operator: Any, plain: Callable[..., Any]) -> None:
        self.operator, self.plain = operator, plain
        arguments = operator.default._schema.arguments
        self._names = {argument.name: bool(argument.alias_info and argument.alias_info.is_write)
                       for argument in arguments}
        """The operator's arguments, and whether it changes them in place."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not (torch.is_grad_enabled() and _with_gradients((*args, *kwargs.values()))):
            return self.operator(*args, **kwargs)
        made = self.plain(*args, **kwargs)
        made = made if isinstance(made, tuple) else (made,)
        if not _with_gradients(made):  # it rounds: the operator says that it has no backward
            return self.operator(*args, **kwargs)
        given = dict(zip(self._names, args, strict=False)) | kwargs
        changed = [name for name, is_changed in self._names.items() if is_changed]
        for name, value in zip(changed, made, strict=False):
            given[name].copy_(value)
        return None if changed else made if len(made) > 1 else made[0]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.operator, name)


def _with_gradients(values: tuple[Any, ...]) -> bool:
    return any(isinstance(value, Tensor) and value.requires_grad for value in values)


def casting(module: nn.Module) -> Callable[..., Tensor] | None:
    """A forward of our own for layers whose weights the host casts or moves at each use (low memory, quantised)."""
    cast = getattr(type(module), "forward_comfy_cast_weights", None)
    if getattr(cast, "__module__", "") != comfy.ops.__name__:
        return None  # other packs' layers (GGUF) cast in their own way, which autograd can follow
    casts = ("comfy_cast_weights", "weight_function", "bias_function")
    weight = module._parameters.get("weight")
    if not any(getattr(module, name, None) for name in casts) and (weight is None or is_plain(weight)):
        return None
    forward, scale = frozen_forward(module, _host_weights), getattr(module, "pre_quant_scale", None)
    if forward is None or scale is None:
        return forward
    return lambda x: forward(x * scale.to(x))


def as_linear(module: nn.Module) -> type:
    """The class that presents the host's quantised layer, which is not an nn.Linear, as one: adapters are chosen by
    class."""
    kind = type(module)
    quantised = issubclass(kind, comfy.ops.CastWeightBiasOp) and kind.__name__ == "Linear"
    if not quantised or issubclass(kind, nn.Linear):
        return kind
    return _linear_kind(kind)  # type: ignore[arg-type]  # a class can be hashed; mypy asks its instances


@cache
def _linear_kind(kind: type) -> type:
    return type(kind.__name__, (kind, nn.Linear), {})


@contextlib.contextmanager
def _host_weights(module: nn.Module, like: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
    weight, bias, held = comfy.ops.cast_bias_weight(module, like, offloadable=True)
    try:
        yield (weight if is_plain(weight) else weight.dequantize()), bias
    finally:
        comfy.ops.uncast_bias_weight(module, weight, bias, held)
