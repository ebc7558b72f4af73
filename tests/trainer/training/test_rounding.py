import pytest
import torch

from lora_bootstrap.trainer.training import adapters
from lora_bootstrap.trainer.training.optimizers import OPTIMIZERS, build_optimizer
from lora_bootstrap.trainer.training.step import rounding
from lora_bootstrap.trainer.training.step.rounding import RoundedAdamW, round_to_bf16


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_rounding_gives_a_neighbour_and_on_average_the_value_itself():
    values = torch.tensor([1.001, -1.001, 3e-5, 0.0, 1.5]).repeat(40_000, 1)  # 1.001 lies between 1 and 1.0078
    rounded = round_to_bf16(values, generator()).float()
    assert sorted(set(rounded[:, 0].tolist())) == [1.0, 1.0078125]
    torch.testing.assert_close(rounded.mean(0), values[0], rtol=2e-4, atol=1e-9)
    assert (rounded[:, 3] == 0).all() and (rounded[:, 4] == 1.5).all()


def moved(dtype, optimizer, steps=300):
    """How far a weight of 1 goes in steps of 1e-4, each far below half the distance to its neighbour in bf16."""
    weight = torch.nn.Parameter(torch.ones(2000, dtype=dtype))
    stepping = optimizer([weight])
    for _ in range(steps):
        weight.grad = torch.ones_like(weight)
        stepping.step()
    return 1 - weight.detach().float().mean().item()


def test_small_steps_add_up_as_in_float32_where_plain_bf16_loses_them_all():
    settings = {"lr": 1e-4, "weight_decay": 0.0}
    exact = moved(torch.float32, lambda params: torch.optim.AdamW(params, **settings))
    assert moved(torch.bfloat16, lambda params: torch.optim.AdamW(params, **settings)) == 0
    assert moved(torch.bfloat16, lambda params: RoundedAdamW(params, **settings)) == pytest.approx(exact, rel=0.02)


def test_a_device_without_the_fused_step_trains_with_the_plain_one(monkeypatch):
    assert rounding.has_fused_adamw([torch.zeros(1)]) and not rounding.has_fused_adamw([torch.zeros(1, device="meta")])

    def missing(*args, **named):
        raise NotImplementedError("Could not run 'aten::_fused_adamw_' with arguments from this backend")

    settings = {"lr": 1e-4, "weight_decay": 0.0}
    wanted = moved(torch.bfloat16, lambda params: RoundedAdamW(params, **settings), steps=30)
    monkeypatch.setattr(torch, "_fused_adamw_", missing)
    assert moved(torch.bfloat16, lambda params: RoundedAdamW(params, **settings), steps=30) == pytest.approx(wanted)
    weights = [torch.nn.Parameter(torch.ones(2))]
    for name in ("adamw", "adamw_bf16"):
        optimizer = build_optimizer(name, [(weights, 1e-2)], 0.0)
        assert not getattr(optimizer, "_step_supports_amp_scaling", False)


def test_the_average_of_squares_falls_again_after_a_large_gradient():
    weight = torch.nn.Parameter(torch.ones(2000, dtype=torch.bfloat16))
    optimizer = RoundedAdamW([weight])
    for step in range(400):
        weight.grad = torch.full_like(weight, 1.0 if step == 0 else 1e-3)
        optimizer.step()
    squares = optimizer.state[weight]["exp_avg_sq"].float().mean().item()
    assert squares == pytest.approx(1e-3 * 0.999**399, rel=0.03)  # to the nearest it would stay at 1e-3


def trained(optimizer, weights, steps, first=0):
    for step in range(first, first + steps):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator(step)).bfloat16()
        optimizer.step()
    return [weight.detach().clone() for weight in weights]


def new_weights():
    shapes = ((6, 5), (7,), (3, 4))
    return [torch.nn.Parameter(torch.randn(shape, generator=generator()).bfloat16()) for shape in shapes]


def test_an_optimizer_that_is_saved_and_loaded_goes_on_to_the_same_bits(monkeypatch):
    monkeypatch.setattr(rounding, "CHUNK", 40)  # two chunks
    weights = new_weights()
    whole = trained(build_optimizer("adamw_bf16", [(weights, 1e-2)], 0.01), weights, 6)
    weights = new_weights()
    first = build_optimizer("adamw_bf16", [(weights, 1e-2)], 0.01)
    trained(first, weights, 3)
    second = build_optimizer("adamw_bf16", [(weights, 1e-2)], 0.01)
    second.load_state_dict(first.state_dict())
    torch.randn(3)  # the global random state must not matter
    assert all(map(torch.equal, whole, trained(second, weights, 3, first=3)))


def test_a_step_whose_figures_are_not_finite_changes_no_bit():
    weights = new_weights()
    optimizer = build_optimizer("adamw_bf16", [(weights, 1e-2)], 0.01)
    before = trained(optimizer, weights, 3)
    kept = {name: value.clone() for name, value in optimizer.state[weights[0]].items()}
    optimizer.found_inf = torch.tensor(1.0)
    assert all(map(torch.equal, before, trained(optimizer, weights, 1, first=3)))
    assert all(torch.equal(value, optimizer.state[weights[0]][name]) for name, value in kept.items())


def test_what_is_in_float32_among_weights_in_bf16_is_not_rounded():
    weights = [torch.nn.Parameter(torch.ones(4, dtype=dtype)) for dtype in (torch.bfloat16, torch.float32)]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    RoundedAdamW(weights, lr=1e-4, weight_decay=0.0).step()
    torch.testing.assert_close((weights[1] - 1).abs().detach(), torch.full((4,), 1e-4), rtol=1e-2, atol=0)


def test_only_the_optimizer_in_bf16_trains_weights_in_bf16(tiny_backbone):
    from lora_bootstrap.trainer.training.config import AdapterConfig

    assert [name for name, row in OPTIMIZERS.items() if row.dtype != torch.float32] == ["adamw_bf16"]
    kinds = {}
    for name in ("adamw", "adamw_bf16"):
        handle = adapters.attach(tiny_backbone.network, AdapterConfig(rank=2), tiny_backbone.family.blocks, 0,
                                 dtype=OPTIMIZERS[name].dtype)
        kinds[name] = {parameter.dtype for parameter in handle.parameters()}
        handle.detach()
    assert kinds == {"adamw": {torch.float32}, "adamw_bf16": {torch.bfloat16}}
