"""Frozen layers whose weights are provided for each use: cast from eight bits, or moved from another device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

Weights = Callable[[nn.Module, Tensor], AbstractContextManager[tuple[Tensor, Tensor | None]]]
"""(layer, a tensor with the dtype and device of the computation) → the layer's weight and bias while the context
lasts."""


def frozen_forward(module: nn.Module, weights: Weights) -> Callable[..., Tensor] | None:
    """A forward for a linear or convolution layer that asks `weights` for its weights; None for other layers.

    The backward pass asks again. All weights kept from the forward pass together would be a second copy of the model,
    and their owner may have replaced them meanwhile.
    """
    layer = _layer_of(module)
    if layer is None:
        return None
    forward = partial(_Frozen.apply, module, layer, weights)
    forward.weights = weights  # type: ignore[attr-defined]  # for `used_weight`
    return forward


def used_weight(module: nn.Module, like: Tensor) -> AbstractContextManager[tuple[Tensor, Tensor | None]]:
    """The weight and the bias with which a linear or convolution layer computes, whoever provides them.

    Args:
        like: a tensor with the dtype and device of the computation.
    """
    weights: Weights = getattr(module.__dict__.get("forward"), "weights", _own_weights)
    return weights(module, like)


def is_readable(module: nn.Module) -> bool:
    """Whether `used_weight` can have the layer's weight as plain numbers."""
    forward = module.__dict__.get("forward")
    return hasattr(forward, "weights") if forward else type(module.get_parameter("weight").data) is Tensor


def apply_weight(module: nn.Module, x: Tensor) -> Tensor:
    """The output of a linear or convolution layer without its bias. The backward pass reaches `x` alone."""
    layer = _layer_of(module)
    assert layer is not None, f"{type(module).__name__} is not a layer that can be frozen"
    output: Tensor = _Frozen.apply(module, layer, _without_bias, x)
    return output


def _layer_of(module: nn.Module) -> Callable[..., Tensor] | None:
    if isinstance(module, nn.Linear):
        return _linear
    return _convolution if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" else None


@contextmanager
def _own_weights(module: nn.Module, like: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
    weight, bias = module.get_parameter("weight"), module._parameters.get("bias")
    yield weight.to(like), None if bias is None else bias.to(like)


@contextmanager
def _without_bias(module: nn.Module, like: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
    with used_weight(module, like) as (weight, _):
        yield weight, None


def _linear(module: nn.Module, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return nn.functional.linear(x, weight, bias)


def _convolution(module: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return nn.functional.conv2d(x, weight, bias, module.stride, module.padding, module.dilation, module.groups)


def _as_computed(x: Tensor) -> Tensor:
    """x in the type that autocast will compute in, so that weights are cast to that at once, not through x's own."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) and x.is_floating_point() else x


class _Frozen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, module: nn.Module, layer: Callable[..., Tensor], weights: Weights, x: Tensor) -> Tensor:
        ctx.module, ctx.layer, ctx.weights, ctx.shape, ctx.dtype = module, layer, weights, x.shape, x.dtype
        x = _as_computed(x)
        with weights(module, x) as (weight, bias):
            return layer(module, x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None, Tensor]:
        with ctx.weights(ctx.module, gradient) as (weight, _):
            if ctx.layer is _linear:
                back = gradient @ weight
            else:
                module = ctx.module
                back = conv2d_input(ctx.shape, weight, gradient, module.stride, module.padding,
                                            module.dilation, module.groups)
        return None, None, None, back.to(ctx.dtype)
