"""Adapters: which modules get one, how they start, what they do, and that they leave no trace."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.file import Factors, LoraWeights
from lora_bootstrap.trainer.lora.layouts import ldm_to_diffusers
from lora_bootstrap.trainer.models.layers import select_modules
from lora_bootstrap.trainer.training.adapters import attach, use_lora
from lora_bootstrap.trainer.training.config import LAYER_PRESETS, AdapterConfig

BLOCKS = ("down_blocks", "mid_block", "up_blocks")


@pytest.fixture
def unet():
    torch.manual_seed(0)
    network = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12, attention_head_dim=2,
    ).eval()
    network.conv_in.weight.requires_grad_(False)  # so that flags differ before
    return network


@torch.no_grad()
def output(network):
    generator = torch.Generator().manual_seed(3)
    latents, text = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 5, 12, generator=generator)
    return network(latents, torch.tensor([100, 700]), text).sample


def traits(network):
    """Everything a caller could notice: modules by name and identity, flags, and the weights' bits."""
    modules = {name: id(module) for name, module in network.named_modules()}
    flags = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return modules, flags, weights, "peft_config" in vars(network)


def same(before, after):
    return before[:2] == after[:2] and before[3] == after[3] and before[2].keys() == after[2].keys() and all(
        torch.equal(tensor, after[2][name]) for name, tensor in before[2].items())


@torch.no_grad()
def randomised(handle, seed=5):
    generator = torch.Generator().manual_seed(seed)
    for parameter in handle.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return handle


def lora_of(network, seed, **settings):
    handle = randomised(attach(network, AdapterConfig(**settings), BLOCKS, 0), seed)
    weights, out = handle.weights(), output(network)
    handle.detach()
    return LoraWeights({f"unet.{name}": value for name, value in weights.items()}), out


def leaves(names):
    return {name.rsplit(".", 2 if name.endswith(".0") else 1)[-2 if name.endswith(".0") else -1] for name in names}


def test_presets_choose_attention_then_feed_forward_then_everything_in_the_blocks(unet):
    chosen = {preset: select_modules(unet, preset, BLOCKS, 0) for preset in LAYER_PRESETS}
    assert leaves(chosen["attention"]) == {"to_q", "to_k", "to_v", "to_out"}
    assert len(chosen["attention"]) == 32  # 4 transformer blocks of 2 attentions with 4 projections
    added = chosen["attention+mlp"].keys() - chosen["attention"].keys()
    assert {name.split(".ff.")[1] for name in added} == {"net.0.proj", "net.2"} and len(added) == 8
    rest = chosen["all"].keys() - chosen["attention+mlp"].keys()
    assert leaves(rest) == {"proj_in", "proj_out", "time_emb_proj", "conv_shortcut"}
    assert set(chosen["all"].values()) == {"linear"}
    assert list(chosen["all"]) == [name for name, _ in unet.named_modules() if name in chosen["all"]]


def test_larger_convolutions_come_with_conv_rank_under_any_preset_and_never_the_first_or_last(unet):
    for preset in LAYER_PRESETS:
        names = [name for name, kind in select_modules(unet, preset, BLOCKS, 4).items() if kind == "conv"]
        assert len(names) == 18
        assert leaves(names) == {"conv1", "conv2", "conv"}
        assert not {"conv_in", "conv_out"} & set(names)


def names_of(tree):
    """A network with a linear layer at each dotted path."""
    network = nn.Module()
    for path in tree.split():
        *parents, leaf = path.split(".")
        parent = network
        for name in parents:
            if not hasattr(parent, name):
                parent.add_module(name, nn.Module())
            parent = getattr(parent, name)
        parent.add_module(leaf, nn.Linear(2, 2))
    return network


