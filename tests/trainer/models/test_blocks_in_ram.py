"""Blocks that are in RAM between their uses compute, and are trained, as if they had stayed on the device."""

import copy
import weakref

import pytest
import torch
from torch import nn

from lora_bootstrap.trainer.models.blocks_in_ram import BlocksInRam, _is_watched, movable_layers, takes_memory
from lora_bootstrap.trainer.models.recompute import recomputed
from lora_bootstrap.trainer.training.optimizers import build_optimizer
from lora_bootstrap.trainer.training.trained.on_arrival import OnArrival

CPU = torch.device("cpu")
WIDE = 64


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.first, self.second = nn.LayerNorm(WIDE), nn.Linear(WIDE, WIDE), nn.Linear(WIDE, WIDE, False)

    def forward(self, x):
        return x + self.second(torch.relu(self.first(self.norm(x))))


class Network(nn.Module):
    def __init__(self, count=8):
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.blocks = nn.Linear(4, WIDE), nn.ModuleList(Block() for _ in range(count))

    def forward(self, x):
        x = self.enter(x)
        for block in self.blocks:
            x = block(x)
        return x


def inputs(seed=1):
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed))


def overwrite_input(_module, args, _output):
    args[0].mul_(2)


def cancel(*_):
    raise KeyboardInterrupt


def trained(share, recompute=0.0, dtype=torch.float32, optimizer="adamw", batches=1):
    """The losses and the weights of three steps."""
    network, losses = Network().to(dtype), []
    blocks = BlocksInRam(network, CPU)
    blocks.set_share(share)
    parameters = list(network.parameters())
    arriving = OnArrival(build_optimizer(optimizer, [(parameters, 1e-2)], 0.01), 1.0, lambda: None, blocks=blocks)
    with recomputed(network, recompute):
        for step in range(3):
            arriving.param_groups[0]["rounded"] = step
            for batch in range(batches):
                arriving.applying = batch == batches - 1
                loss = network(inputs(step + 10 * batch).to(dtype)).float().square().mean()
                loss.backward()
                losses.append(loss.item())
            arriving.zero_grad()
    return losses, [blocks.weight(parameter).clone() for parameter in parameters]


@pytest.mark.parametrize("settings", [
    {}, {"recompute": 1.0}, {"recompute": 0.5}, {"dtype": torch.bfloat16}, {"optimizer": "adafactor"}, {"batches": 2},
    {"share": 0.3}], ids=str)
def test_training_in_ram_gives_the_same_losses_and_weights_to_the_last_bit(settings):
    share = settings.pop("share", 1.0)
    losses, weights = trained(0.0, **settings)
    in_ram, moved = trained(share, **settings)
    assert losses == in_ram
    assert all(torch.equal(a, b) for a, b in zip(weights, moved, strict=True))
    assert not torch.equal(weights[-1], list(Network().parameters())[-1].to(weights[-1].dtype))


@pytest.mark.parametrize("recompute, most", [(0.0, 2), (1.0, 3)])
def test_no_more_weights_are_brought_at_a_time_than_are_used(monkeypatch, recompute, most):
    """Of sixteen layers: the one in use, and the one before it, or what a recomputed block needs at once."""
    alive, counted = weakref.WeakSet(), []
    bring = BlocksInRam._bring

    def watched(self, held):
        made = bring(self, held)
        alive.add(made.untyped_storage())
        counted.append(len(alive))
        return made

    monkeypatch.setattr(BlocksInRam, "_bring", watched)
    trained(1.0, recompute)
    assert max(counted) <= most and len(counted) >= 3 * 2 * 16 and not alive


def test_what_is_in_ram_takes_no_memory_on_the_device_and_comes_back():
    network = Network()
    before = copy.deepcopy(network.state_dict())
    blocks = BlocksInRam(network, CPU)
    blocks.set_share(0.5)
    assert [takes_memory(block.first.weight) for block in network.blocks] == [True] * 4 + [False] * 4
    assert takes_memory(network.enter.weight) and takes_memory(network.blocks[7].norm.weight)
    blocks.set_share(0.0)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    blocks.close()
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in network.modules())


def test_the_optimizers_moments_are_in_ram_too_and_are_saved_and_restored():
    network = Network()
    blocks = BlocksInRam(network, CPU)
    blocks.set_share(1.0)
    parameters, moved = list(network.parameters()), []
    arriving = OnArrival(build_optimizer("adamw", [(parameters, 1e-2)], 0.01), 0.0, lambda: None, blocks=blocks)
    network(inputs()).square().mean().backward()
    moments = arriving.optimizer.state[network.blocks[0].first.weight]
    saved = copy.deepcopy(arriving.state_dict())
    with blocks.shown():
        moved = [takes_memory(parameter) for parameter in parameters]
    assert moments["exp_avg"].device == CPU and all(moved)
    arriving.load_state_dict(saved)
    restored = arriving.optimizer.state[network.blocks[0].first.weight]
    assert torch.equal(restored["exp_avg"], moments["exp_avg"]) and not takes_memory(network.blocks[0].first.weight)


def test_a_network_that_overwrites_what_its_backward_pass_needs_is_noticed():
    network = Network(2)
    network.blocks[0].second.register_forward_hook(overwrite_input)
    blocks = BlocksInRam(network, CPU)
    blocks.set_share(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        network(inputs()).sum().backward()


def test_where_others_say_what_is_kept_for_the_backward_pass_gradients_are_the_same():
    """As ComfyUI's networks need it that overwrite their inputs."""
    found = []
    for share in (0.0, 1.0):
        network = Network(2)
        network.blocks[0].second.register_forward_hook(overwrite_input)
        BlocksInRam(network, CPU).set_share(share)
        with torch.autograd.graph.allow_mutation_on_saved_tensors():
            network(inputs()).sum().backward()
        found.append([parameter.grad for parameter in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_pass_that_is_cancelled_leaves_nothing_that_watches_later_passes():
    """Neither ComfyUI's Cancel nor Ctrl-C is an Exception, and torch calls no hook after them."""
    network = Network(2)
    blocks = BlocksInRam(network, CPU)
    blocks.set_share(1.0)
    network.blocks[1].first.register_forward_pre_hook(cancel)
    with pytest.raises(KeyboardInterrupt):
        network(inputs())
    blocks.close()
    assert not _is_watched() and not any("weight" in vars(layer) for layers in movable_layers(network)
                                         for layer in layers)


def test_a_weight_that_two_modules_use_stays_on_the_device():
    network = Network(2)
    network.blocks[1].second.weight = network.blocks[0].second.weight
    names = {name for name, module in network.named_modules() if module in sum(movable_layers(network), [])}
    assert names == {"blocks.0.first", "blocks.1.first"}
