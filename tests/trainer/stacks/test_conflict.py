"""Conflict from files alone: every figure against whole matrices, names of all kinds, advice, and bad files."""

import json
import math
import os

import pytest
import torch

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.layers import LayerDelta, energy, read_header
from lora_bootstrap.trainer.lora.layouts import block_of, diffusers_names, layers_per_block
from lora_bootstrap.trainer.lora.names import layer_name
from lora_bootstrap.trainer.stacks.conflict import FINE, MERGE, STRENGTHS, measure_conflict
from lora_bootstrap.trainer.stacks.conflict_picture import HOT, conflict_picture, heat_picture
from lora_bootstrap.trainer.stacks.conflict_table import HeatMap, headers, heat_map, kappa_map, report_dict, table_rows
from lora_bootstrap.trainer.stacks.layer_stack import open_stack
from lora_bootstrap.trainer.stacks.overlap import measure_overlap, read_change
from lora_bootstrap.trainer.stacks.stack import StackEntry, stack_advice

from ...helpers.lora_files import (
    BAD,
    IN,
    LAYERS,
    NAMES,
    OUT,
    change,
    close,
    kinds,
    kohya,
    lora,
    plain,
    random,
    rows_of,
    write,
)


@pytest.fixture
def two(tmp_path):
    return lora(tmp_path / "first.safetensors", 1), lora(tmp_path / "second.safetensors", 100)


def pair(*paths, strengths=(1.0, 1.0), **options):
    report = measure_conflict([StackEntry(path=path, strength=value)
                               for path, value in zip(paths, strengths, strict=True)], **options)
    return report.pairs[0]


# -- figures -----------------------------------------------------------------------------------------------------------


def test_the_figures_of_a_layer_are_those_of_the_whole_matrices():
    first, second = change(4, 0), change(6, 50)
    found, a, b = measure_overlap(read_change(first), read_change(second)), first.dense(), second.dense()
    assert close(found.first, a.square().sum().item()) and close(found.second, b.square().sum().item())
    assert close(found.on_first, (b @ rows_of(a)).square().sum().item())
    assert close(found.on_second, (a @ rows_of(b)).square().sum().item())
    assert close(found.inner, (a * b).sum().item())
    assert close(found.kappa, math.sqrt(found.on_first * found.on_second / (found.first * found.second)))
    assert close(found.chance, math.sqrt(4 * 6) / IN)
    assert close(found.cosine_chance, 1 / math.sqrt(OUT * IN))


def test_of_many_directions_only_the_larger_ones_count():
    first, second = change(90, 0, 100, 200), change(80, 50, 100, 200)
    found, a, b = measure_overlap(read_change(first), read_change(second)), first.dense(), second.dense()
    left, right = rows_of(a, 0.95), rows_of(b, 0.95)
    assert left.shape[1] < 90 and right.shape[1] < 80
    share = (b @ right @ right.T @ left).square().sum() / (b @ right).square().sum()
    assert close(found.on_first, (share * b.square().sum()).item())
    assert close(found.inner, (a * b).sum().item())


@pytest.mark.parametrize("rank", [1, 4, 20, 80])
def test_a_lora_has_kappa_and_cosine_one_with_itself(rank):
    reading = read_change(change(rank, 3, 90, 100))
    found = measure_overlap(reading, reading)
    assert close(found.kappa, 1) and close(found.cosine, 1) and close(found.excess, 1)


