"""LoRA files that users of neighbouring tools reported as read wrongly, each with the report it comes from."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.file import load_lora
from lora_bootstrap.trainer.lora.layers import energy, read_header
from lora_bootstrap.trainer.stacks.conflict import FINE, measure_conflict
from lora_bootstrap.trainer.stacks.merge import MergeSettings, merge_loras, save_merged
from lora_bootstrap.trainer.stacks.stack import StackEntry

from ..helpers.lora_files import loha, plain, random, write

UNET = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"


def peft(rank=16, seed=0):
    """A layer as PEFT writes it: its alpha is elsewhere."""
    row = plain(rank, seed)
    return {"lora_A.weight": row["lora_down.weight"], "lora_B.weight": row["lora_up.weight"]}


def settings(**values):
    return {"lora_adapter_metadata": json.dumps({f"unet.{name}": value for name, value in values.items()})}


def size(path):
    file = read_header(path)
    return sum(energy(file.delta(entry)) for entry in file.entries) ** 0.5


def entries(*paths):
    return [StackEntry(path=path, strength=strength) for path, strength in zip(paths, (0.8, -0.5), strict=True)]


def merged_tensors(tmp_path, *paths, **options):
    merged = merge_loras(entries(*paths), MergeSettings(**options))
    save_merged(tmp_path / "merged.safetensors", merged)
    return load_file(tmp_path / "merged.safetensors"), merged.lines


# -- how strong a file is ----------------------------------------------------------------------------------------------


def test_a_rank_stabilised_lora_is_scaled_by_alpha_over_the_root_of_its_rank(tmp_path):
    """https://github.com/Comfy-Org/ComfyUI/pull/8094, https://github.com/bghira/SimpleTuner/pull/1853"""
    bare = size(write(tmp_path / "bare.safetensors", {UNET: peft()}))
    stable = size(write(tmp_path / "stable.safetensors", {UNET: peft()}, settings(
        r=16, lora_alpha=16, use_rslora=True)))
    assert stable == pytest.approx(4 * bare)


def test_an_alpha_that_only_the_metadata_has_counts_and_everyone_says_that_the_host_does_not_read_it(tmp_path):
    """https://github.com/Comfy-Org/ComfyUI/issues/12191, https://github.com/Comfy-Org/ComfyUI/pull/15830"""
    half, bare = (write(tmp_path / f"{name}.safetensors", {UNET: peft(seed=seed)}, metadata)
                  for seed, (name, metadata) in enumerate((("half", settings(lora_alpha=8)), ("bare", None))))
    assert size(half) == pytest.approx(size(write(tmp_path / "same.safetensors", {UNET: peft()})) / 2)
    note = ("half.safetensors has alphas in its metadata alone (1 of 1 layers). They scale its layers by 0.5, which is "
            "how it counts here. ComfyUI (0.33 at least) does not read them")
    for told in (merge_loras(entries(half, bare)).lines, measure_conflict(entries(half, bare)).lines,
                 [read_header(half).facts()["scale"]]):
        assert [line for line in told if line.startswith(note)]
    assert read_header(bare).scale_note == ""


@pytest.mark.parametrize(("rank", "pattern", "scale"), [
    (16, {}, 1.0), (16, {"attn2.to_q": 4}, 0.25), (16, {"^attn2.to_q": 4}, 1.0), (16, {"o_q": 4}, 1.0),
    (8, {"to_q": 4}, 0.5), (8, {}, 2.0)])
def test_alphas_and_ranks_of_single_modules_are_the_files_own(rank, pattern, scale, tmp_path):
    """https://github.com/Comfy-Org/ComfyUI/pull/15830"""
    told = settings(r=16, lora_alpha=16, alpha_pattern=pattern, rank_pattern={"attn2.to_q": rank})
    bare, own = (write(tmp_path / f"{number}.safetensors", {UNET: peft(rank)}, metadata)
                 for number, metadata in enumerate((None, told)))
    assert size(own) == pytest.approx(scale * size(bare))


def test_the_alpha_of_fluxs_t5_is_found_under_the_number_that_diffusers_gives_it(tmp_path):
    """https://github.com/Comfy-Org/ComfyUI/issues/12191"""
    module = "text_encoder_2.encoder.block.0.layer.0.SelfAttention.q"
    table = json.dumps({"text_encoder_2.lora_alpha": 48})
    bare, told = (write(tmp_path / f"{number}.safetensors", {module: peft()}, metadata)
                  for number, metadata in enumerate((None, {"lora_adapter_metadata": table})))
    assert size(told) == pytest.approx(3 * size(bare))


# -- what a file says about itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["[]", "null", '{"unet.alpha_pattern": {"[": 4}}', '{"unet.lora_alpha": "x"}',
                                   '{"unet.lora_alpha": 1e999}', '{"unet.alpha_pattern": [1]}'])
