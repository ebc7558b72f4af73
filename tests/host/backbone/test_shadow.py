"""A shadow has its original's weights and nothing of its own that could reach the original."""

import pytest
import torch
from torch import nn

from lora_bootstrap.host.backbone.shadow import Shadow
from lora_bootstrap.trainer.models.frozen import frozen_forward
from lora_bootstrap.trainer.models.recompute import recomputed
from lora_bootstrap.trainer.training import adapters
from lora_bootstrap.trainer.training.config import AdapterConfig


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(6, 6), nn.GELU())

    def forward(self, x):
        return x + self.mlp(x)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.norm = nn.LayerNorm(6)
        self.register_buffer("scale", torch.ones(1))
        self.gain = 1.0

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.norm(x) * self.scale * self.gain


@pytest.fixture
def network():
    torch.manual_seed(0)
    with torch.inference_mode():
        return Network().requires_grad_(False)


def test_a_shadow_computes_the_same_over_the_same_memory(network):
    shadow, x = Shadow(network).root, torch.randn(2, 6)
    assert type(shadow) is Network and shadow is not network
    with torch.no_grad():
        assert torch.equal(shadow(x), network(x))
    for ours, theirs in zip([*shadow.parameters(), *shadow.buffers()], [*network.parameters(), *network.buffers()],
                            strict=True):
        assert ours.data_ptr() == theirs.data_ptr() and ours is not theirs
        assert theirs.is_inference() and not ours.is_inference()


def test_gradients_flow_through_weights_that_are_inference_tensors(network):
    x = torch.randn(2, 6, requires_grad=True)
    with pytest.raises(RuntimeError, match="[Ii]nference tensor"):
        network(x).sum().backward()
    Shadow(network).root(x).square().sum().backward()
    assert x.grad.abs().min() > 0


def test_adapters_in_a_shadow_leave_the_original_alone(network):
    before = [(name, id(module), dict(module.__dict__)) for name, module in network.named_modules()]
    shadow = Shadow(network)
    handle = adapters.attach(shadow.root, AdapterConfig(rank=2, layers="all"), ("blocks",), 0)
    assert len(handle.module_names) == 3
    shadow.root.register_forward_hook(lambda *_: None)
    shadow.refresh()  # which keeps what is in the shadow
    assert len(handle.module_names) == 3 and len(shadow.root._forward_hooks) == 1
    handle.detach()
    assert [(name, id(module), dict(module.__dict__)) for name, module in network.named_modules()] == before


def test_a_refreshed_shadow_follows_its_original(network):
    shadow, x = Shadow(network), torch.randn(2, 6)
    held = list(shadow.root.parameters())
    with torch.inference_mode():
        network.blocks[0].mlp[0].weight.data = torch.zeros(6, 6)
        network.norm = nn.LayerNorm(6).double()
        network.blocks[1].mlp[0].to(torch.float64)
        network.blocks[2] = Block()
        network.gain = 3.0
    shadow.refresh()
    for ours, theirs in zip(shadow.root.parameters(), network.parameters(), strict=True):
        assert (ours.data_ptr(), ours.dtype) == (theirs.data_ptr(), theirs.dtype)
    assert shadow.root.gain == 3.0
    assert shadow.root.blocks[0].mlp[0].weight is held[0]  # the object stays, whatever it is over
    assert x.dtype == torch.float32


def test_a_module_that_is_exchanged_and_put_back_is_followed_both_ways(network):
    """As the host does with what a node patches into a model while it is loaded."""
    shadow, own, other = Shadow(network), network.norm, nn.Identity()
    first = shadow.root.norm
    for there, kind in ((other, nn.Identity), (own, nn.LayerNorm), (other, nn.Identity)):
        network.norm = there
        shadow.refresh()
        assert type(shadow.root.norm) is kind and shadow.root.norm is not there
    network.norm = own
    shadow.refresh()
    assert shadow.root.norm is first


def test_a_released_shadow_holds_no_memory_until_it_is_refreshed(network):
    shadow = Shadow(network)
    before = network.norm.weight.clone()
    shadow.release()
    tensors = [*shadow.root.parameters(), *shadow.root.buffers()]
    assert sum(tensor.untyped_storage().nbytes() for tensor in tensors) == 4 * len(tensors)
    assert [tensor.shape for tensor in tensors] == [t.shape for t in [*network.parameters(), *network.buffers()]]
    assert torch.equal(network.norm.weight, before)
    shadow.refresh()
    assert shadow.root.norm.weight.data_ptr() == network.norm.weight.data_ptr()


def test_checkpointed_blocks_are_computed_again_and_come_back(network):
    shadow, x, calls = Shadow(network).root, torch.randn(2, 6, requires_grad=True), []
    shadow.blocks[1].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    shadow(x).square().sum().backward()
    plain, x.grad = x.grad, None
    with recomputed(shadow):
        shadow(x).square().sum().backward()
    torch.testing.assert_close(x.grad, plain)
    assert len(calls) == 3
    assert all("forward" not in module.__dict__ for module in shadow.modules())


@pytest.mark.parametrize("layer", [nn.Linear(4, 3), nn.Conv2d(4, 3, 3, stride=2, padding=1), nn.Conv2d(4, 2, 1)],
                         ids=["linear", "conv", "conv 1x1"])
def test_weights_handed_out_for_each_use_give_the_layers_own_gradients(layer):
    from contextlib import contextmanager

    asked = []

    @contextmanager
    def weights(module, like):
        asked.append(module)
        yield module.weight.to(like.dtype), module.bias.to(like.dtype)

    layer.requires_grad_(False)
    x = torch.randn(2, 5, 4) if isinstance(layer, nn.Linear) else torch.randn(2, 4, 7, 7)
    x.requires_grad_(True)
    layer(x).square().sum().backward()
    own, x.grad = x.grad, None
    frozen_forward(layer, weights)(x).square().sum().backward()
    torch.testing.assert_close(x.grad, own)
    assert asked == [layer, layer]
    assert frozen_forward(nn.LayerNorm(4), weights) is None