def test_who_listens_to_other_inputs_does_not_interfere_and_who_listens_to_the_same_does_whatever_it_says():
    left, right = random(3, IN, seed=1), random(3, IN, seed=2)
    left[:, IN // 2:], right[:, :IN // 2] = 0, 0
    first = read_change(LayerDelta(random(OUT, 3), left))
    apart = measure_overlap(first, read_change(LayerDelta(random(OUT, 3), right)))
    same = measure_overlap(first, read_change(LayerDelta(random(OUT, 3, seed=9), left)))
    assert apart.kappa < 1e-6 and apart.excess < 0
    assert close(same.kappa, 1) and abs(same.cosine) < 0.6


def test_how_a_change_is_written_in_factors_does_not_matter():
    first, second = change(4, 0), change(6, 50)
    mix = random(4, 4, seed=7)
    padded = LayerDelta(torch.cat([first.up, torch.zeros(OUT, 3)], 1), torch.cat([first.down, random(3, IN, seed=8)]))
    doubled = LayerDelta(torch.cat([first.up, first.up], 1), torch.cat([0.3 * first.down, 0.7 * first.down]))
    expected = vars(measure_overlap(read_change(first), read_change(second)))
    mixed = LayerDelta(first.up @ mix, mix.inverse() @ first.down)
    for other in (LayerDelta(first.up / 300, first.down * 300), mixed, padded, doubled):
        found = vars(measure_overlap(read_change(other), read_change(second)))
        assert all(close(found[name], value) for name, value in expected.items())


def test_strengths_change_what_is_written_over_but_not_kappa():
    found = measure_overlap(read_change(change(4, 0)), read_change(change(6, 50)))
    strong = found.at(0.5, -1.2)
    assert close(strong.kappa, found.kappa) and close(strong.chance, found.chance)
    assert close(strong.cosine, -found.cosine)
    share = 1.44 * found.on_first / (1.44 * found.on_first + 0.25 * found.first)
    assert close(strong.second_over_first, share)


def test_at_the_balance_both_are_overridden_by_kappa_over_one_plus_kappa_and_elsewhere_one_by_more():
    found = measure_overlap(read_change(change(4, 0)), read_change(change(6, 50)))
    even = found.at(1, found.balance)
    assert close(even.second_over_first, found.kappa / (1 + found.kappa))
    assert close(even.first_over_second, found.least_override)
    for ratio in (0.1, 0.9, 1.1, 10):
        used = found.at(1, ratio * found.balance)
        assert max(used.second_over_first, used.first_over_second) > found.least_override


def test_at_the_cap_the_override_is_the_tolerance():
    found = measure_overlap(read_change(change(4, 0)), read_change(change(6, 50)))
    assert close(found.at(1, found.most_second(0.3)).second_over_first, 0.3)
    assert close(found.at(1, found.least_second(0.3)).first_over_second, 0.3)


def test_loras_that_have_nothing_to_do_with_each_other_are_at_chance():
    found = [measure_overlap(read_change(change(8, seed, 64, 128)), read_change(change(8, seed + 5000, 64, 128)))
             for seed in range(0, 400, 10)]
    whole = sum(found[1:], found[0])
    assert whole.chance == pytest.approx(8 / 128, rel=1e-6)
    assert whole.kappa == pytest.approx(whole.chance, rel=0.05)
    assert abs(whole.cosine) < 4 * whole.cosine_chance


def test_a_cosines_excess_has_its_sign_and_none_below_chance():
    one, other = change(1, 0), change(1, 0)
    against = LayerDelta(-other.up, other.down)
    assert close(measure_overlap(read_change(one), read_change(against)).cosine_excess, -1)
    found = measure_overlap(read_change(one), read_change(change(1, 50)))
    assert abs(found.cosine) < found.cosine_chance and found.cosine_excess == 0


def test_the_order_of_two_loras_only_swaps_their_figures(two):
    there, back = pair(*two), pair(*reversed(two))
    assert close(there.total.kappa, back.total.kappa)
    assert all(close(value, vars(back.total.swap())[name]) for name, value in vars(there.total).items())
    assert close(there.used.second_over_first, back.used.first_over_second)


# -- files -------------------------------------------------------------------------------------------------------------


def test_totals_are_of_sums_and_layers_of_one_alone_count_for_their_norm(tmp_path):
    first = lora(tmp_path / "a.safetensors", 1, LAYERS[:2])
    second = lora(tmp_path / "b.safetensors", 100, LAYERS)
    found = pair(first, second)
    shared = [layer for layer in found.layers if layer.shared]
    assert len(shared) == 2 and found.only == ((), (f"denoiser.{LAYERS[2]}",))
    assert close(found.total.on_first, sum(layer.overlap.on_first for layer in shared))
    assert close(found.total.second, sum(layer.overlap.second for layer in found.layers))
    assert found.total.kappa < math.sqrt(found.total.on_first * found.total.on_second / (
        found.total.first * sum(layer.overlap.second for layer in shared)))
    assert any("are in b but not in a" in line for line in measure_conflict(
        [StackEntry(path=first), StackEntry(path=second)]).notes)


def test_alpha_is_part_of_the_size(tmp_path):
    row = plain(4)
    half = write(tmp_path / "a.safetensors", {kohya(LAYERS[0]): row})
    without = write(tmp_path / "b.safetensors", {kohya(LAYERS[0]): {k: v for k, v in row.items() if k != "alpha"}})
    found = pair(half, without).total
    assert close(found.second, 4 * found.first) and close(found.kappa, 1)


def test_clip_strength_counts_in_text_encoders_alone(tmp_path):
    rows = {kohya(LAYERS[0]): plain(), "lora_te_text_model_encoder_layers_0_mlp_fc1": plain(seed=5)}
    paths = [write(tmp_path / name, rows) for name in ("a.safetensors", "b.safetensors")]
    report = measure_conflict([StackEntry(path=paths[0]), StackEntry(path=paths[1], strength=1, clip_strength=0)])
    blocks = {row.name: row for row in report.pairs[0].blocks}
    assert set(blocks) == {"text_encoder", "down_blocks.1.attentions.0"}
    assert blocks["text_encoder"].used.second_over_first == 0
    assert close(blocks["down_blocks.1.attentions.0"].used.second_over_first, 0.5)
    assert set(report.pairs[0].parts) == {"denoiser", "text_encoder"}


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_is_the_matrix_that_its_formula_says_and_is_compared_as_that(tmp_path, kind):
    tensors, dense = kinds()[kind]
    dense = dense.double().flatten(1)
    path = write(tmp_path / "a.safetensors", {kohya(LAYERS[0]): tensors})
    other = write(tmp_path / "b.safetensors", {kohya(LAYERS[0]): plain(3, 60, *dense.shape)})
    with open_stack([path, other]) as stack:
        mine, theirs = stack.deltas(stack.names[0])
    torch.testing.assert_close(mine.dense(), dense, rtol=1e-6, atol=1e-6)
    assert close(energy(mine), dense.square().sum().item())
    found, basis = pair(path, other).total, rows_of(dense)
    assert found.on_first == pytest.approx((theirs.dense() @ basis).square().sum().item(), rel=1e-6)
    assert found.inner == pytest.approx((theirs.dense() * dense).sum().item(), rel=1e-5)


def test_a_doras_magnitude_is_left_out_and_said_so(tmp_path, two):
    row = {**plain(4, 1), "dora_scale": random(OUT, 1).float()}
    dora = write(tmp_path / "dora.safetensors", {kohya(LAYERS[0]): row})
    bare = write(tmp_path / "bare.safetensors", {kohya(LAYERS[0]): plain(4, 1)})
    report = measure_conflict([StackEntry(path=dora), StackEntry(path=two[1])])
    assert close(report.pairs[0].total.kappa, pair(bare, two[1]).total.kappa)
    assert "dora is a DoRA in 1 layers" in report.notes[0] and report.files[0].dora == 1


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", NAMES)
def test_a_layer_is_the_same_whatever_a_file_calls_it(tmp_path, style):
    first = write(tmp_path / "a.safetensors", {NAMES["kohya, diffusers"]: plain()})
    up, down, alpha = plain().values()
    endings = {"lora_B.weight": up / 2, "lora_A.weight": down} if "_" not in style and style in ("peft", "diffusers") \
        else {"lora_up.weight": up, "lora_down.weight": down, "alpha": alpha}
    found = pair(first, write(tmp_path / "b.safetensors", {NAMES[style]: endings}))
    assert len(found.layers) == 1 and found.layers[0].name == f"denoiser.{LAYERS[0]}"
    assert close(found.total.kappa, 1) and close(found.total.cosine, 1)
    assert close(found.total.first, found.total.second)


@pytest.mark.parametrize("one, other", [
    ("lora_te_text_model_encoder_layers_0_mlp_fc1",
     "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1"),
    ("lora_te1_text_model_encoder_layers_0_mlp_fc1", "text_encoder.encoder.layers.0.mlp.fc1"),
    ("lora_te2_text_model_encoder_layers_0_mlp_fc1", "text_encoder_2.text_model.encoder.layers.0.mlp.fc1"),
    ("lora_unet_output_blocks_2_2_conv", "unet.up_blocks.0.upsamplers.0.conv"),
    ("lora_unet_input_blocks_5_0_in_layers_2", "unet.down_blocks.1.resnets.1.conv1"),
    ("diffusion_model.middle_block.1.proj_in", "unet.mid_block.attentions.0.proj_in"),
    ("diffusion_model.input_blocks.0.0", "unet.conv_in"),
    ("diffusion_model.time_embed.0", "unet.time_embedding.linear_1"),
    ("lora_unet_layers_3_attention_qkv", "diffusion_model.layers.3.attention.qkv"),
    ("lora_transformer_transformer_blocks_3_attn_to_q", "transformer.transformer_blocks.3.attn.to_q"),
    ("lora_unet_double_blocks_3_img_attn_proj", "transformer.transformer_blocks.3.attn.to_out.0"),
    ("lora_unet_double_blocks_3_txt_attn_proj", "transformer.transformer_blocks.3.attn.to_add_out"),
    ("lora_unet_double_blocks_3_img_mlp_0", "transformer.transformer_blocks.3.ff.net.0.proj"),
    ("lora_unet_double_blocks_3_txt_mlp_2", "transformer.transformer_blocks.3.ff_context.net.2"),
    ("lora_unet_double_blocks_3_img_mod_lin", "transformer.transformer_blocks.3.norm1.linear"),
    ("diffusion_model.single_blocks.3.linear2", "transformer.single_transformer_blocks.3.proj_out"),
    ("diffusion_model.joint_blocks.3.context_block.mlp.fc1", "transformer.transformer_blocks.3.ff_context.net.0.proj"),
    ("diffusion_model.joint_blocks.3.x_block.attn.proj", "transformer.transformer_blocks.3.attn.to_out.0"),
    ("lycoris_transformer_blocks_3_attn_to_out_0", "transformer.transformer_blocks.3.attn.to_out"),
])
def test_names_meet(one, other):
    first, second = (diffusers_names(layer_name(name), 2) for name in (one, other))
    assert [name.replace(".", "_") for name in first] == [name.replace(".", "_") for name in second]


def test_the_number_of_layers_in_a_level_is_told_by_the_blocks_that_are_there():
    assert layers_per_block(["input_blocks.4.1.proj_in", "input_blocks.8.1.proj_in"]) == 2
    assert layers_per_block(["input_blocks.3.1.proj_in", "input_blocks.5.1.proj_in"]) == 1
    assert layers_per_block(["middle_block.1.proj_in"]) == 2


@pytest.mark.parametrize("fused, apart", [
    ("double_blocks.7.img_attn.qkv", "transformer_blocks.7.attn.to_{}"),
    ("double_blocks.7.txt_attn.qkv", "transformer_blocks.7.attn.add_{}_proj"),
    ("joint_blocks.7.x_block.attn.qkv", "transformer_blocks.7.attn.to_{}"),
])
def test_a_fused_layer_meets_the_three_that_it_is_elsewhere(tmp_path, fused, apart):
    row = plain(4, 0, 3 * 8, 8)
    parts = {f"transformer.{apart.format(letter)}": {
        "lora_A.weight": row["lora_down.weight"].clone(),
        "lora_B.weight": row["lora_up.weight"][8 * at : 8 * at + 8] / 2} for at, letter in enumerate("qkv")}
    whole = write(tmp_path / "a.safetensors", {f"diffusion_model.{fused}": row})
    found = pair(whole, write(tmp_path / "b.safetensors", parts))
    assert len(found.layers) == 3 and all(layer.shared for layer in found.layers)
    assert close(found.total.kappa, 1) and close(found.total.cosine, 1)


def test_fluxs_single_blocks_meet_with_the_feed_forward_that_is_in_them(tmp_path):
    row = plain(4, 0, 7 * 8, 8)
    start, parts = 0, {}
    for name, rows in (("attn.to_q", 8), ("attn.to_k", 8), ("attn.to_v", 8), ("proj_mlp", 32)):
        parts[f"transformer.single_transformer_blocks.0.{name}"] = {
            "lora_A.weight": row["lora_down.weight"].clone(),
            "lora_B.weight": row["lora_up.weight"][start : start + rows] / 2}
        start += rows
    whole = write(tmp_path / "a.safetensors", {"lora_unet_single_blocks_0_linear1": row})
    found = pair(whole, write(tmp_path / "b.safetensors", parts))
    assert close(found.total.cosine, 1) and len(found.layers) == 4


def test_layers_are_grouped_by_the_blocks_of_the_network():
    assert block_of("denoiser.up_blocks.0.attentions.1.transformer_blocks.3.attn1.to_q") == "up_blocks.0.attentions.1"
    assert block_of("denoiser.transformer_blocks.7.attn.to_q") == "transformer_blocks.7"
    assert block_of("denoiser.double_blocks.7.img_attn.qkv") == "double_blocks.7"
    assert block_of("text_encoder_2.text_model.encoder.layers.3.mlp.fc1") == "text_encoder_2"
    assert block_of("denoiser.conv_in") == "conv_in"


# -- advice ------------------------------------------------------------------------------------------------------------


def overlapping(tmp_path, share, size=1.0):
    """Two LoRAs that listen to the same directions but for a share: (paths)."""
    left, right = random(4, IN, seed=1), random(4, IN, seed=2)
    left[:, IN // 2:], right[:, :IN // 2] = 0, 0
    up, other = random(OUT, 4, seed=3).float(), random(OUT, 4, seed=4).float()
    rows = ({"lora_up.weight": up, "lora_down.weight": left.float()},
            {"lora_up.weight": size * other, "lora_down.weight": (share * left + (1 - share) * right).float()})
    return [write(tmp_path / f"{name}.safetensors", {kohya(LAYERS[0]): row})
            for name, row in zip(("hero", "ink"), rows, strict=True)]


def test_loras_that_keep_apart_need_nothing(tmp_path):
    report = measure_conflict([StackEntry(path=path, strength=0.6) for path in overlapping(tmp_path, 0.0)])
    assert report.verdict == FINE and report.pairs[0].advice.most_second is None
    assert "nothing needs fixing" in report.text()


def test_loras_that_listen_to_the_same_cannot_be_mended_by_strengths(tmp_path):
    report = measure_conflict([StackEntry(path=path) for path in overlapping(tmp_path, 1.0, 3.0)])
    advice = report.pairs[0].advice
    assert report.verdict == MERGE and "Strengths cannot fix this" in report.text()
    assert "at least 50 %" in report.text() and "down_blocks.1.attentions.0 (100 %)" in report.text()
    found = report.pairs[0].total.at(*advice.balanced)
    assert close(found.second_over_first, 0.5) and max(advice.balanced) == 1


@pytest.mark.parametrize("size", [2.5, 0.02])
def test_where_strengths_mend_it_the_recommended_ones_keep_both_within_the_tolerance(tmp_path, size):
    report = measure_conflict([StackEntry(path=path) for path in overlapping(tmp_path, 0.3, size)])
    found = report.pairs[0].total
    assert report.verdict == STRENGTHS and found.kappa < 0.25
    assert max(found.at(1, 1).second_over_first, found.at(1, 1).first_over_second) > 0.2
    used = found.at(*report.recommended)
    assert max(used.second_over_first, used.first_over_second) <= 0.2 + 1e-9
    assert max(report.recommended) <= 1 and "Other strengths fix this" in report.text()


def test_recommended_strengths_are_together_little_larger_than_the_largest_alone(tmp_path):
    path = lora(tmp_path / "a.safetensors")
    twin = lora(tmp_path / "b.safetensors")
    a, b = measure_conflict([StackEntry(path=path, strength=0.8), StackEntry(path=twin, strength=0.8)]).recommended
    assert close(a, b) and close(a + b, 1.1 * 0.8)


def test_three_loras_are_measured_pair_by_pair_in_any_order(tmp_path):
    paths = [lora(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate("abc", 1)]
    there = measure_conflict([StackEntry(path=path) for path in paths])
    back = measure_conflict([StackEntry(path=path) for path in reversed(paths)])
    assert [pair.places for pair in there.pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.total.kappa for pair in there.pairs] == pytest.approx([
        pair.total.kappa for pair in reversed(back.pairs)])
    assert kappa_map(there).values[2][0] == there.pairs[1].total.kappa and kappa_map(there).values[1][1] is None


def entries(*strengths, roles=()):
    return [StackEntry(path=f"{name}.safetensors", strength=value, role=role) for name, value, role in zip(
        "abcdef", strengths, (*roles, *[""] * 6), strict=False)]


def test_the_guides_stacks_break_no_rule_of_theirs():
    for stack in ((0.8, 0.5), (0.8, 0.6), (0.7, 0.4), (0.8, 0.6, 0.4)):
        assert stack_advice(entries(*stack, roles=["character"])) == ()


@pytest.mark.parametrize("stack, word", [
    (entries(0.5, 0.4, 0.4, 0.2), "4 LoRAs at once"),
    (entries(0.8, 0.7, 0.6), "sum to 2.10"),
    (entries(0.6, 0.6, roles=["character"]), "b at 0.6 is not below the character a"),
    (entries(0.9, 0.4), "a at 0.9: in a stack, start at 0.7"),
])
def test_each_rule_of_the_guides_has_its_line(stack, word):
    (line,) = stack_advice(stack)
    assert word in line


def test_what_is_off_breaks_no_rule():
    assert stack_advice(entries(0.8, 0.5, 0, 0, 0)) == () and stack_advice(entries(0.9)) == ()


def test_the_role_is_read_from_the_file(tmp_path, two):
    hero = lora(tmp_path / "hero.safetensors", metadata={"lora_bootstrap.config": json.dumps({"kind": "character"})})
    report = measure_conflict([StackEntry(path=two[0], strength=0.8), StackEntry(path=hero, strength=0.6)])
    assert report.files[1].role == "character" and any("not below the character hero" in line for line in report.rules)


# -- tables and pictures -----------------------------------------------------------------------------------------------


def test_the_report_is_plain_json_without_nan(tmp_path, two):
    report = measure_conflict([StackEntry(path=path, strength=0.7) for path in two])
    told = json.loads(json.dumps(report_dict(report), allow_nan=False))
    assert told["pairs"][0]["total"]["kappa"] == report.pairs[0].total.kappa
    assert len(told["pairs"][0]["layers"]) == 3 and told["verdict"] == report.verdict


def test_the_table_has_a_row_for_each_block_and_shares_that_sum_to_one(tmp_path):
    layers = (*LAYERS, "mid_block.attentions.0.proj_in", "up_blocks.0.attentions.1.proj_in")
    found = pair(*(lora(tmp_path / f"{seed}.safetensors", seed, layers) for seed in (1, 200)))
    rows = table_rows(found)
    assert [row[0] for row in rows] == ["down_blocks.1.attentions.0", "mid_block.attentions.0",
                                        "up_blocks.0.attentions.1", "all layers"]
    assert rows[-1][1] == "5" and sum(block.share for block in found.blocks) == pytest.approx(1)
    assert all(len(row) == len(headers(found)) for row in rows) and "-0.00" not in sum(rows, [])
    heat = heat_map(found)
    assert heat.rows == tuple(row[0] for row in rows[:-1]) and heat.values[0][0] == found.blocks[0].overlap.kappa


def test_a_heat_map_is_hot_where_the_figure_is_high():
    image = heat_picture(HeatMap("t", ("a", "b"), ("x", "y"), ((1.0, 0.0), (None, -1.0)), ((0.0, 1.0), (-1.0, 1.0))))
    colours = {colour for _, colour in image.getcolors(1 << 20)}
    assert HOT in colours and (59, 111, 182) in colours and (247, 248, 250) in colours and (230, 232, 237) in colours


def test_pictures_grow_with_what_they_tell(tmp_path):
    paths = [lora(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate("abc", 1)]
    small, large = (measure_conflict([StackEntry(path=path) for path in some]) for some in (paths[:2], paths))
    assert conflict_picture(large).height > 2 * conflict_picture(small).height


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_cannot_be_measured_is_told_in_one_line(tmp_path, two, what):
    make, word = BAD[what]
    path = tmp_path / "bad.safetensors"
    make(path)
    with pytest.raises(UserError) as error:
        measure_conflict([StackEntry(path=two[0]), StackEntry(path=path)])
    assert word in str(error.value) and "bad.safetensors" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("strength", [50, -50, math.nan, math.inf, "0.7", None])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(UserError, match="must be a number from -10 to 10"):
        StackEntry(path="a.safetensors", strength=strength)


def test_the_same_file_twice_and_one_alone_are_refused(two):
    with pytest.raises(UserError, match="is listed twice"):
        measure_conflict([StackEntry(path=two[0]), StackEntry(path=two[0].parent / "." / two[0].name)])
    with pytest.raises(UserError, match="needs at least two LoRAs, and the stack has 1"):
        measure_conflict([StackEntry(path=two[0])])
    with pytest.raises(UserError, match="tolerance is 0.5"):
        measure_conflict([StackEntry(path=path) for path in two], tolerance=0.5)


def huge(path, tensors, gigabytes=200):
    """A file with a whole header whose last tensor is all holes: it takes no disk, and could not be read."""
    header, at, data = {}, 0, b""
    for key, tensor in tensors.items():
        raw = tensor.float().numpy().tobytes()
        header[key] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(raw)]}
        at, data = at + len(raw), data + raw
    size = gigabytes << 30
    header["zzz.weight"] = {"dtype": "F32", "shape": [size // 4], "data_offsets": [at, at + size]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    os.truncate(path, 8 + len(text) + at + size)
    return path


def test_of_a_huge_file_only_the_header_and_the_layers_are_read(tmp_path, two):
    with pytest.raises(UserError, match="contains no LoRA"):
        read_header(huge(tmp_path / "checkpoint.safetensors", {}))
    tensors = {f"{kohya(LAYERS[0])}.{ending}": tensor for ending, tensor in plain(4, 1).items()}
    path = huge(tmp_path / "large.safetensors", tensors)
    report = measure_conflict([StackEntry(path=path), StackEntry(path=two[0])])
    assert close(report.pairs[0].layers[0].overlap.cosine, 1) and report.files[0].ignored == 1


def test_zero_weights_are_told_and_harm_nothing(tmp_path, two):
    row = {**plain(), "lora_up.weight": torch.zeros(OUT, 4)}
    report = measure_conflict([StackEntry(path=two[0]), StackEntry(
        path=write(tmp_path / "zero.safetensors", {kohya(LAYERS[0]): row}))])
    assert report.verdict == FINE and report.pairs[0].total.kappa == 0
    assert any("zero changes nothing" in line for line in report.notes) and report.recommended == (1.0, 1.0)


def test_progress_counts_the_layers_and_may_cancel_and_threads_are_given_back(two):
    seen, threads = [], torch.get_num_threads()
    stack = [StackEntry(path=path) for path in two]
    measure_conflict(stack, progress=lambda done, count: seen.append((done, count)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def cancel(done, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_conflict(stack, progress=cancel)
    assert torch.get_num_threads() == threads
