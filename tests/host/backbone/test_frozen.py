"""Layers whose weights are cast each time they are used."""

from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch import nn

from lora_bootstrap.trainer.models.frozen import frozen_forward


@pytest.mark.parametrize("make", [lambda: nn.Linear(8, 6), lambda: nn.Conv2d(8, 6, 3, padding=1)],
                         ids=["linear", "convolution"])
@pytest.mark.parametrize(("autocast", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_eight_bit_weights_are_cast_once_to_what_the_layer_computes_in(make, autocast, expected):
    torch.manual_seed(0)
    layer = make()
    weight, cast = layer.weight.detach().to(torch.float8_e4m3fn), []

    @contextmanager
    def weights(module, like):
        cast.append(like.dtype)
        yield weight.to(like.dtype), module.bias.detach().to(like.dtype)

    x = torch.randn((2, 8, 5, 5) if isinstance(layer, nn.Conv2d) else (2, 8), requires_grad=True)
    plain = x.detach().clone().requires_grad_()
    layer.weight.data = weight.float()
    with torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext():
        ours, theirs = frozen_forward(layer, weights)(x), layer(plain)
    assert cast == [expected] and ours.dtype == theirs.dtype == expected and torch.equal(ours, theirs)
    for made in (ours, theirs):
        made.float().square().sum().backward()
    assert x.grad.dtype == torch.float32
    torch.testing.assert_close(x.grad, plain.grad, atol=0.05 if autocast else 1e-6, rtol=0)
