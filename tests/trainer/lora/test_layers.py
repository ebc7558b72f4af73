"""One reader: every kind of adapter is the matrix that its formula says, and what is not read is reported."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.file import load_lora
from lora_bootstrap.trainer.lora.layers import energy, read_header
from lora_bootstrap.trainer.lora.names import module_of
from lora_bootstrap.trainer.stacks.blocks import choose_blocks, filter_lora, read_blocks
from lora_bootstrap.trainer.stacks.conflict import measure_conflict
from lora_bootstrap.trainer.stacks.merge import MergeSettings, merge_loras, save_merged
from lora_bootstrap.trainer.stacks.stack import StackEntry

from ...helpers.lora_files import kinds, plain, random, write

LAYERS = tuple(f"mid_block.attentions.0.transformer_blocks.0.attn1.to_{letter}" for letter in "qk")
MODULE = f"unet.{LAYERS[0]}"


def random32(*shape, seed=0):
    return random(*shape, seed=seed).float()


def convolution():
    """A plain LoRA of a 3 x 3 convolution, which `kinds` lacks."""
    down, up = random32(2, 5, 3, 3), random32(7, 2, 1, 1, seed=1)
    dense = torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down) * 3 / 2
    return {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(3.0)}, dense


def all_kinds():
    up, down, alpha = plain(4, 9).values()
    return {"LoRA": (plain(4, 9), up @ down * alpha / 4), "LoCon": convolution(),
            "full, wide": ({"diff": random32(6, 9)}, random32(6, 9)),
            "full, convolution": ({"diff": random32(6, 2, 3, 3)}, random32(6, 2, 3, 3)), **kinds()}


def product(factors):
    return (factors.up.flatten(1).double() @ factors.down.flatten(1).double()) * factors.alpha / factors.rank


@pytest.fixture(params=all_kinds())
def kind(request, tmp_path):
    """(file with one layer of a kind, the whole matrix by the kind's formula [out, in * kh * kw])."""
    tensors, dense = all_kinds()[request.param]
    return write(tmp_path / "a.safetensors", {MODULE: tensors}), dense.double().flatten(1)


def test_a_layers_delta_is_the_matrix_of_its_formula(kind):
    path, dense = kind
    file = read_header(path)
    (entry,) = file.entries
    delta = file.delta(entry)
    assert entry.shape == delta.shape == dense.shape
    torch.testing.assert_close(delta.dense(), dense, rtol=1e-6, atol=1e-6)
    assert energy(delta) == pytest.approx(dense.square().sum().item(), rel=1e-6)
    assert delta.exact or delta.rank == min(dense.shape)


def test_factors_to_apply_are_the_same_matrix(kind):
    path, dense = kind
    factors = load_lora(path).modules[MODULE]
    torch.testing.assert_close(product(factors), dense, rtol=1e-5, atol=1e-5)
    assert factors.down.dtype == factors.up.dtype == torch.float32


def test_a_plain_loras_factors_are_the_files_own_to_the_bit(tmp_path):
    tensors = plain(4, 9)
    found = load_lora(write(tmp_path / "a.safetensors", {MODULE: tensors})).modules[MODULE]
    assert torch.equal(found.down, tensors["lora_down.weight"]) and torch.equal(found.up, tensors["lora_up.weight"])
    assert found.alpha == 2.0


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (6, 2, 3, 3)])
def test_a_full_differences_factors_multiply_to_it_to_the_bit(tmp_path, shape):
    found = load_lora(write(tmp_path / "a.safetensors", {MODULE: {"diff": random32(*shape)}})).modules[MODULE]
    assert torch.equal(found.up.flatten(1) @ found.down.flatten(1), random32(*shape).flatten(1))
    assert found.rank == found.alpha == min(shape[0], math.prod(shape[1:])) and found.down.shape[2:] == shape[2:]


def test_a_lohas_and_a_lokrs_3x3_convolution_is_one_though_the_file_does_not_tell(tmp_path):
    loha = {f"hada_w{n}_{side}": random32(*shape, seed=n) for n in (1, 2) for side, shape in (
        ("a", (8, 2)), ("b", (2, 45)))}
    for name in ("unet.mid_block.resnets.0.conv1", "lora_unet_middle_block_0_in_layers_2"):
        (factors,) = load_lora(write(tmp_path / "a.safetensors", {name: loha})).modules.values()
        assert factors.down.shape == (4, 5, 3, 3) and factors.up.shape == (8, 4, 1, 1)


# -- one file, every reader --------------------------------------------------------------------------------------------


def readings(path, other, folder):
    """How many layers each command finds in a file, by what it calls itself."""
    entries = [StackEntry(path=path), StackEntry(path=other)]
    merged = merge_loras(entries, MergeSettings(rank=64))
    conflict = measure_conflict(entries)
    return {
        "info": read_header(path).facts()["modules"],
        "generate and grid": len(load_lora(path).modules),
        "conflict": conflict.files[0].layers,
        "merge": len(merged.lora.modules),
        "blocks": sum(len(keys) for keys in read_blocks(filter_lora(path, "all", folder).path).keys.values()),
    }


