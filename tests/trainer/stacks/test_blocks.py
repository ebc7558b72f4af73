"""Some blocks of a LoRA: which, told by names, and the file that holds them."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import file_hash
from lora_bootstrap.trainer.lora.file import load_lora
from lora_bootstrap.trainer.lora.tensors import TensorFile
from lora_bootstrap.trainer.stacks.blocks import PRESETS, choose_blocks, filter_lora, read_blocks
from lora_bootstrap.trainer.stacks.layer_stack import open_stack

from ...helpers.lora_files import BLOCK, kinds, kohya, plain, random, write

CONTENT, STYLE, OTHER = (f"up_blocks.0.attentions.{index}" for index in range(3))
DOWN, MIDDLE = "down_blocks.1.attentions.0", "mid_block.attentions.0"
LEAF = "transformer_blocks.0.attn1.to_q"
TEXT = "lora_te1_text_model_encoder_layers_0_mlp_fc1"
SDXL = {"ss_base_model_version": "sdxl_base_v1-0", "modelspec.trigger_phrase": "akane"}


def blocks_of(*blocks):
    return {kohya(f"{block}.{LEAF}"): plain(4, index) for index, block in enumerate(blocks)}


@pytest.fixture
def girl(tmp_path):
    rows = {**blocks_of(DOWN, MIDDLE, CONTENT, STYLE, OTHER), TEXT: plain(4, 50)}
    return write(tmp_path / "girl.safetensors", rows, SDXL)


def chosen(path, text):
    return tuple(choose_blocks(read_blocks(path), text))


def refused(path, text):
    with pytest.raises(UserError) as raised:
        chosen(path, text)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_blocks_stand_in_the_networks_order(girl):
    assert tuple(read_blocks(girl).keys) == ("text_encoder", DOWN, MIDDLE, CONTENT, STYLE, OTHER)


@pytest.mark.parametrize(("text", "blocks"), [
    ("style", (STYLE,)), ("content", (CONTENT,)), ("content + style", (CONTENT, STYLE)),
    ("no text", (DOWN, MIDDLE, CONTENT, STYLE, OTHER)), ("text_encoder", ("text_encoder",)),
    ("mid_block* + up_blocks.*.attentions.2", (MIDDLE, OTHER)), (" not style ", ("text_encoder", DOWN, MIDDLE, CONTENT,
                                                                                OTHER)),
    ("up_blocks.* + not style + not content", (OTHER,)),
    ("all", ("text_encoder", DOWN, MIDDLE, CONTENT, STYLE, OTHER)),
    ("", ("text_encoder", DOWN, MIDDLE, CONTENT, STYLE, OTHER))])
def test_presets_and_patterns_choose_blocks(girl, text, blocks):
    assert chosen(girl, text) == blocks


@pytest.mark.parametrize(("text", "strengths"), [
    ("mid_block* = 0.5", {"text_encoder": 1, DOWN: 1, MIDDLE: 0.5, CONTENT: 1, STYLE: 1, OTHER: 1}),
    ("content + style=-.3", {CONTENT: 1, STYLE: -0.3}), ("up_blocks.* + style = 0", {CONTENT: 1, OTHER: 1}),
    ("all = 0.5 + not text_encoder + style = 1", {DOWN: 0.5, MIDDLE: 0.5, CONTENT: 0.5, STYLE: 1, OTHER: 0.5})])
def test_blocks_have_strengths_of_their_own(girl, text, strengths):
    assert choose_blocks(read_blocks(girl), text) == strengths


@pytest.mark.parametrize("text", ["style =", "style = strong", "style = nan", "style = 50"])
def test_a_blocks_strength_that_is_none_is_told(girl, text):
    assert "needs a strength from -10 to 10 after the =, such as mid_block* = 0.5" in refused(girl, text)


@pytest.mark.parametrize("kind", ["LoRA", *kinds()])
def test_at_half_the_strength_a_block_is_half_of_what_it_was_whatever_its_kind(tmp_path, kind):
    tensors = plain(4, 1) if kind == "LoRA" else kinds()[kind][0]
    both = {kohya(f"{block}.{LEAF}"): {end: tensor.clone() for end, tensor in (
        *tensors.items(), ("diff_b", random(20).float()))} for block in (STYLE, OTHER)}
    path = write(tmp_path / "a.safetensors", both, SDXL)
    made = filter_lora(path, "style = 0.5", tmp_path / "filtered")
    assert made.kept == {STYLE: 0.5, OTHER: 1} and made.line == f"2 of 2 blocks, {STYLE} at 0.5"
    with open_stack([path, made.path]) as stack:
        for name in stack.names:
            whole, part = (change.dense() for change in stack.deltas(name))
            torch.testing.assert_close(part, whole * (0.5 if STYLE in name else 1), rtol=1e-6, atol=1e-6)
    whole, part = load_file(path), load_file(made.path)
    for block, strength in ((STYLE, 0.5), (OTHER, 1)):
        name = f"{kohya(f'{block}.{LEAF}')}.diff_b"
        assert torch.equal(part[name], whole[name] * strength)


def test_another_strength_is_another_file_and_its_lineage_says_so(girl, tmp_path):
    made = [filter_lora(girl, text, tmp_path / "filtered").path for text in ("style = 0.5", "style = 0.6", "not style")]
    assert len(set(made)) == 3
    with safe_open(made[0], "pt") as file:
        assert json.loads(file.metadata()["lora_bootstrap.lineage"])["filter"]["strengths"] == {STYLE: 0.5}
    assert filter_lora(girl, "all = 1", tmp_path / "filtered").path == girl


def test_a_doras_blocks_are_kept_or_left_out_but_not_weakened(tmp_path):
    rows = {kohya(f"{STYLE}.{LEAF}"): {**plain(4, 1), "dora_scale": random(20, 1)}, **blocks_of(OTHER)}
    path = write(tmp_path / "a.safetensors", rows, SDXL)
    assert f"{STYLE} of a.safetensors is a DoRA, whose strength cannot be set" in refused(path, "style = 0.5")
    assert chosen(path, f"{OTHER} = 0.5") == (STYLE, OTHER) and chosen(path, "style = 0") == (OTHER,)


def test_a_file_in_the_original_layout_has_the_same_blocks_under_its_own_names_too(tmp_path):
    rows = {f"lora_unet_{block}_1_transformer_blocks_0_attn1_to_q": plain(4, index)
            for index, block in enumerate(("input_blocks_4", "output_blocks_0", "output_blocks_1"))}
    path = write(tmp_path / "a.safetensors", rows, SDXL)
    assert chosen(path, "style") == (STYLE,) == chosen(path, "output_blocks.1")
    assert chosen(path, "input_blocks.*") == ("down_blocks.1.attentions.0",)


def test_a_fused_layer_of_flux_is_in_its_block(tmp_path):
    rows = {f"lora_unet_double_blocks_{number}_img_attn_qkv": plain(4, number, 60, 20) for number in (0, 11)}
    path = write(tmp_path / "flux.safetensors", rows)
    assert chosen(path, "transformer_blocks.1*") == ("transformer_blocks.11",) == chosen(path, "double_blocks.11")


def test_a_lora_that_lacks_blocks_does_not_shift_the_others(tmp_path):
    path = write(tmp_path / "few.safetensors", blocks_of(STYLE, OTHER), SDXL)
    assert chosen(path, "style") == (STYLE,)
    told = refused(path, "content")
    assert told.startswith("blocks 'content' (SDXL's content block): few.safetensors has none of them. It has up_")
    assert "blocks 'not all' leaves nothing of few.safetensors" in refused(path, "not all")


def test_roles_are_known_of_sdxl_only_and_a_pattern_works_everywhere(tmp_path):
    path = write(tmp_path / "tiny.safetensors", blocks_of(CONTENT, STYLE))
    assert "blocks 'style' is known for SDXL only, and tiny.safetensors is not for SDXL" in refused(path, "style")
    assert chosen(path, STYLE) == (STYLE,)


def test_an_unknown_block_is_told_the_nearest_and_those_there(girl):
    told = refused(girl, "mid_blok.attentions.0")
    assert told.startswith("girl.safetensors has no block 'mid_blok.attentions.0'. Did you mean 'mid_block.att")
    assert "Did you mean 'style'?" in refused(girl, "styl") and all(name in told for name in PRESETS)


def test_the_file_holds_exactly_the_tensors_of_the_blocks(girl, tmp_path):
    made = filter_lora(girl, "style + text_encoder", tmp_path / "filtered")
    assert made.kept == {"text_encoder": 1, STYLE: 1} and len(made.blocks) == 6 and made.unknown == 0
    whole, part = load_file(girl), load_file(made.path)
    names = {f"{module}.{end}" for module in (kohya(f"{STYLE}.{LEAF}"), TEXT) for end in plain()}
    assert part.keys() == names
    assert all(torch.equal(part[name], whole[name]) and part[name].dtype == whole[name].dtype for name in names)
    assert load_lora(made.path).modules.keys() < load_lora(girl).modules.keys()


def test_dora_biases_and_types_go_with_their_block(tmp_path):
    style, other = kohya(f"{STYLE}.{LEAF}"), kohya(f"{OTHER}.{LEAF}")
    tensors = {f"{module}.{end}": tensor.half() for module in (style, other) for end, tensor in (
        *plain(4, 1).items(), ("dora_scale", random(20, 1)), ("diff_b", random(20)))}
    tensors |= {f"{kohya(STYLE)}_norm.w_norm": random(20).bfloat16(), "lora_unet_guess.w_norm": random(3)}
    tensors["some_network.lora_up.weight"] = random(3, 3)
    save_file(tensors, tmp_path / "a.safetensors")
    made = filter_lora(tmp_path / "a.safetensors", STYLE, tmp_path)
    found = load_file(made.path)
    assert found.keys() == {*(f"{style}.{end}" for end in (*plain(), "dora_scale", "diff_b")),
                            f"{kohya(STYLE)}_norm.w_norm"}
    assert all(torch.equal(found[name], tensors[name]) for name in found) and made.unknown == 1


def test_the_file_tells_where_it_is_from_and_keeps_what_the_lora_says(girl, tmp_path):
    made = filter_lora(girl, "style", tmp_path / "filtered")
    with safe_open(made.path, "pt") as file:
        told = file.metadata()
    assert told["modelspec.trigger_phrase"] == "akane" and told["ss_base_model_version"] == "sdxl_base_v1-0"
    assert told["ss_output_name"] == made.path.stem == told["modelspec.title"]
    assert told["modelspec.hash_sha256"] == f"0x{told['sshs_model_hash']}"
    lineage = json.loads(told["lora_bootstrap.lineage"])["filter"]
    assert lineage["blocks"] == [STYLE] and lineage["of"] == 6
    assert [(parent["file"], parent["sha256"]) for parent in lineage["parents"]] == [("girl.safetensors",
                                                                                      file_hash(girl))]


def test_it_is_written_once_under_a_name_by_what_is_in_it(girl, tmp_path):
    folder = tmp_path / "filtered"
    first = filter_lora(girl, "style", folder).path
    before = first.stat().st_mtime_ns
    assert first.parent == folder and first.name.startswith("girl-") and len(first.stem) == len("girl-") + 12
    assert filter_lora(girl, f" {STYLE} ", folder).path == first and first.stat().st_mtime_ns == before
    assert filter_lora(girl, "content", folder).path != first
    write(girl, {**blocks_of(STYLE, CONTENT), TEXT: plain(4, 51)}, SDXL)
    assert filter_lora(girl, "style", folder).path != first, "the LoRA was trained again under the same name"
    assert len(list(folder.iterdir())) == 3


def test_a_long_name_is_cut(girl, tmp_path):
    long = girl.rename(tmp_path / f"{'界' * 75}.safetensors")
    made = filter_lora(long, "style", tmp_path / "filtered").path
    assert made.stem.startswith("界" * 50 + "-") and made.is_file()


def test_where_all_is_kept_no_file_is_written(girl, tmp_path):
    assert filter_lora(girl, "all", tmp_path / "filtered").path == girl
    lone = write(tmp_path / "lone.safetensors", {kohya(f"{BLOCK}.attn1.to_q"): plain()})
    assert filter_lora(lone, "no text", tmp_path / "filtered").path == lone
    assert not (tmp_path / "filtered").exists()


def test_what_is_no_lora_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(UserError, match="not a complete safetensors file"):
        filter_lora(tmp_path / "a.safetensors", "style", tmp_path)


def test_a_file_with_a_type_that_cannot_be_read_is_closed(girl, tmp_path, monkeypatch):
    closed = []
    monkeypatch.setattr(TensorFile, "close", lambda file: closed.append(file.path))
    monkeypatch.setattr("lora_bootstrap.trainer.lora.tensors.DTYPES", {})
    with pytest.raises(UserError, match="types that can be read"):
        filter_lora(girl, "mid_block*", tmp_path)
    assert closed == [girl]
