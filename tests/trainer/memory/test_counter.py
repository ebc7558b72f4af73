"""What is counted on fake tensors is what real ones take."""

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode
from torch.utils.checkpoint import checkpoint

from lora_bootstrap.trainer.memory import counter
from lora_bootstrap.trainer.memory.autocast import AcceleratorRules, run_backward
from lora_bootstrap.trainer.memory.counter import StorageCounter, TookTooLong, counting

SIDE, ROWS = 64, 32
TENSOR = 4 * ROWS * SIDE


def a_step(recompute=False):
    """Four blocks of a linear layer and a GELU, forward and backward, on tensors made here."""
    weights = [torch.zeros(SIDE, SIDE, requires_grad=True) for _ in range(4)]
    hidden = torch.zeros(ROWS, SIDE)
    for weight in weights:
        def block(hidden, weight=weight):
            return F.gelu(hidden @ weight)
        hidden = checkpoint(block, hidden, use_reentrant=False) if recompute else block(hidden)
    run_backward(hidden.sum())


@pytest.mark.parametrize("recompute", [False, True])
def test_fake_tensors_are_counted_as_real_ones_are(recompute):
    with counting() as fake:
        a_step(recompute)
    with StorageCounter() as real:
        a_step(recompute)
    assert fake.peak == real.peak > 4 * 4 * SIDE * SIDE
    assert fake.work == real.work


def test_a_peak_is_as_computed_by_hand():
    with counting() as counted:
        first = torch.zeros(ROWS, SIDE)
        second = first + 1
        assert counted.now == 2 * TENSOR
        first.add_(second)
        view = second.view(-1)
        assert counted.now == 2 * TENSOR
        del second
        assert counted.now == 2 * TENSOR
        del view
        assert counted.now == TENSOR
        first @ torch.zeros(SIDE, 16)
    assert counted.peak == 2 * TENSOR
    assert counted.work.operations == 2 * ROWS * SIDE * 16


def test_a_step_keeps_one_input_and_one_product_of_every_block():
    with counting() as plain:
        a_step()
    with counting() as recomputed:
        a_step(recompute=True)
    assert recomputed.peak < plain.peak
    assert plain.peak >= 4 * 4 * SIDE * SIDE + 8 * TENSOR  # weights; the input and what the GELU reads of each block
    assert recomputed.work.operations == pytest.approx(plain.work.operations * 4 / 3, rel=0.2)


def test_norms_keep_float32_copies_under_autocast_as_on_an_accelerator():
    hidden = torch.zeros(2, 8, 4, 4, dtype=torch.bfloat16)
    norms = (lambda: F.group_norm(hidden, 2), lambda: F.layer_norm(hidden, (4,)), lambda: hidden.pow(2),
             lambda: torch.rsqrt(hidden), lambda: hidden.softmax(-1), lambda: torch.sum(hidden))
    with AcceleratorRules():
        assert {norm().dtype for norm in norms} == {torch.bfloat16}
        with torch.autocast("cpu", torch.bfloat16):
            assert {norm().dtype for norm in norms} == {torch.float32}
            assert F.silu(hidden).dtype == torch.bfloat16


def test_the_rules_also_hold_for_what_is_recomputed():
    norm = nn.LayerNorm(4, dtype=torch.bfloat16)
    with AcceleratorRules(), torch.autocast("cpu", torch.bfloat16):
        made = checkpoint(norm, torch.zeros(2, 4, dtype=torch.bfloat16, requires_grad=True), use_reentrant=False)
    with AcceleratorRules():
        run_backward(made.sum())  # checkpoint refuses another dtype than before
    assert norm.weight.grad is not None


def test_counting_leaves_no_trace():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with counting():
        a_step()
        torch.randn(4)
    assert torch.equal(torch.get_rng_state(), before)
    assert _get_current_dispatch_mode() is None and _get_current_function_mode_stack() == []
    assert not torch.is_autocast_enabled("cpu") and type(torch.zeros(1)) is torch.Tensor


def test_an_error_while_counting_leaves_no_trace():
    with pytest.raises(ZeroDivisionError), counting():
        raise ZeroDivisionError
    assert _get_current_dispatch_mode() is None and _get_current_function_mode_stack() == []


def test_counting_ends_in_time():
    with pytest.raises(TookTooLong), counting(ends_at=0.0):
        a_step()


def test_counting_may_end_anywhere_in_a_step_without_ending_the_process(monkeypatch):
    def count(ends_at):
        clock = itertools.count()
        monkeypatch.setattr(counter, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        with counting(ends_at), torch.autocast("cpu", torch.bfloat16):
            a_step()
        return next(clock)

    moments = count(math.inf)
    assert moments > 20
    for moment in range(moments):
        with pytest.raises(TookTooLong):
            count(moment - 0.5)