SPELLED = {
    "kohya": "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_{}",
    "kohya, LDM": "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_{}",
    "SimpleTuner": "lycoris_mid_block_attentions_0_transformer_blocks_0_attn1_to_{}",
    "OneTrainer": "lora_transformer_single_transformer_blocks_0_attn_to_{}",
    "ai-toolkit": "diffusion_model.layers.0.attention.to_{}",
    "diffusers": "transformer.transformer_blocks.0.attn.to_{}",
    "PEFT": "base_model.model.transformer_blocks.0.attn.to_{}",
    "bare": "single_transformer_blocks.0.attn.to_{}",
    "T5": "lora_te3_encoder_block_0_layer_0_SelfAttention_{}",
    "T5 of the host": "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.{}",
}


@pytest.mark.parametrize("spelling", SPELLED)
@pytest.mark.parametrize("kind", ["LoRA", "LoHa", "LoKr", "LoCon, Tucker", "full"])
def test_every_command_reads_the_same_layers_of_a_file(tmp_path, spelling, kind):
    tensors = all_kinds()[kind][0]
    paths = [write(tmp_path / f"{name}.safetensors", {SPELLED[spelling].format(letter): {
        end: tensor.clone() for end, tensor in tensors.items()} for letter in "qk"}) for name in "ab"]
    found = readings(*paths, tmp_path)
    assert found.pop("blocks") == 2 * len(tensors)
    assert found == dict.fromkeys(found, 2)


def test_what_is_read_has_the_same_size_for_all(tmp_path):
    rows = {SPELLED["kohya"].format(letter): plain(4, seed) for seed, letter in enumerate("qk")}
    path, other = (write(tmp_path / f"{name}.safetensors", rows) for name in "ab")
    sizes = sum(product(factors).square().sum().item() for factors in load_lora(path).modules.values())
    report = measure_conflict([StackEntry(path=path), StackEntry(path=other)])
    merged = merge_loras([StackEntry(path=path), StackEntry(path=other, strength=1.0)])
    assert report.files[0].energy == pytest.approx(sizes)
    assert sum(product(factors).square().sum().item() for factors in merged.lora.modules.values()) == pytest.approx(
        4 * sizes, rel=1e-6)


@pytest.mark.parametrize(("clip", "names"), [
    ({}, {"text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"}),
    ({"lora_te1_text_model_encoder_layers_0_mlp_fc1": plain()},
     {"lora_te3_encoder_block_0_layer_0_SelfAttention_q", "lora_te1_text_model_encoder_layers_0_mlp_fc1"}),
    ({"transformer.transformer_blocks.0.attn.to_q": plain()},
     {"text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q",
      "transformer.transformer_blocks.0.attn.to_q"}),
])
@pytest.mark.parametrize("second", [
    "lora_te2_encoder_block_0_layer_0_SelfAttention_q", "text_encoder_3.encoder.block.0.layer.0.SelfAttention.q",
    "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"])
def test_a_merged_t5_has_a_name_that_the_host_maps(tmp_path, clip, names, second):
    first = "lora_te3_encoder_block_0_layer_0_SelfAttention_q"
    paths = [write(tmp_path / f"{place}.safetensors", {name: plain(), **clip})
             for place, name in enumerate((first, second))]
    save_merged(tmp_path / "merged.safetensors", merge_loras([StackEntry(path=path) for path in paths]))
    assert {module_of(key) for key in read_header(tmp_path / "merged.safetensors").tensors.shapes} == names


# -- what is not read --------------------------------------------------------------------------------------------------


@pytest.fixture
def with_more(tmp_path):
    """A LoRA with a bias, norms in one dimension, an embedding and a network that nobody knows."""
    tensors = {f"{MODULE}.{end}": tensor for end, tensor in plain().items()}
    tensors |= {f"{MODULE}.diff_b": random32(20), "unet.mid_block.norm.diff": random32(20),
                "unet.mid_block.norm2.w_norm": random32(20), "bundle_emb.akane.string_to_param.*": random32(2, 8),
                "some_network.lora_up.weight": random32(3, 3), "unet.conv_in.reshape_weight": torch.tensor([3, 4])}
    save_file(tensors, tmp_path / "more.safetensors")
    return tmp_path / "more.safetensors"


def test_what_is_not_read_is_reported_by_everyone(with_more, tmp_path):
    strange = ("bundle_emb.akane.string_to_param.*", "some_network.lora_up.weight", "unet.conv_in.reshape_weight")
    vectors = (f"{MODULE}.diff_b", "unet.mid_block.norm.diff", "unet.mid_block.norm2.w_norm")
    file = read_header(with_more)
    assert set(file.ignored) == {*strange, *vectors} and {vector.key for vector in file.vectors} == set(vectors)
    assert file.facts()["not_read"] == file.ignored == load_lora(with_more).ignored
    assert file.facts()["not_read_kinds"] == {
        "norms": 2, "biases": 1, "bundled embeddings": 1, "new shapes": 1, "unknown keys": 1}
    entries = [StackEntry(path=with_more), StackEntry(path=write(tmp_path / "b.safetensors", {MODULE: plain(4, 5)}))]
    report = measure_conflict(entries)
    assert ("more.safetensors holds tensors that were not read: bundled embeddings (1), new shapes (1), "
            "unknown keys (1), such as bundle_emb.akane.string_to_param.*.") in report.notes
    assert ("more.safetensors holds tensors that were not read: new shapes (1), unknown keys (1), such as "
            "some_network.lora_up.weight.") in merge_loras(entries).lines
    assert report.files[0].ignored == 6