def test_a_table_that_is_none_counts_as_absent(table, tmp_path):
    """https://github.com/rockerBOO/lora-inspector-rs/issues/27, https://github.com/Comfy-Org/ComfyUI/pull/15830"""
    bare, strange = (write(tmp_path / f"{number}.safetensors", {UNET: peft()}, metadata)
                     for number, metadata in enumerate((None, {"lora_adapter_metadata": table})))
    assert size(strange) == size(bare) and read_header(strange).scale_note == ""


# -- what is not a layer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["diff_b", "diff", "w_norm"])
@pytest.mark.parametrize("options", [{}, {"method": "ties", "rank": 8}, {"method": "null_space"}, {"rank": 2}], ids=str)
def test_a_merge_carries_biases_and_norms(ending, options, tmp_path):
    """https://github.com/huggingface/diffusers/issues/10954, https://github.com/huggingface/diffusers/pull/10985"""
    rows = [random(12, seed=seed).float() for seed in (1, 2)]
    paths = [write(tmp_path / f"{name}.safetensors", {UNET: plain(4, seed), "unet.mid_block.norm": {ending: row}})
             for seed, (name, row) in enumerate(zip("ab", rows, strict=True))]
    tensors, lines = merged_tensors(tmp_path, *paths, **options)
    written = tensors[f"unet.mid_block.norm.{ending.replace('w_norm', 'diff')}"]
    torch.testing.assert_close(written, 0.8 * rows[0] - 0.5 * rows[1])
    assert any("ifferences of biases and norms (1) were summed at the strengths" in line for line in lines)


def test_what_comfyuis_extraction_writes_by_default_is_measured_and_merged(tmp_path):
    """https://github.com/huggingface/diffusers/issues/10954: a norm's difference has one dimension."""
    norm = random(12).float()
    paths = [write(tmp_path / f"{name}.safetensors", {UNET: plain(4, seed), "unet.mid_block.norm": {"diff": norm}})
             for seed, name in enumerate("ab")]
    report = measure_conflict(entries(*paths))
    layers = [sum(energy(file.delta(entry)) for entry in file.entries) for file in map(read_header, paths)]
    assert [file.energy for file in report.files] == pytest.approx(
        [layer + float(norm.square().sum()) for layer in layers])


# -- names of layers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", [
    "lora_transformer_single_transformer_blocks_0_attn_to_q", "lycoris_single_transformer_blocks_0_attn_to_k",
    "diffusion_model.layers.0.attention.to_q", "diffusion_model.double_blocks.0.img_attn.qkv", "lora_unet_img_in",
    "lora_te_layers_0_self_attn_q_proj", "diffusion_model.blocks.0.self_attn.q"])
def test_a_merge_of_two_files_of_one_tool_keeps_its_names(module, tmp_path):
    """https://github.com/kohya-ss/sd-scripts/issues/1612, https://github.com/Comfy-Org/ComfyUI/issues/4476,
    https://github.com/Comfy-Org/ComfyUI/issues/11487, https://github.com/kohya-ss/musubi-tuner/issues/770"""
    paths = [write(tmp_path / f"{name}.safetensors", {module: plain(4, seed)}) for seed, name in enumerate("ab")]
    tensors, _ = merged_tensors(tmp_path, *paths)
    assert {key.removesuffix(".weight").rpartition(".")[0] for key in tensors if not key.endswith(".alpha")} == {module}


def test_a_merge_of_names_that_the_host_does_not_read_is_written_in_those_that_it_does(tmp_path):
    """https://github.com/kohya-ss/musubi-tuner/issues/770, https://github.com/Comfy-Org/ComfyUI/issues/11487: of such
    a file the host reads the feed-forward layers alone."""
    modules = ("lora_unet_layers_0_attention_to_q", "lora_unet_layers_0_feed_forward_w1")
    paths = [write(tmp_path / f"{name}.safetensors", {module: plain(4, seed) for module in modules})
             for seed, name in enumerate("ab")]
    tensors, _ = merged_tensors(tmp_path, *paths)
    assert {key.removesuffix(".weight").rpartition(".")[0] for key in tensors if not key.endswith(".alpha")} == {
        "diffusion_model.layers.0.attention.to_q", "lora_unet_layers_0_feed_forward_w1"}


def test_a_lora_of_the_text_encoder_alone_leaves_the_names_of_the_other_as_they_are(tmp_path):
    """https://github.com/kohya-ss/sd-scripts/issues/1612: where fused layers need not be split, they are not."""
    module, clip = "lora_unet_double_blocks_0_img_attn_qkv", "lora_te1_text_model_encoder_layers_0_mlp_fc1"
    paths = [write(tmp_path / f"{name}.safetensors", {name: plain()}) for name in (module, clip)]
    tensors, _ = merged_tensors(tmp_path, *paths)
    assert set(tensors) == {f"{name}.{end}" for name in (module, clip) for end in plain()}


