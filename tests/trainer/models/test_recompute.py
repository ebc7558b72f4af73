"""Gradient checkpointing for a share of the blocks: the same gradients, whichever share."""

import diffusers
import pytest
import torch
from torch import nn

from lora_bootstrap.trainer.models.recompute import Recomputation, blocks_of, recomputed
from lora_bootstrap.trainer.training import adapters
from lora_bootstrap.trainer.training.config import AdapterConfig


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.GELU())
        self.seen = []

    def forward(self, hidden, told):
        self.seen.append(told["index"])
        return self.layers(hidden) * (1 + told["index"])


class Network(nn.Module):
    """Tells its blocks their number in one dict that it changes on the way, as ComfyUI's do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.embed = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(Block() for _ in range(4))

    def forward(self, hidden):
        hidden, told = self.embed(hidden), {}
        for told["index"], block in enumerate(self.blocks):
            hidden = block(hidden, told)
        return hidden


@pytest.mark.parametrize(("share", "times"), [(0.0, [1, 1, 1, 1]), (0.5, [2, 2, 1, 1]), (0.6, [2, 2, 2, 1]),
                                              (1.0, [2, 2, 2, 2])])
def test_the_first_blocks_are_recomputed_with_what_they_were_told(share, times):
    network, x = Network(), torch.randn(2, 4, requires_grad=True)
    network(x).square().sum().backward()
    plain, x.grad = x.grad, None
    for block in network.blocks:
        block.seen.clear()
    with recomputed(network, share) as part:
        network(x).square().sum().backward()
        assert part.share == share
    assert torch.equal(x.grad, plain)
    assert [block.seen for block in network.blocks] == [[index] * count for index, count in enumerate(times)]
    assert all("forward" not in module.__dict__ for module in network.modules())


def test_the_share_can_be_raised_between_two_passes():
    network = Network()
    with recomputed(network, 0.25) as part:
        part.set_share(0.75)
        network(torch.randn(2, 4, requires_grad=True)).sum().backward()
    assert [len(block.seen) for block in network.blocks] == [2, 2, 2, 1]


def test_blocks_are_the_smallest_that_hold_most_of_a_network_also_with_a_lora_in_it():
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=32, attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=2)
    blocks = blocks_of(unet)
    kinds = [type(block).__name__ for block in blocks]
    assert kinds.count("BasicTransformerBlock") == 2 * 4 and kinds.count("ResnetBlock2D") == 8
    handle = adapters.attach(unet, AdapterConfig(rank=2, layers="all"), ("down_blocks", "up_blocks"), 0)
    assert blocks_of(unet) == blocks
    handle.detach()


def test_no_block_of_a_network_without_lists_is_recomputed():
    network = nn.Linear(4, 4)
    Recomputation(network).set_share(1.0)
    assert "forward" not in network.__dict__


def test_blocks_that_change_their_inputs_in_place_are_given_copies():
    class Adds(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, hidden):
            hidden += self.layer(hidden).tanh()
            return hidden * hidden

    network, x = nn.Sequential(), torch.randn(2, 4, requires_grad=True)
    network.blocks = nn.ModuleList(Adds() for _ in range(2))

    def gradient():
        hidden = x * 1
        for block in network.blocks:
            hidden = block(hidden)
        return torch.autograd.grad(hidden.sum(), x)[0]

    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        plain = gradient()
    with recomputed(network, overwrites=True):
        torch.testing.assert_close(gradient(), plain)
