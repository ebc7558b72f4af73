"""Kinds of adapters: each computes what the host does with its file, at any strength, and leaves no trace."""

import math

import pytest
import torch
from torch import nn

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.file import Factors, LoraWeights, load_lora, save_lora
from lora_bootstrap.trainer.lora.layers import read_header
from lora_bootstrap.trainer.lora.tensors import TensorFile
from lora_bootstrap.trainer.training.adapters import attach, use_lora
from lora_bootstrap.trainer.training.config import ADAPTER_KINDS, AdapterConfig

OTHERS = ADAPTER_KINDS[1:]
LINEAR, CONV = "down_blocks.0.attentions.0.to_q", "down_blocks.0.resnets.0.conv1"
SIZES = {LINEAR: (24, 16), CONV: (8, 6, 3, 3)}


class Branch(nn.Module):
    """A linear layer and a convolution under diffusers' names, side by side."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.down_blocks = nn.ModuleList([nn.Module()])
        block = self.down_blocks[0]
        block.attentions = nn.ModuleList([nn.ModuleDict({"to_q": nn.Linear(16, 24)})])
        block.resnets = nn.ModuleList([nn.ModuleDict({"conv1": nn.Conv2d(6, 8, 3, 2, 1)})])

    def forward(self, x, image):
        block = self.down_blocks[0]
        return block.attentions[0]["to_q"](x), block.resnets[0]["conv1"](image)


@pytest.fixture
def network():
    return Branch()


def output(network):
    generator = torch.Generator().manual_seed(3)
    x, image = torch.randn(4, 16, generator=generator), torch.randn(4, 6, 8, 8, generator=generator)
    return torch.cat([part.flatten(1) for part in network(x, image)], dim=1)


def put_in(network, **settings):
    return attach(network, AdapterConfig(**{"rank": 3, "alpha": 2.0, "conv_rank": 2, "layers": "all", **settings}),
                  ("down_blocks",), 7)


@torch.no_grad()
def shaken(handle, seed=5):
    output(handle._network)  # a DoRA's magnitudes are filled in at the first pass
    generator = torch.Generator().manual_seed(seed)
    for parameter in handle.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return handle


def saved(handle, path, **options):
    weights = {f"unet.{name}": value for name, value in handle.weights().items()}
    save_lora(path, LoraWeights.of_run(weights, {}), **options)
    return path


def tensors_of(path, name):
    """A layer's tensors in a file, by the endings of their keys."""
    file = TensorFile(path)
    start = f"lora_unet_{name.replace('.', '_')}."
    return {key.removeprefix(start): file.read(key).double() for key in file.shapes if key.startswith(start)}


def changed_weight(tensors, weight, strength):
    """The weight as the host's comfy/weight_adapter sets it from a layer's tensors."""
    change, scale = {
        "lora_down.weight": lambda: (tensors["lora_up.weight"].flatten(1) @ tensors["lora_down.weight"].flatten(1),
                                     tensors["alpha"] / len(tensors["lora_down.weight"])),
        "hada_w1_a": lambda: ((tensors["hada_w1_a"] @ tensors["hada_w1_b"])
                              * (tensors["hada_w2_a"] @ tensors["hada_w2_b"]),
                              tensors["alpha"] / len(tensors["hada_w1_b"])),
        "lokr_w1": lambda: _kronecker(tensors),
    }[next(key for key in ("lora_down.weight", "hada_w1_a", "lokr_w1") if key in tensors)]()
    change = change.reshape(weight.shape) * scale
    if "dora_scale" not in tensors:
        return weight + strength * change
    whole = weight + change
    norm = whole.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *(1 for _ in weight.shape[2:]))
    return weight + strength * (whole * (tensors["dora_scale"] / norm) - weight)


def _kronecker(tensors):
    if "lokr_w2" in tensors:
        first, second = tensors["lokr_w1"], tensors["lokr_w2"]
        return torch.kron(first.reshape(*first.shape, *(1 for _ in second.shape[2:])), second), 1.0
    return (torch.kron(tensors["lokr_w1"], tensors["lokr_w2_a"] @ tensors["lokr_w2_b"]),
            tensors["alpha"] / len(tensors["lokr_w2_b"]))