@pytest.mark.parametrize(("blocks", "attention", "mlp", "rest"), [
    ("input_blocks", "input_blocks.1.1.transformer_blocks.0.attn1.to_q middle_block.input_blocks.attn1.to_out.0",
     "input_blocks.1.1.transformer_blocks.0.ff.net.2", "input_blocks.1.1.proj_in input_blocks.1.0.emb_layers.1"),
    ("double_blocks single_blocks",
     "double_blocks.0.img_attn.qkv double_blocks.0.txt_attn.proj single_blocks.0.linear1",
     "double_blocks.0.img_mlp.0", "double_blocks.0.img_mod.lin single_blocks.0.modulation.lin"),
    ("layers", "encoder.layers.0.self_attn.q_proj encoder.layers.0.self_attn.out_proj",
     "encoder.layers.0.mlp.fc1 encoder.layers.0.mlp.fc2", "encoder.layers.0.gate"),
    ("transformer_blocks", "transformer_blocks.0.attn.add_q_proj transformer_blocks.0.attn.to_add_out",
     "transformer_blocks.0.ff_context.net.0.proj", "transformer_blocks.0.norm1.linear"),
], ids=["LDM", "Flux", "CLIP", "MMDiT"])
def test_other_families_names_fall_under_the_same_presets(blocks, attention, mlp, rest):
    network = names_of(f"{attention} {mlp} {rest} time_embed.0 input_blocks.0.0 final_layer.linear")
    expected = [set(attention.split()), set(f"{attention} {mlp}".split()), set(f"{attention} {mlp} {rest}".split())]
    assert [set(select_modules(network, preset, blocks.split(), 0)) for preset in LAYER_PRESETS] == expected


def test_attention_that_would_not_hear_an_adapter_gets_none():
    network = nn.ModuleDict({"layers": nn.TransformerEncoderLayer(8, 2, 16)})
    assert set(select_modules(network, "all", ("layers",), 0)) == {"layers.linear1", "layers.linear2"}


def test_nothing_that_matches_is_an_error_that_names_what_was_seen(unet):
    with pytest.raises(UserError, match="'attention' with blocks double_blocks match no module .* time_embedding"):
        select_modules(unet, "attention", ("double_blocks",), 0)


def test_a_fresh_adapter_changes_nothing_and_is_fixed_by_its_seed(unet):
    before, state = output(unet), torch.get_rng_state()
    starts = []
    for seed in (1, 1, 2):
        handle = attach(unet, AdapterConfig(rank=4, alpha=2.0, conv_rank=2), BLOCKS, seed)
        assert torch.equal(output(unet), before)
        starts.append(torch.cat([parameter.detach().flatten() for parameter in handle.parameters()]))
        handle.detach()
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])
    assert torch.equal(torch.get_rng_state(), state)
    assert starts[0].abs().max() <= 8**-0.5


def test_only_adapters_are_trained_in_float32_whatever_the_network_is(unet):
    unet.to(torch.bfloat16)
    handle = attach(unet, AdapterConfig(rank=4), BLOCKS, 1)
    trained = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    assert {id(p) for p in trained} == {id(p) for p in handle.parameters()}
    assert {p.dtype for p in trained} == {torch.float32}
    text = torch.randn(1, 5, 12, dtype=torch.bfloat16)
    unet(torch.randn(1, 4, 8, 8, dtype=torch.bfloat16), 5, text).sample.float().square().mean().backward()
    assert sum(p.grad.abs().sum().item() > 0 for p in trained) == len(trained) / 2  # up starts at 0: down hears nothing


def test_the_output_is_base_plus_up_down_alpha_over_rank():
    torch.manual_seed(0)
    network = nn.ModuleDict({"blocks": nn.ModuleDict({"to_q": nn.Linear(6, 5), "conv": nn.Conv2d(3, 4, 3, padding=1)})})
    handle = randomised(attach(network, AdapterConfig(rank=4, alpha=3.0, conv_rank=2, conv_alpha=5.0), ("blocks",), 0))
    x, y = torch.randn(2, 6), torch.randn(2, 3, 7, 7)
    linear, conv = handle.weights().values()
    assert (linear.down.shape, linear.up.shape, linear.alpha) == ((4, 6), (5, 4), 3.0)
    assert (conv.down.shape, conv.up.shape, conv.alpha) == ((2, 3, 3, 3), (4, 2, 1, 1), 5.0)
    base = network["blocks"]["to_q"].get_base_layer()
    expected = base(x) + x @ linear.down.T @ linear.up.T * 3 / 4
    torch.testing.assert_close(network["blocks"]["to_q"](x), expected)
    change = torch.einsum("or,rihw->oihw", conv.up[:, :, 0, 0], conv.down) * 5 / 2
    base = network["blocks"]["conv"].get_base_layer()
    expected = nn.functional.conv2d(y, base.weight + change, base.bias, 1, 1)
    torch.testing.assert_close(network["blocks"]["conv"](y), expected)