def test_a_file_that_is_read_whole_has_no_note(tmp_path):
    file = read_header(write(tmp_path / "a.safetensors", {MODULE: plain()}))
    assert file.ignored == () and file.unread_note() == file.scale_note == "" and "not_read" not in file.facts()


def test_norms_and_biases_are_weakened_with_their_block_but_what_replaces_a_weight_is_not(with_more, tmp_path):
    assert tuple(choose_blocks(read_blocks(with_more), "not conv_in")) == ("mid_block", "mid_block.attentions.0")
    made = read_header(filter_lora(with_more, "mid_block* = 0.5", tmp_path).path).tensors
    kept = read_header(with_more).tensors
    for key, strength in (("unet.mid_block.norm.diff", 0.5), (f"{MODULE}.diff_b", 0.5),
                          ("unet.conv_in.reshape_weight", 1)):
        torch.testing.assert_close(made.read(key), (kept.read(key) * strength).to(kept.read(key).dtype))


def test_a_dora_is_described_but_not_applied(tmp_path):
    path = write(tmp_path / "a.safetensors", {MODULE: {**plain(), "dora_scale": random32(20, 1)}})
    facts = read_header(path).facts()
    assert (facts["kinds"], facts["dora"], facts["ranks"]) == ({"LoRA": 1}, 1, [4])
    with pytest.raises(UserError, match="a.safetensors is a DoRA in 1 layers") as error:
        load_lora(path)
    assert "\n" not in str(error.value)


def test_the_facts_of_a_file_are_of_all_its_kinds(tmp_path):
    rows = {f"lora_unet_mid_block_{place}": tensors for place, (tensors, _) in enumerate(
        all_kinds()[kind] for kind in ("LoRA", "LoHa", "LoKr, whole", "full"))}
    facts = read_header(write(tmp_path / "a.safetensors", rows)).facts()
    assert facts["kinds"] == {"LoRA": 1, "LoHa": 1, "LoKr": 1, "full": 1} and facts["modules"] == 4
    assert facts["ranks"] == [3, 4] and facts["alphas"] == [1.5, 2.0]
    assert facts["parameters"] == 4 * (20 + 24) + 6 * (20 + 24) + 12 + 40 + 20 * 24


@pytest.mark.parametrize("spellings", [
    ("lora_te2_encoder_block_0_layer_0_SelfAttention_q", "lora_te3_encoder_block_0_layer_0_SelfAttention_q"),
    ("unet.mid_block.a", "lora_unet_mid_block_a"),
])
def test_a_layer_that_is_there_under_two_names_is_refused(tmp_path, spellings):
    path = write(tmp_path / "a.safetensors", {name: plain() for name in spellings})
    with pytest.raises(UserError, match="twice"):
        load_lora(path)


# -- alpha in the metadata ---------------------------------------------------------------------------------------------


def alphas(tmp_path, table):
    rows = {f"unet.mid_block.{name}": {"lora_A.weight": random32(16, 8), "lora_B.weight": random32(8, 16)}
            for name in ("a", "b", "sub.b")}
    path = write(tmp_path / "a.safetensors", rows, {"lora_adapter_metadata": table})
    return {key.removeprefix("unet.mid_block."): value.alpha for key, value in load_lora(path).modules.items()}


def test_a_rank_stabilised_lora_is_scaled_by_the_root_of_its_rank(tmp_path):
    table = {"unet.lora_alpha": 16, "unet.r": 16, "unet.use_rslora": True}
    assert set(alphas(tmp_path, json.dumps(table)).values()) == {16 * 4}  # 64 / 16 = 16 / sqrt(16)


def test_patterns_are_ends_of_names_and_never_run_as_expressions(tmp_path):
    slow = "(" * 20 + "a+" + ")+" * 20 + "$"
    table = {"unet.lora_alpha": 8, "unet.alpha_pattern": {slow: 3, "[": 4, "sub.b": 2, "b": 6}}
    assert alphas(tmp_path, json.dumps(table)) == {"a": 8, "b": 6, "sub.b": 2}


@pytest.mark.parametrize("table", [
    "[]", "{oops", "3", "null", '{"unet.lora_alpha": "many"}', '{"unet.lora_alpha": true}',
    '{"unet.alpha_pattern": [1]}', '{"unet.lora_alpha": NaN}', "[" * 100_000])
def test_what_is_no_table_of_alphas_counts_as_not_there(tmp_path, table):
    assert alphas(tmp_path, table) == {"a": 16, "b": 16, "sub.b": 16}