@pytest.mark.parametrize("settings", [
    {}, {"rank_stabilized": True}, {"kind": "dora"}, {"kind": "dora", "rank_stabilized": True}, {"kind": "loha"},
    {"kind": "loha", "rank_stabilized": True}, {"kind": "lokr"}, {"kind": "lokr", "lokr_factor": 2},
    {"kind": "lokr", "rank": 64, "conv_rank": 64}], ids=lambda row: " ".join(map(str, row.values())) or "lora")
def test_training_computes_what_the_host_makes_of_the_saved_file_at_any_strength(network, tmp_path, settings):
    handle = shaken(put_in(network, **settings))
    path = saved(handle, tmp_path / "a.safetensors")
    layers = dict(zip((LINEAR, CONV), (network.down_blocks[0].attentions[0]["to_q"],
                                       network.down_blocks[0].resnets[0]["conv1"]), strict=True))
    for strength in (1.0, 0.7):
        handle.set_strength(strength)
        trained, merged = output(network), Branch()
        for name, layer in layers.items():
            base = layer.get_base_layer().weight.double()
            weight = changed_weight(tensors_of(path, name), base, strength)
            assert (weight - base).norm() > 0.05 * base.norm()
            merged.get_submodule(name).weight.data = weight.float()
        torch.testing.assert_close(trained, output(merged), rtol=1e-4, atol=1e-5)
    handle.detach()
    with use_lora({"unet": network}, load_lora(path), 0.7):
        torch.testing.assert_close(output(network), trained, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ADAPTER_KINDS)
def test_a_fresh_adapter_of_any_kind_changes_nothing_is_fixed_by_its_seed_and_leaves_no_trace(network, kind):
    before, state = output(network), torch.get_rng_state()
    modules = {name: id(module) for name, module in network.named_modules()}
    starts = []
    for _ in range(2):
        handle = put_in(network, kind=kind)
        torch.testing.assert_close(output(network), before, rtol=0, atol=1e-6)
        assert any(parameter.count_nonzero() for parameter in handle.parameters())
        assert all(parameter.requires_grad for parameter in handle.parameters())
        starts.append(torch.cat([parameter.detach().flatten() for parameter in handle.parameters()]))
        handle.detach()
    assert torch.equal(*starts) and torch.equal(torch.get_rng_state(), state)
    assert {name: id(module) for name, module in network.named_modules()} == modules
    assert "peft_config" not in vars(network)


@pytest.mark.parametrize("kind", ADAPTER_KINDS)
def test_every_weight_of_a_kind_is_trained_once_it_has_moved(network, kind):
    handle = shaken(put_in(network, kind=kind))
    output(network).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in handle.parameters())


def test_a_dora_has_the_gradients_of_its_formula_with_the_norm_held_fixed(network):
    handle, layer = shaken(put_in(network, kind="dora")), network.down_blocks[0].attentions[0]["to_q"]
    down, up, magnitude = handle.parameters()[:3]
    x = torch.randn(5, 16, requires_grad=True)
    base = layer.get_base_layer()
    changed = base.weight + up @ down * (2 / 3)
    wanted = nn.functional.linear(x, changed * (magnitude / changed.norm(dim=0, keepdim=True).detach()), base.bias)
    parts = (x, down, up, magnitude)
    expected = torch.autograd.grad(wanted.square().sum(), parts)
    found = torch.autograd.grad(layer(x).square().sum(), parts)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_doras_magnitudes_stay_in_32_bits_where_the_optimizer_trains_16(network):
    config = AdapterConfig(rank=3, conv_rank=2, layers="all", kind="dora")
    before = output(network)
    handle = attach(network, config, ("down_blocks",), 7, dtype=torch.bfloat16)
    assert [parameter.dtype for parameter in handle.parameters()] == 2 * [torch.bfloat16, torch.bfloat16, torch.float32]
    torch.testing.assert_close(output(network), before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ADAPTER_KINDS)