def test_detaching_leaves_no_trace(unet):
    before, out = traits(unet), output(unet)
    handle = randomised(attach(unet, AdapterConfig(rank=4, layers="all", conv_rank=2), BLOCKS, 1))
    assert not same(before, traits(unet)) and not torch.equal(output(unet), out)
    handle.detach()
    handle.detach()
    assert same(before, traits(unet)) and torch.equal(output(unet), out)


def test_a_failed_attach_leaves_no_trace(unet, monkeypatch):
    import peft

    inject, calls = peft.inject_adapter_in_model, []

    def failing(*args, **kwargs):
        inject(*args, **kwargs)
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError

    monkeypatch.setattr(peft, "inject_adapter_in_model", failing)
    before = traits(unet)
    with pytest.raises(MemoryError):
        attach(unet, AdapterConfig(conv_rank=2), BLOCKS, 1)
    assert len(calls) == 2 and same(before, traits(unet))


def test_disabled_is_the_base_exactly_and_ends_as_it_began(unet):
    before = output(unet)
    handle = randomised(attach(unet, AdapterConfig(rank=4), BLOCKS, 1))
    trained = output(unet)
    with pytest.raises(KeyError), handle.disabled():
        assert torch.equal(output(unet), before)
        assert all(parameter.requires_grad for parameter in handle.parameters())
        raise KeyError
    assert torch.equal(output(unet), trained)
    assert all(parameter.requires_grad for parameter in handle.parameters())


def test_weights_load_into_a_fresh_adapter_and_strangers_are_refused(unet):
    config = AdapterConfig(rank=4, alpha=2.0)
    handle = randomised(attach(unet, config, BLOCKS, 1))
    weights, out = handle.weights(), output(unet)
    handle.detach()
    fresh = attach(unet, config, BLOCKS, 2)
    fresh.load(weights)
    assert torch.equal(output(unet), out)
    fresh.load({name: Factors(f.down, f.up / 2, 4.0) for name, f in weights.items()})
    torch.testing.assert_close(output(unet), out)
    with pytest.raises(UserError, match="differ in 1 modules"):
        fresh.load(dict(list(weights.items())[1:]))
    with pytest.raises(UserError, match=r"down \[3, 8\], up .* the adapter has down \[4, 8\]"):
        fresh.load({name: Factors(f.down[:3], f.up[:, :3], 2.0) for name, f in weights.items()})


def test_strength_multiplies_the_output_of_an_applied_lora(unet):
    before = output(unet)
    lora, full = lora_of(unet, 1, rank=4, alpha=2.0, conv_rank=2, layers="all")
    with use_lora({"unet": unet}, lora) as applied:
        torch.testing.assert_close(output(unet), full, atol=1e-6, rtol=0)
        assert applied.unmatched == ()
        applied.set_strength(0)
        assert torch.equal(output(unet), before)
        applied.set_strength(0.5)
        half = output(unet)
    halved = LoraWeights({key: Factors(f.down, f.up, f.alpha / 2) for key, f in lora.modules.items()})
    with use_lora({"unet": unet}, halved):
        torch.testing.assert_close(output(unet), half, atol=1e-6, rtol=0)
    assert torch.equal(output(unet), before)


@torch.no_grad()
def test_each_row_of_a_batch_can_have_a_strength_of_its_own(unet):
    before, flags = output(unet), traits(unet)
    lora, _ = lora_of(unet, 1, rank=4, alpha=2.0, conv_rank=2, layers="all")
    generator = torch.Generator().manual_seed(3)
    latents, text = torch.randn(3, 4, 8, 8, generator=generator), torch.randn(3, 5, 12, generator=generator)
    strengths = (1.25, 0.0, -0.5)
    with use_lora({"unet": unet}, lora) as applied:
        alone = []
        for row, strength in enumerate(strengths):
            applied.set_strength(strength)
            alone.append(unet(latents[row : row + 1], 700, text[row : row + 1]).sample)
        alone = torch.cat(alone)
        applied.set_strength(strengths)
        torch.testing.assert_close(unet(latents, 700, text).sample, alone, atol=1e-5, rtol=0)
        twice = unet(latents.repeat(2, 1, 1, 1), 700, text.repeat(2, 1, 1)).sample
        torch.testing.assert_close(twice, alone.repeat(2, 1, 1, 1), atol=1e-5, rtol=0)
        applied.set_strength(strengths[::-1])
        assert (unet(latents, 700, text).sample - alone).flatten(1).abs().amax(1).gt(0.01).tolist() == [
            True, False, True]  # of three rows turned round, the middle one stays
        applied.set_strength(0.5)
        half = output(unet)
    with use_lora({"unet": unet}, lora, 0.5):
        assert torch.equal(output(unet), half)
    with use_lora({"unet": unet}, lora, strengths):
        pass
    assert same(flags, traits(unet)) and torch.equal(output(unet), before)


