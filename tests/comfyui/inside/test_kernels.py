"""Kernels without a backward pass are exchanged for their plain forms while a model is trained, and only then."""

import comfy.ldm.modules.attention as attention
import pytest
import torch

from lora_bootstrap.host.backbone.kernels import attention_options, plain_kernels

comfy_kitchen = pytest.importorskip("comfy_kitchen")
X, SCALE = torch.randn(1, 3, 2, 8), torch.rand(8)
FREQS = torch.randn(1, 3, 1, 4, 2, 2)
CALLS = {
    "apply_rope1": (X, FREQS), "apply_rope_split_half1": (X, FREQS), "apply_rope": (X, X * 2, FREQS),
    "rms_rope1": (X, FREQS, SCALE), "rms_rope_split_half": (X, X * 2, FREQS, SCALE, SCALE),
    "adaln": (X, SCALE, SCALE), "rms_adaln": (X, SCALE, SCALE),
}


def first(value):
    return value[0] if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", [name for name in CALLS if hasattr(comfy_kitchen, name)])
def test_a_fused_kernel_has_gradients_while_a_model_is_trained_and_gives_the_same(name):
    call, arguments = getattr(comfy_kitchen, name), CALLS[name]
    x = arguments[0].clone().requires_grad_(True)
    with pytest.raises(RuntimeError):  # why it is needed
        first(call(x, *arguments[1:])).sum().backward()
    with plain_kernels():
        made = first(call(x, *arguments[1:]))
        made.square().sum().backward()
    assert x.grad.abs().sum() > 0
    torch.testing.assert_close(made.detach(), first(call(*arguments)))


def test_a_kernel_that_works_in_place_has_gradients_too():
    if not hasattr(comfy_kitchen, "rms_rope_split_half1_"):
        pytest.skip("this host's kernels do not work in place")
    leaf = X.clone().requires_grad_(True)
    with plain_kernels(), torch.autograd.graph.allow_mutation_on_saved_tensors():
        made = comfy_kitchen.rms_rope_split_half1_(leaf * 1, FREQS, SCALE)
        made.square().sum().backward()
    assert leaf.grad.abs().sum() > 0
    torch.testing.assert_close(made.detach(), comfy_kitchen.rms_rope_split_half1(X, FREQS, SCALE))


def test_the_kernels_are_the_hosts_own_again_afterwards_and_without_gradients():
    before = torch.ops.comfy_kitchen.apply_rope1
    with pytest.raises(ZeroDivisionError), plain_kernels():
        assert torch.ops.comfy_kitchen.apply_rope1 is not before
        calls = []
        torch.ops.comfy_kitchen.apply_rope1.operator = lambda *args: calls.append(args) or before(*args)
        comfy_kitchen.apply_rope1(X, FREQS)
        assert len(calls) == 1  # the kernel itself
        torch.ops.comfy_kitchen.apply_rope1.operator = before
        raise ZeroDivisionError
    assert torch.ops.comfy_kitchen.apply_rope1 is before


def test_attention_kernels_for_inference_give_way_to_the_hosts_plain_attention(monkeypatch):
    assert attention_options() == {}

    @attention.wrap_attn
    def attention_sage(q, k, v, heads, **kwargs):
        return torch.zeros_like(q)  # as a kernel, it carries no gradient

    monkeypatch.setattr(attention, "optimized_attention", attention_sage)
    q = torch.randn(1, 4, 8, requires_grad=True)
    made = attention.optimized_attention(q, q, q, 2, transformer_options=attention_options())
    assert made.requires_grad and torch.equal(made, attention.attention_pytorch(q, q, q, 2))
