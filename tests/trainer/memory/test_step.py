"""A whole training step, counted on small networks of the classes that real bases have."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lora_bootstrap.trainer.memory import step
from lora_bootstrap.trainer.memory.plan import between
from lora_bootstrap.trainer.memory.published import PublishedNetwork
from lora_bootstrap.trainer.memory.shapes import SHAPES
from lora_bootstrap.trainer.memory.step import StepCount, count_step, state_bytes
from lora_bootstrap.trainer.training.config import ADAPTER_KINDS, TrainConfig
from lora_bootstrap.trainer.training.optimizers import OPTIMIZERS, build_optimizer

UNET = replace(SHAPES["sd15"], width=32, settings={
    "block_out_channels": (32, 64), "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "layers_per_block": 1, "cross_attention_dim": 32,
    "attention_head_dim": 4, "norm_num_groups": 8})
FLUX = replace(SHAPES["flux"], width=32, pooled=16, settings={
    "num_layers": 4, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
    "joint_attention_dim": 32, "pooled_projection_dim": 16, "axes_dims_rope": (4, 6, 6), "guidance_embeds": True})

LUMINA = replace(SHAPES["lumina2"], width=32, settings={
    "hidden_size": 32, "num_layers": 1, "num_refiner_layers": 1, "num_attention_heads": 2, "num_kv_heads": 2,
    "axes_dim_rope": (4, 6, 6), "axes_lens": (300, 64, 64), "cap_feat_dim": 32})


def a_config(**settings):
    return TrainConfig(precision="bf16").replace(**{"adapter.rank": 4, "data.resolution": 128, **settings})


def count(shape=UNET, dtype=torch.bfloat16, whole=False, **settings) -> StepCount:
    config = a_config(**settings)
    return count_step(PublishedNetwork(shape, config, dtype), config, whole=whole)


@pytest.fixture(scope="module")
def plain():
    return count()


def test_weights_adapter_and_state_are_those_of_the_real_network(plain):
    import diffusers

    network = getattr(diffusers, UNET.kind)(**UNET.settings)
    assert plain.weights == 2 * sum(p.numel() for p in network.parameters())
    assert plain.adapter == 4 * plain.parameters and plain.state == 8 * plain.parameters
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear) and "attn" in name]
    assert plain.modules >= len(names) > 0


@pytest.fixture(scope="module")
def recomputed():
    return count(gradient_checkpointing=True)


def test_a_share_of_the_blocks_takes_about_what_lies_between_none_and_all(plain, recomputed):
    config = a_config()
    half = count_step(PublishedNetwork(UNET, config, torch.bfloat16, 0.5), config)
    line = between(plain, recomputed, 0.5)
    assert recomputed.peak < half.peak < plain.peak and half.movable == plain.movable > 0.5 * plain.weights
    assert half.activations == pytest.approx(line.activations, rel=0.2)
    assert half.operations == pytest.approx(line.operations, rel=0.1)


def test_checkpointing_lowers_the_peak_and_costs_arithmetic(plain, recomputed):
    assert recomputed.activations < 0.75 * plain.activations
    assert recomputed.operations > 1.2 * plain.operations
    assert recomputed.weights == plain.weights


def test_preservation_takes_time_but_not_the_activations_of_a_second_pass(plain):
    each, fourth = (count(**{"preservation.weight": 1.0, "preservation.every": every}) for every in (1, 4))
    assert plain.peak <= each.peak <= plain.peak + plain.adapter
    assert each.operations == pytest.approx(plain.operations * 7 / 3, rel=1e-3)
    assert fourth.operations == pytest.approx(plain.operations * 4 / 3, rel=1e-3) and fourth.peak == each.peak


def test_activations_grow_evenly_with_the_batch(plain):
    two, three = (count(**{"data.batch_size": size}).activations for size in (2, 3))
    assert three - two == pytest.approx(two - plain.activations, rel=0.02)
    assert two > 1.8 * plain.activations


def test_a_float32_base_takes_twice_the_weights(plain):
    whole = count(dtype=torch.float32, precision="fp32")
    assert whole.weights == 2 * plain.weights
    assert whole.activations > plain.activations


@pytest.mark.parametrize("recompute", [False, True])
def test_blocks_that_are_alike_are_not_all_counted_with_the_same_result(recompute, monkeypatch):
    monkeypatch.setattr(step, "MANY", 4)
    settings = {"gradient_checkpointing": recompute}
    short, whole = count(FLUX, **settings), count(FLUX, whole=True, **settings)
    for name in ("weights", "adapter", "state", "modules", "parameters", "operations"):
        assert getattr(short, name) == getattr(whole, name)
    assert short.peak == pytest.approx(whole.peak, rel=0.01)


@pytest.mark.parametrize("shape", [UNET, FLUX, LUMINA], ids=lambda shape: shape.name)
def test_a_side_between_two_buckets_is_counted_as_the_lower(shape):
    def side_of(resolution):
        config = a_config(**{"data.resolution": resolution})
        return PublishedNetwork(shape, config, torch.bfloat16).latents().shape[-2:]

    assert side_of(600) == (72, 72) and side_of(32) == (8, 8)


def test_a_side_that_no_patch_divides_can_be_counted():
    assert count(LUMINA, **{"data.resolution": 200}).activations > 0


@pytest.mark.parametrize("name", ["adamw", "adafactor", "prodigy", "adamw_bf16", "adamw_schedule_free", "lion", "came"])
def test_the_state_is_what_the_optimizer_keeps(name):
    libraries = {"prodigy": "prodigyopt", "adamw_schedule_free": "schedulefree"}
    if name in (*libraries, "lion", "came"):
        pytest.importorskip(libraries.get(name, "pytorch_optimizer"))
    shapes, dtype = ((4, 64), (64, 4, 3, 3), (8,)), OPTIMIZERS[name].dtype
    parameters = [nn.Parameter(torch.ones(shape, dtype=dtype)) for shape in shapes]
    optimizer = build_optimizer(name, [(parameters, 1.0)], 0.01)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for parameter in parameters:
        kept = [value for value in optimizer.state[parameter].values()
                if isinstance(value, torch.Tensor) and value.numel() > 1]
        assert sum(value.numel() * value.element_size() for value in kept) == state_bytes(name, parameter.shape)


def test_a_lora_in_bf16_takes_half_the_memory_with_its_gradients_and_its_state():
    plain, half = (count(LUMINA, **{"optimizer.name": name}) for name in ("adamw", "adamw_bf16"))
    assert 2 * (half.adapter + half.state) == plain.adapter + plain.state
    assert half.peak < plain.peak


def test_each_kind_of_adapter_is_counted_with_what_its_layers_keep():
    counts = {kind: count(LUMINA, **{"adapter.kind": kind}) for kind in ADAPTER_KINDS}
    lora, dora, loha, lokr = counts.values()
    assert loha.parameters == 2 * lora.parameters > 4 * lokr.parameters
    assert lora.parameters < dora.parameters < 1.1 * lora.parameters
    assert min(dora.kept, loha.kept, lokr.kept) > lora.kept


def test_a_moving_average_takes_as_much_as_the_lora_in_float32():
    plain, averaged = (count(LUMINA, **{"optimizer.ema_decay": decay}) for decay in (0.0, 0.99))
    assert averaged.state - plain.state == plain.adapter and averaged.peak > plain.peak


def test_eight_bit_state_takes_a_quarter_and_small_parameters_stay_whole():
    assert state_bytes("adamw8bit", torch.Size((64, 256))) == 2 * (64 * 256 + 4 * 64)
    assert state_bytes("adamw8bit", torch.Size((4, 64))) == state_bytes("adamw", torch.Size((4, 64)))