def test_a_kind_is_trained_over_a_network_in_16_bits(network, kind):
    handle = shaken(put_in(network, kind=kind))
    layer = network.down_blocks[0].attentions[0]["to_q"]
    layer.get_base_layer().to(torch.bfloat16)
    x = torch.randn(5, 16)
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).float().square().sum().backward()
    found = [parameter.grad for parameter in handle.parameters() if parameter.grad is not None]
    assert len(found) >= 2 and all(gradient.isfinite().all() and gradient.any() for gradient in found)
    exact = Branch().down_blocks[0].attentions[0]["to_q"](x)
    assert (layer(x.bfloat16()).float() - exact).norm() > 0.05 * exact.norm()


@pytest.mark.parametrize("kind", OTHERS)
def test_a_kind_is_trained_beside_an_applied_lora_and_both_come_off_in_any_order(network, tmp_path, kind):
    handle = shaken(put_in(network))
    lora = load_lora(saved(handle, tmp_path / "a.safetensors"))
    handle.detach()
    base = output(network)
    for first in ("lora", "adapter"):
        applied = use_lora({"unet": network}, lora)
        with_lora = output(network)
        handle = shaken(put_in(network, kind=kind))
        both = output(network)
        with handle.disabled():
            torch.testing.assert_close(output(network), with_lora)
        (applied if first == "lora" else handle).detach()
        if first == "adapter":
            torch.testing.assert_close(output(network), with_lora)
        else:
            torch.testing.assert_close(output(network) - base, both - with_lora, rtol=1e-3, atol=1e-4)
        (handle if first == "lora" else applied).detach()
        assert torch.equal(output(network), base) and "peft_config" not in vars(network)
        assert isinstance(network.down_blocks[0].resnets[0]["conv1"], nn.Conv2d)


def test_an_applied_dora_has_a_strength_for_each_row_of_a_batch(network, tmp_path):
    handle = shaken(put_in(network, kind="dora"))
    dora = load_lora(saved(handle, tmp_path / "a.safetensors"))
    handle.detach()
    rows = []
    with use_lora({"unet": network}, dora) as applied:
        for strength in (0.0, 1.0):
            applied.set_strength(strength)
            rows.append(output(network))
        applied.set_strength((0.0, 1.0))
        torch.testing.assert_close(output(network), torch.stack([rows[0][0], rows[1][1], rows[0][2], rows[1][3]]))


@pytest.mark.parametrize(("settings", "keys"), [
    ({"kind": "dora"}, {"lora_down.weight", "lora_up.weight", "alpha", "dora_scale"}),
    ({"kind": "loha"}, {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "alpha"}),
    ({"kind": "lokr"}, {"lokr_w1", "lokr_w2_a", "lokr_w2_b", "alpha"}),
    ({"kind": "lokr", "rank": 64, "conv_rank": 64}, {"lokr_w1", "lokr_w2", "alpha"})])
def test_files_have_the_keys_of_lycoris_in_kohyas_and_in_diffusers_spelling(network, tmp_path, settings, keys):
    handle = shaken(put_in(network, **{"conv_rank": 1, "lokr_factor": 2, **settings}))
    for name in (LINEAR, CONV):
        assert tensors_of(saved(handle, tmp_path / "a.safetensors"), name).keys() == keys
    dotted = TensorFile(saved(handle, tmp_path / "b.safetensors", key_style="peft")).shapes
    known = "dora_scale" if settings["kind"] == "dora" else next(iter(sorted(keys - {"alpha"})))
    assert f"unet.{LINEAR}.{known}" in dotted
    assert (f"unet.{LINEAR}.alpha" in dotted) == (settings["kind"] != "dora")


def test_a_doras_magnitudes_in_a_file_are_one_number_for_each_input_channel(network, tmp_path):
    path = saved(shaken(put_in(network, kind="dora")), tmp_path / "a.safetensors")
    assert [tuple(tensors_of(path, name)["dora_scale"].shape) for name in (LINEAR, CONV)] == [(1, 16), (1, 6, 1, 1)]
    assert read_header(path).dora == 2


