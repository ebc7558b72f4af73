"""Networks written for inference: what they overwrite, and what they cannot carry gradients through."""

import pytest
import torch
from torch import nn

from lora_bootstrap.host.backbone.gradients import Guard, GuardedStep, find_guard, keeping_copies
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.models.backbone import Conditioning
from lora_bootstrap.trainer.models.recompute import recomputed


class Overwriting(nn.Module):
    """Adds in place to what its first layer's backward pass needs."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.first(x).tanh()
        kept = self.second(x)
        x += 1.0
        return x * kept


class Sealed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("derivative for sealed is not implemented")


class Adding(nn.Module):
    """Adds in place to what its norm keeps, as Flux's blocks do."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4)

    def forward(self, x):
        x = self.first(x)
        x += self.second(self.norm(x))
        return x


class Blocks(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


def test_only_the_layer_whose_input_is_overwritten_is_given_a_copy():
    torch.manual_seed(0)
    x = torch.randn(3, 4)
    plain, adding, overwriting = nn.Linear(4, 4), Adding(), Overwriting()
    assert find_guard(plain, lambda: plain(x)) == Guard()
    assert find_guard(nn.Linear(4, 4).requires_grad_(False), lambda: x) is None
    assert find_guard(overwriting, lambda: overwriting(x)) == Guard(whole=True), "the tanh is in no layer of its own"
    guard = find_guard(adding, lambda: adding(x))
    assert not guard.whole and len(guard.copies) == len(adding.norm._forward_pre_hooks) == 1
    guard.remove()
    assert not any(layer._forward_pre_hooks or layer._forward_hooks for layer in adding.modules())


def gradients_of(network, x, step):
    network.zero_grad()
    with step.open():
        step.prepare(network, lambda: network(x))
        network(x).sum().backward()
    return [parameter.grad.clone() for parameter in network.parameters()]


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_are_exactly_those_of_a_step_in_which_every_operation_is_watched(recompute):
    torch.manual_seed(0)
    network, x = Blocks(Adding(), Adding()), torch.randn(3, 4)
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        network(x).sum().backward()
    right = [parameter.grad.clone() for parameter in network.parameters()]
    with recomputed(network, float(recompute), overwrites=True):
        step = GuardedStep()
        for _ in range(2):  # tried out in the first step, known in the second
            assert all(map(torch.equal, gradients_of(network, x, step), right))
        step.close()


def test_a_network_that_copies_do_not_help_is_not_recomputed():
    network, x = Blocks(Overwriting(), Overwriting()), torch.randn(3, 4)
    with recomputed(network, overwrites=True), pytest.raises(UserError, match=r"blocks\.0 of Blocks .* fit_memory off"):
        gradients_of(network, x, GuardedStep())


def test_what_is_overwritten_beside_recomputed_blocks_is_watched():
    torch.manual_seed(0)
    network, x = nn.Sequential(Overwriting(), Blocks(Adding(), Adding())), torch.randn(3, 4)
    with torch.autograd.graph.allow_mutation_on_saved_tensors():
        network(x).sum().backward()
    right = [parameter.grad.clone() for parameter in network.parameters()]
    with recomputed(network[1], overwrites=True):
        assert all(map(torch.equal, gradients_of(network, x, GuardedStep()), right))


def test_a_protected_step_has_the_gradients_of_one_that_overwrites_nothing():
    torch.manual_seed(0)
    network, x, step = Overwriting(), torch.randn(3, 4), GuardedStep()
    hidden = network.first(x).tanh()
    ((hidden + 1) * network.second(hidden)).sum().backward()
    right = [parameter.grad.clone() for parameter in network.parameters()]
    for _ in range(2):  # tried out in the first step, known in the second
        network.zero_grad()
        with step.open():
            step.prepare(network, lambda: network(x))
            network(x).sum().backward()
        for parameter, gradient in zip(network.parameters(), right, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)
    network.zero_grad()
    with keeping_copies():
        loss = network(x).sum()
    loss.backward()
    for parameter, gradient in zip(network.parameters(), right, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_a_layer_without_a_backward_is_named():
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4), nn.Tanh()), nn.Linear(4, 4))
    network[1][1].register_forward_hook(lambda module, args, output: Sealed.apply(output))
    with pytest.raises(UserError, match=r"^layer 1\.1 of Sequential cannot carry gradients \(derivative for sealed"):
        find_guard(network, lambda: network(torch.randn(2, 4)))
    assert len(network[0]._forward_hooks) == 0


def test_a_network_that_cuts_most_of_the_gradients_off_is_refused():
    network = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4)))
    network[2].register_forward_hook(lambda module, args, output: output.detach())
    with pytest.raises(UserError, match="gradients reach only 2 of 8 parts of the LoRA"):
        find_guard(network, lambda: network(torch.randn(2, 4)))


def test_other_errors_are_not_hidden():
    with pytest.raises(RuntimeError, match="out of memory"):
        find_guard(nn.Linear(1, 1), raising)


def raising():
    raise RuntimeError("out of memory")


def test_rows_of_differing_length_stay_apart_and_equal_ones_together():
    def heard(length, value):
        return Conditioning({"text": torch.full((1, length, 2), value), "pooled": torch.full((1, 3), value)})

    both = Conditioning.cat([heard(2, 1.0), heard(4, 2.0), heard(2, 3.0)])
    assert len(both) == 3 and isinstance(both.tensors["text"], tuple) and both.tensors["pooled"].shape == (3, 3)
    assert both.row(1)["text"].shape == (1, 4, 2) and both.row(2)["pooled"][0, 0] == 3
    picked = both.rows([2, 0])
    assert picked.tensors["text"].shape == (2, 2, 2) and picked.tensors["text"][0, 0, 0] == 3
    again = Conditioning.cat([both, heard(4, 5.0)])
    assert [row.shape[1] for row in again.tensors["text"]] == [2, 4, 2, 4]
    assert both.to("cpu").detach().row(1)["text"][0, 0, 0] == 2


def test_rows_may_have_tensors_that_others_do_not_have():
    plain = Conditioning({"text": torch.zeros(2, 2, 2)})
    masked = Conditioning({"text": torch.ones(1, 2, 2), "mask": torch.ones(1, 2)})
    both = Conditioning.cat([plain, masked])
    assert len(both) == 3 and both.tensors["text"].shape == (3, 2, 2)
    assert [list(both.row(index)) for index in range(3)] == [["text"], ["text"], ["text", "mask"]]
    again = Conditioning.cat([both.rows([2, 0]), masked]).to("cpu").detach()
    assert [list(again.row(index)) for index in range(3)] == [["text", "mask"], ["text"], ["text", "mask"]]
    assert again.rows([0, 2]).tensors["mask"].shape == (2, 2)
