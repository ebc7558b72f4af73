"""The autocast of an accelerator, for tensors that are counted on the CPU.

Under autocast, CUDA computes norms, powers and the like in float32 (https://docs.pytorch.org/docs/stable/amp.html,
ATen/autocast_mode.h); the CPU does not. The float32 copies of their inputs are kept for the backward pass, so they are
a large part of what a training step takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Variable
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

IN_FLOAT32: frozenset[Callable[..., Any]] = frozenset((
    torch.acos, torch.asin, torch.cosh, torch.exp, torch.expm1, torch.log, torch.log10, torch.log2, torch.log1p,
    torch.reciprocal, torch.rsqrt, torch.sinh, torch.tan, torch.pow, torch.norm, torch.cdist,
    torch.layer_norm, torch.group_norm, torch.rms_norm,
    Tensor.acos, Tensor.asin, Tensor.cosh, Tensor.exp, Tensor.expm1,
    Tensor.log, Tensor.log10, Tensor.log2, Tensor.log1p,
    Tensor.reciprocal, Tensor.rsqrt, Tensor.sinh, Tensor.tan, Tensor.pow, Tensor.__pow__, Tensor.__rpow__, Tensor.norm,
    F.softplus, F.layer_norm, F.group_norm, F.rms_norm, F.cosine_similarity, F.l1_loss, F.smooth_l1_loss, F.huber_loss,
    F.mse_loss, F.normalize, F.interpolate,
))
TO_FLOAT32: frozenset[Callable[..., Any]] = frozenset((
    torch.prod, torch.softmax, torch.log_softmax, torch.cumprod, torch.cumsum, torch.sum, torch.linalg.vector_norm,
    Tensor.prod, Tensor.softmax, Tensor.log_softmax, Tensor.cumprod, Tensor.cumsum, Tensor.sum, F.softmax,
    F.log_softmax,
))
"""Functions whose result is float32, while their input stays as it is."""


class AcceleratorRules(TorchFunctionMode):
    """Where autocast is on, compute what CUDA's autocast computes in float32 in float32."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.is_autocast_enabled("cpu"):
            if function in IN_FLOAT32:
                args, kwargs = tree_map(_as_float32, (args, kwargs))
            elif function in TO_FLOAT32 and kwargs.get("dtype") is None and _is_half(args[0]):
                kwargs = {**kwargs, "dtype": torch.float32}
        return function(*args, **kwargs)


def run_backward(loss: Tensor) -> None:
    """As `loss.backward()`, which would turn the rules off for what is recomputed meanwhile."""
    Variable._execution_engine.run_backward((loss,), (torch.ones_like(loss),), False, False, (), allow_unreachable=True,
                                            accumulate_grad=True)


def _is_half(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)


def _as_float32(value: Any) -> Any:
    return value.float() if _is_half(value) else value
