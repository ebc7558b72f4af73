import pytest
import torch

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.training.optimizers import OPTIMIZERS, build_optimizer
from lora_bootstrap.trainer.training.schedules import SCHEDULES, rate_factor

LIBRARIES = {"adamw8bit": ("bitsandbytes", "8bit"), "prodigy": ("prodigyopt", "prodigy"),
             "adamw_schedule_free": ("schedulefree", "schedulefree"), "lion": ("pytorch_optimizer", "optimizers"),
             "came": ("pytorch_optimizer", "optimizers")}
"""The library of an optimizer, and the extra of ours that brings it."""


def descend(name, rate, steps=60):
    parameter = torch.nn.Parameter(torch.full((4, 4), 3.0))
    optimizer = build_optimizer(name, [([parameter], rate)], weight_decay=0.0)
    for _ in range(steps):
        loss = (parameter - 1).pow(2).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


@pytest.mark.parametrize(("name", "rate"), [("adamw", 0.1), ("adafactor", 0.1), ("prodigy", 1.0),
                                            ("adamw_schedule_free", 0.1), ("lion", 0.02), ("came", 0.1)])
def test_each_optimizer_descends(name, rate):
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name][0])
    assert descend(name, rate, steps=200) < 0.5  # from 4.0


@pytest.mark.parametrize("name", LIBRARIES)
def test_an_absent_library_is_an_error_that_names_the_extra(name, monkeypatch):
    import sys

    library, extra = LIBRARIES[name]
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"lora-bootstrap\[{extra}\]"):
        build_optimizer(name, [([torch.nn.Parameter(torch.zeros(1))], 1e-3)], 0.0)


def test_groups_keep_their_own_rates_and_empty_groups_are_left_out():
    a, b = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer("adamw", [([a], 1e-3), ([], 5.0), ([b], 1e-4)], 0.0)
    assert [group["base_lr"] for group in optimizer.param_groups] == [1e-3, 1e-4]


def test_schedules_warm_up_and_end_where_they_should():
    assert [rate_factor("constant", step, 10, warmup=3) for step in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert rate_factor("cosine", 0, 100) == 1.0
    assert rate_factor("cosine", 50, 100) == pytest.approx(0.5)
    assert rate_factor("cosine", 99, 100) < 0.001
    assert rate_factor("cosine_with_restarts", 50, 100, cycles=2) == 1.0
    assert rate_factor("cosine_with_restarts", 49, 100, cycles=2) < 0.002
    assert [rate_factor("linear", step, 4) for step in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert [rate_factor("polynomial", step, 4) for step in range(4)] == [1.0, 0.5625, 0.25, 0.0625]
    # 2107.04197: (1 - z) / (1/2 + 1/2 (1 - z))
    assert [rate_factor("rex", step, 4) for step in range(4)] == pytest.approx([1.0, 6 / 7, 2 / 3, 0.4])


@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_stay_between_zero_and_one(name):
    assert all(0 <= rate_factor(name, step, 50, 5, 3) <= 1 for step in range(50))


@pytest.mark.parametrize(("name", "kind"), [("adamw_schedule_free", "AdamWScheduleFree"), ("lion", "Lion"),
                                            ("came", "CAME")])
def test_a_row_builds_the_optimizer_that_it_names_with_its_decay(name, kind):
    pytest.importorskip(LIBRARIES[name][0])
    optimizer = build_optimizer(name, [([torch.nn.Parameter(torch.zeros(1))], 1e-3)], 0.25)
    assert type(optimizer).__name__ == kind and optimizer.param_groups[0]["weight_decay"] == 0.25


def test_every_optimizer_row_has_a_title():
    assert all(row.title for row in OPTIMIZERS.values())