def test_split_and_fused_attention_of_one_layer_meet(tmp_path):
    """https://github.com/ostris/ai-toolkit/issues/538, https://github.com/huggingface/diffusers/issues/13203"""
    split = write(tmp_path / "split.safetensors", {
        f"diffusion_model.layers.0.attention.to_{letter}": plain(4, seed, 24) for seed, letter in enumerate("qkv")})
    fused = write(tmp_path / "fused.safetensors", {"lora_unet_layers_0_attention_qkv": plain(4, 9, 72)})
    report = measure_conflict(entries(split, fused))
    assert [layer.shared for layer in report.pairs[0].layers] == [True] * 3


@pytest.mark.parametrize(("first", "second"), [
    ("unet.up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
     "unet.up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q"),
    ("lora_unet_double_blocks_0_img_attn_proj", "lora_unet_single_blocks_0_linear2"),
    (UNET, "lora_te_text_model_encoder_layers_0_mlp_fc1"),
    ("diffusion_model.blocks.0.self_attn.q", "diffusion_model.blocks.1.self_attn.q"),
])
def test_loras_of_different_blocks_are_for_one_model_and_do_not_meet(first, second, tmp_path):
    """https://github.com/kohya-ss/sd-scripts/issues/1863, https://github.com/kohya-ss/musubi-tuner/issues/379,
    https://github.com/hako-mikan/sd-webui-supermerger/issues/181"""
    paths = [write(tmp_path / f"{name}.safetensors", {module: plain(4, seed)})
             for seed, (name, module) in enumerate((("content", first), ("style", second)))]
    report = measure_conflict(entries(*paths))
    assert report.verdict == FINE and report.pairs[0].total.kappa == 0
    merged = merge_loras(entries(*paths))
    note = "content and style have no layer in common, so neither overrides the other."
    assert len(merged.layers) == 2 and note in merged.lines and note in report.lines


@pytest.mark.parametrize(("first", "second"), [
    (UNET, "lora_unet_double_blocks_0_img_attn_proj"), (UNET, "diffusion_model.blocks.0.self_attn.q"),
    ("diffusion_model.double_layers.0.attn.w1q", "transformer.joint_transformer_blocks.0.attn.to_q")])
def test_loras_of_two_networks_are_still_told_apart(first, second, tmp_path):
    """https://github.com/kijai/ComfyUI-FluxTrainer/issues/97"""
    clip = {"lora_te_text_model_encoder_layers_0_mlp_fc1": plain(4, 5)}
    paths = [write(tmp_path / f"{name}.safetensors", {module: plain(4, seed), **clip})
             for seed, (name, module) in enumerate((("a", first), ("b", second)))]
    with pytest.raises(UserError, match="different models, or name one model's layers in ways"):
        merge_loras(entries(*paths))


# -- kinds that are not read -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keys", "reason"), [
    (("unet:0:up", "unet:0:down", "text_encoder:0:up"), "a LoRA of the first generation"),
    (("double_blocks.0.processor.qkv_lora1.down.weight", "double_blocks.0.processor.qkv_lora1.up.weight"), "XLabs'"),
    (("single_blocks.0.processor.qkv_lora.down.weight", "single_blocks.0.processor.qkv_lora.up.weight"), "XLabs'"),
    (("unet.down_blocks.0.attentions.0.oft_R.weight",), "is OFT"),
    (("some.lora.A", "some.lora.B"), "a LoRA of a kind that cannot be read"),
])
def test_a_lora_of_a_kind_that_is_not_read_is_called_one(keys, reason, tmp_path):
    """https://github.com/cloneofsimo/lora/issues/149, https://github.com/Comfy-Org/ComfyUI/issues/4607"""
    save_file({key: torch.ones(2, 2) for key in keys}, tmp_path / "a.safetensors")
    for read in (read_header, load_lora):
        with pytest.raises(UserError, match=reason) as refused:
            read(tmp_path / "a.safetensors")
        assert "checkpoint" not in str(refused.value)


def test_every_file_that_a_merge_reads_info_reads_too(tmp_path):
    """https://github.com/KohakuBlueleaf/LyCORIS/issues/95"""
    rows, dense = loha()
    file = read_header(write(tmp_path / "a.safetensors", {UNET: rows}))
    assert file.facts()["kinds"] == {"LoHa": 1}
    assert math.isclose(size(file.path), float(dense.double().norm()), rel_tol=1e-5)