def test_rows_of_two_loras_add_up(unet):
    first, _ = lora_of(unet, 1, rank=4, layers="all")
    second, _ = lora_of(unet, 2, rank=4)
    with use_lora({"unet": unet}, first, (1.0, 0.0)) as a, use_lora({"unet": unet}, second, (0.0, 1.0)) as b:
        rows = output(unet)
        for row in (0, 1):
            a.set_strength(1.0 - row)
            b.set_strength(float(row))
            torch.testing.assert_close(rows[row], output(unet)[row], atol=1e-5, rtol=0)


def test_strengths_that_do_not_divide_the_batch_are_refused(unet):
    lora, _ = lora_of(unet, 1, rank=4)
    with use_lora({"unet": unet}, lora, (0.5, 1.0, 1.5)) as applied:
        with pytest.raises(ValueError, match="3 strengths do not fit a batch of 2 rows"):
            output(unet)
        with pytest.raises(ValueError, match="no strengths"):
            applied.set_strength(())


def test_loras_add_up_and_come_off_in_any_order(unet):
    before, flags = output(unet), traits(unet)
    first, first_out = lora_of(unet, 1, rank=4, layers="all")
    second, second_out = lora_of(unet, 2, rank=2, conv_rank=2)
    a, b = use_lora({"unet": unet}, first), use_lora({"unet": unet}, second)
    both = output(unet)
    assert min((both - other).abs().max() for other in (first_out, second_out, before)) > 0.01
    a.set_strength(0)
    torch.testing.assert_close(output(unet), second_out, atol=1e-6, rtol=0)
    a.detach()
    torch.testing.assert_close(output(unet), second_out, atol=1e-6, rtol=0)
    b.detach()
    assert same(flags, traits(unet)) and torch.equal(output(unet), before)


def test_a_resized_lora_with_many_ranks_does_as_its_factors_say(unet):
    names = list(select_modules(unet, "all", BLOCKS, 0))
    generator = torch.Generator().manual_seed(4)
    sizes = {name: 1 + row % 20 for row, name in enumerate(names)}
    modules = {}
    for name, rank in sizes.items():
        out, inside, *kernel = unet.get_submodule(name).weight.shape
        down = torch.randn(rank, inside, *kernel, generator=generator)
        modules[f"unet.{name}"] = Factors(down, torch.randn(out, rank, *kernel, generator=generator), 0.1 * rank)
    with use_lora({"unet": unet}, LoraWeights(modules)):
        applied = output(unet)
    with torch.no_grad():
        for name, module in unet.named_modules():
            if name in sizes:
                f = modules[f"unet.{name}"]
                change = f.up.flatten(1) @ f.down.flatten(1) * f.alpha / f.rank
                module.weight += change.view_as(module.weight)
    torch.testing.assert_close(output(unet), applied, atol=1e-4, rtol=1e-4)


def test_a_lora_can_be_trained_on_top_of_an_applied_one(unet):
    flags = traits(unet)
    lora, styled = lora_of(unet, 1, rank=4, layers="all")
    applied = use_lora({"unet": unet}, lora)
    handle = randomised(attach(unet, AdapterConfig(rank=4), BLOCKS, 1))
    assert [p.requires_grad for p in unet.parameters()].count(True) == len(handle.parameters())
    with handle.disabled():
        torch.testing.assert_close(output(unet), styled, atol=1e-6, rtol=0)
    handle.detach()
    torch.testing.assert_close(output(unet), styled, atol=1e-6, rtol=0)
    applied.detach()
    assert same(flags, traits(unet))


def test_keys_that_match_nothing_are_reported_and_a_lora_for_another_model_is_refused(unet):
    lora, _ = lora_of(unet, 1, rank=4)
    extra = LoraWeights({**lora.modules, "unet.down_blocks.9.to_q": next(iter(lora.modules.values())),
                         "text_encoder.layers.0.mlp.fc1": next(iter(lora.modules.values()))})
    with use_lora({"unet": unet}, extra) as applied:
        assert applied.unmatched == ("unet.down_blocks.9.to_q", "text_encoder.layers.0.mlp.fc1")
    with pytest.raises(UserError, match="none of the LoRA's 2 modules"):
        use_lora({"unet": unet}, LoraWeights({key: extra.modules[key] for key in applied.unmatched}))
    wide = {key: Factors(torch.ones(4, 320), torch.ones(320, 4), 4.0) for key in lora.modules}
    before = traits(unet)
    with pytest.raises(UserError, match="320 to 320 channels, the model's module 8 to 8"):
        use_lora({"unet": unet}, LoraWeights(wide))
    assert same(before, traits(unet))