def test_lokrs_factor_is_the_side_of_its_smaller_matrix_and_a_large_rank_keeps_the_other_whole(network):
    shapes = {}
    for factor, rank in ((-1, 3), (2, 3), (2, 64)):
        handle = put_in(network, kind="lokr", lokr_factor=factor, rank=rank)
        shapes[factor, rank] = {role: tuple(value.shape) for role, value in handle.weights()[LINEAR].roles.items()}
        handle.detach()
    assert shapes[-1, 3]["w1"] == (4, 4) and shapes[2, 3]["w1"] == (2, 2)
    assert shapes[2, 3].keys() == {"w1", "w2_a", "w2_b"} and shapes[2, 64]["w2"] == (12, 8)


def test_rslora_scales_by_the_root_of_the_rank_and_writes_an_alpha_that_loaders_divide_by_the_rank(network):
    linear, conv = put_in(network, rank=16, alpha=4.0, conv_rank=4, rank_stabilized=True).weights().values()
    assert (linear.alpha, conv.alpha) == (4.0 * 4, 4.0 * 2)
    layer = network.down_blocks[0].attentions[0]["to_q"]
    assert list(layer.scaling.values()) == [4.0 / math.sqrt(16)]


def test_weights_of_a_kind_load_into_a_fresh_adapter_also_with_another_alpha(network):
    for kind in OTHERS:
        handle = shaken(put_in(network, kind=kind, lokr_factor=2))
        weights, out = handle.weights(), output(network)
        handle.detach()
        fresh = put_in(network, kind=kind, lokr_factor=2)
        fresh.load({name: value.rescaled(5.0) for name, value in weights.items()})
        torch.testing.assert_close(output(network), out, rtol=1e-4, atol=1e-5)
        fresh.detach()
    with pytest.raises(UserError, match="set the kind and the ranks"):
        put_in(network).load(weights)


def test_a_dora_whose_magnitudes_are_for_other_channels_is_refused(network):
    lora = LoraWeights({f"unet.{LINEAR}": Factors(torch.ones(2, 16), torch.ones(24, 2), 2.0, torch.ones(1, 8))})
    with pytest.raises(UserError, match="has magnitudes of 8 channels, the model's module has 16"):
        use_lora({"unet": network}, lora)


def test_a_dora_that_scales_rows_is_refused_and_named(tmp_path):
    rows = Factors(torch.ones(2, 16), torch.ones(24, 2), 2.0, torch.ones(24, 1))
    save_lora(tmp_path / "a.safetensors", LoraWeights({f"unet.{LINEAR}": rows}))
    with pytest.raises(UserError, match="is a DoRA in 1 layers, and scales the rows"):
        load_lora(tmp_path / "a.safetensors")


def test_a_block_has_its_own_rank_at_the_same_scale_and_rank_0_leaves_it_out(network):
    sizes = {}
    for ranks in ("", "to_q=8", "conv1=0", "to_q=8, conv1=4"):
        handle = put_in(network, rank=4, alpha=2.0, conv_rank=2, block_ranks=ranks)
        sizes[ranks] = [(value.rank, value.alpha) for value in handle.weights().values()]
        handle.detach()
    assert sizes == {"": [(4, 2.0), (2, 1.0)], "to_q=8": [(8, 4.0), (2, 1.0)], "conv1=0": [(4, 2.0)],
                     "to_q=8, conv1=4": [(8, 4.0), (4, 2.0)]}
    with pytest.raises(UserError, match="leaves none of the 2 layers"):
        put_in(network, block_ranks="down_blocks=0")


def test_a_doras_magnitudes_are_those_of_the_weights_that_are_there_at_the_first_pass(network):
    """A host has them in memory only while it computes with them."""
    layer = network.down_blocks[0].attentions[0]["to_q"]
    weight, layer.weight.data = layer.weight.data, torch.full((), float("nan")).expand(layer.weight.shape)
    handle = put_in(network, kind="dora")
    layer.weight.data = weight
    output(network)
    magnitude = handle.weights()[LINEAR].magnitude
    torch.testing.assert_close(magnitude, weight.norm(dim=0, keepdim=True))
    layer.weight.data = weight * 2
    output(network)
    assert torch.equal(handle.weights()[LINEAR].magnitude, magnitude)