def test_names_with_underscores_and_linear_layers_saved_as_convolutions_still_fit(unet):
    lora, full = lora_of(unet, 1, rank=4, layers="all")
    odd = {"diffusion_model." + key.removeprefix("unet.").replace(".", "_"):
           Factors(f.down[:, :, None, None], f.up[:, :, None, None], f.alpha) if f.down.ndim == 2 else f
           for key, f in lora.modules.items()}
    with use_lora({"unet": unet}, LoraWeights(odd)) as applied:
        assert applied.unmatched == ()
        torch.testing.assert_close(output(unet), full, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("original", "layers", "expected"), [
    ("input_blocks.4.1.transformer_blocks.1.ff.net.2", 2, "down_blocks.1.attentions.0.transformer_blocks.1.ff.net.2"),
    ("input_blocks.3.0.op", 2, "down_blocks.0.downsamplers.0.conv"),
    ("input_blocks.7.0.skip_connection", 2, "down_blocks.2.resnets.0.conv_shortcut"),
    ("middle_block.1.proj_in", 2, "mid_block.attentions.0.proj_in"),
    ("middle_block.2.emb_layers.1", 2, "mid_block.resnets.1.time_emb_proj"),
    ("output_blocks.2.2.conv", 2, "up_blocks.0.upsamplers.0.conv"),
    ("output_blocks.3.0.in_layers.2", 2, "up_blocks.1.resnets.0.conv1"),
    ("output_blocks.5.1.proj_out", 1, "up_blocks.2.attentions.1.proj_out"),
    ("down_blocks.0.resnets.0.conv1", 2, None),
])
def test_original_unet_names_are_diffusers_names(original, layers, expected):
    assert ldm_to_diffusers(original, layers) == expected


def test_a_lora_in_the_original_unets_names_fits_a_diffusers_unet(unet):
    lora, full = lora_of(unet, 1, rank=4, layers="all", conv_rank=2)
    inner = {name.split(".", 4)[4] for name in lora.modules if ".attentions." in name}
    resnet = ("in_layers.2", "out_layers.3", "emb_layers.1", "skip_connection")
    parts = (("0", (*resnet, "op")), ("1", (*inner, "conv")), ("2", ("conv",)))
    originals = [f"{side}.{n}.{part}.{leaf}" for side in ("input_blocks", "output_blocks") for n in range(6)
                 for part, leaves in parts for leaf in leaves]
    originals += [f"middle_block.{n}.{leaf}" for n in range(3) for leaf in (inner if n == 1 else resnet)]
    by_name = {f"unet.{ldm_to_diffusers(name, 1)}": name for name in originals}
    renamed = {f"diffusion_model.{by_name[key]}": value for key, value in lora.modules.items()}
    with use_lora({"unet": unet}, LoraWeights(renamed)) as applied:
        assert applied.unmatched == ()
        torch.testing.assert_close(output(unet), full, atol=1e-6, rtol=0)


def test_text_encoder_keys_fit_with_and_without_text_model():
    torch.manual_seed(1)
    encoder = CLIPTextModel(CLIPTextConfig(
        vocab_size=50, hidden_size=12, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=9, bos_token_id=0, eos_token_id=1, pad_token_id=1)).eval()
    tokens = torch.arange(9)[None]
    before = encoder(tokens).last_hidden_state
    path = "encoder.layers.0.self_attn.q_proj"
    factors = Factors(torch.ones(2, 12), torch.arange(24.0).view(12, 2), 2.0)
    outs = []
    for prefix in ("", "text_model."):
        with use_lora({"text_encoder": encoder}, LoraWeights({f"text_encoder.{prefix}{path}": factors})):
            outs.append(encoder(tokens).last_hidden_state)
    assert torch.equal(outs[0], outs[1]) and not torch.equal(outs[0], before)
    assert torch.equal(encoder(tokens).last_hidden_state, before)
