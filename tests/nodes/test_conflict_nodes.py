"""ConflictReport, MergeLoras and TimeSplit: what a stack becomes, what is kept, Cancel, and mistakes."""

import json
import math

import pytest
import torch
from comfy.model_management import InterruptProcessingException
from PIL import Image
from safetensors.torch import save_file

from lora_bootstrap.host.stacks import stack_entries
from lora_bootstrap.nodes.conflict import ConflictReportNode
from lora_bootstrap.nodes.merge import MergeLoras
from lora_bootstrap.nodes.time_split import KEYFRAMES, PRESETS, Curve, TimeSplit
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.lora.file import load_lora

LAYERS = tuple(f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_{x}" for x in "qkv")
RANK, SIZE = 4, 24
MERGE = {"method": "sum", "preset": "balanced", "rank": 0, "density": 0.6, "mu": 0.5, "name": "both",
         "dtype": "float32"}
SPLIT = {"preset": "character first", "character_start": 1.0, "character_end": 1.0, "style_start": 1.0,
         "style_end": 1.0, "until": 0.5, "schedule_clip": False}


def lora(host, name, seed, kind="", alike=0.0):
    """A LoRA file below output/loras; `alike` mixes in directions that all listen to."""
    def random(*shape, seed):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    tensors = {}
    for index, layer in enumerate(LAYERS):
        down = random(RANK, SIZE, seed=seed + index) + alike * random(RANK, SIZE, seed=1000)
        tensors |= {f"{layer}.lora_down.weight": down, f"{layer}.alpha": torch.tensor(float(RANK)),
                    f"{layer}.lora_up.weight": random(SIZE, RANK, seed=seed + 50 + index)}
    path = host.output / "loras" / f"{name}.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path, {"lora_bootstrap.config": json.dumps({"kind": kind})} if kind else None)
    return path


@pytest.fixture
def stack(host):
    lora(host, "hero", 1, alike=3)
    lora(host, "ink", 200, alike=3)
    return [("hero.safetensors", 1.0, 0.5), ("ink.safetensors", 0.8, 0.8)]


def report(stack, tolerance=0.2):
    return ConflictReportNode.execute(stack, tolerance).args


def merge(stack, **inputs):
    return MergeLoras.execute(stack, **{**MERGE, **inputs}).args


def split(stack, clip="clip", **inputs):
    return TimeSplit.execute(clip, stack, **{**SPLIT, **inputs}).args


def matrices(path):
    return {key: row.up.double() @ row.down.double() * row.alpha / row.rank
            for key, row in load_lora(path).modules.items()}


# -- conflict report ---------------------------------------------------------------------------------------------------


def test_a_report_is_words_tables_a_heat_map_and_a_verdict(stack, host):
    text, tables, heat, recommended, verdict = report(stack)
    assert verdict == "merge" and "Strengths cannot fix this" in text and "hero and ink respond to the same" in text
    assert len(tables) == 1 and tables[0].ndim == heat.ndim == 4 and tables[0].shape != heat.shape
    assert host.server.texts[-1][0].startswith("hero and ink") and host.server.texts[-1][1] == "7"
    assert host.bars[-1].updates[-1][:2] == (len(LAYERS), len(LAYERS))
    assert [name for name, _, _ in recommended] == ["hero.safetensors", "ink.safetensors"]


def test_recommended_strengths_lower_the_text_encoders_alike(stack):
    text, *_, recommended, _ = report(stack)
    (_, hero, hero_clip), (_, ink, ink_clip) = recommended
    assert 0 < hero <= 1 and 0 < ink <= 0.8 and hero + ink < 1.8
    assert hero_clip == pytest.approx(0.5 * hero) and ink_clip == pytest.approx(ink)
    assert f"hero {hero:.2f}, ink {ink:.2f}" in text


def test_a_loras_strength_of_zero_stays_zero(stack):
    off = [stack[0], ("ink.safetensors", 0.0, 0.3)]
    *_, recommended, verdict = report(off)
    assert recommended[1] == ("ink.safetensors", 0.0, 0.3) and verdict == "fine"


def test_a_wide_tolerance_makes_strengths_enough(stack):
    assert report(stack, 0.49)[-1] in ("fine", "strengths") and report(stack, 0.01)[-1] == "merge"


def test_the_report_is_kept_as_json_and_as_a_picture(stack, host):
    text, *_, verdict = report(stack)
    told = json.loads((host.output / "conflicts" / "hero+ink.json").read_text())
    assert told["verdict"] == verdict and told["lines"] == text.splitlines()
    assert Image.open(host.output / "conflicts" / "hero+ink.png").width > 600


def test_three_loras_are_three_tables(stack, host):
    lora(host, "pose", 400)
    assert len(report([*stack, ("None", 1.0, 1.0), ("pose.safetensors", 0.5, 0.5)])[1]) == 3, "a free place is none"


def test_files_of_one_name_are_told_apart_by_their_folders(host):
    lora(host, "a/final", 1)
    lora(host, "b/final", 200)
    stack = [("a/final.safetensors", 1.0, 1.0), ("b/final.safetensors", 1.0, 1.0)]
    assert [entry.name for entry in stack_entries(stack)] == ["a/final", "b/final"]
    report(stack)
    assert (host.output / "conflicts" / "a_final+b_final.json").is_file()


def test_cancel_ends_a_report_at_the_next_layer_and_leaves_nothing(stack, host):
    host.management.interrupted = True
    with pytest.raises(InterruptProcessingException):
        report(stack)
    assert not (host.output / "conflicts").exists()


@pytest.mark.parametrize("node", [report, merge, split])
def test_too_few_loras_or_one_that_is_gone_are_told(stack, node):
    with pytest.raises(UserError, match="stack has (1|none)"):
        node(stack[: node is not split])
    with pytest.raises(UserError, match="there is no LoRA 'gone.safetensors'"):
        node([*stack, ("gone.safetensors", 1.0, 1.0)])


# -- merge -------------------------------------------------------------------------------------------------------------


def test_a_merge_is_one_file_that_stands_alone_in_the_stack(stack, host):
    merged, path, text = merge(stack)
    assert merged == [("merged/both.safetensors", 1.0, 1.0)]
    assert path == str(host.output / "loras" / "merged" / "both.safetensors") and "Saved as merged/both" in text
    hero, ink, both = map(matrices, (host.output / "loras" / "hero.safetensors",
                                     host.output / "loras" / "ink.safetensors", path))
    for layer, matrix in both.items():
        torch.testing.assert_close(matrix, hero[layer] + 0.8 * ink[layer], rtol=1e-5, atol=1e-5)


def test_a_merged_file_says_what_it_was_made_of(stack):
    parents = json.loads(load_lora(merge(stack)[1]).metadata["lora_bootstrap.lineage"])["merge"]["parents"]
    assert [(one["name"], one["strength"], one["clip_strength"]) for one in parents] == [
        ("hero", 1.0, 0.5), ("ink", 0.8, 0.8)]
    assert all(len(one["sha256"]) == 64 for one in parents)


def test_an_identical_merge_is_reused_and_tells_the_same(stack, host):
    _, path, first = merge(stack, method="null_space")
    before = (host.output / "loras" / "merged" / "both.safetensors").stat().st_mtime_ns
    host.bars.clear()
    _, again, second = merge(stack, method="null_space", density=0.3)
    assert again == path and (host.output / "loras" / "merged" / "both.safetensors").stat().st_mtime_ns == before
    assert "already exists" in second and host.bars == [], "density is none of null_space's settings"
    assert second.splitlines()[:-1] == first.splitlines()[:-1]


def test_another_content_under_the_name_gets_a_number(stack, host):
    names = [merge(stack)[0][0][0]]
    names.append(merge([stack[0], ("ink.safetensors", 0.7, 0.8)])[0][0][0])
    names.append(merge(stack, method="even")[0][0][0])
    lora(host, "ink", 300)  # trained again
    names.append(merge(stack)[0][0][0])
    assert names == [f"merged/both{number}.safetensors" for number in ("", "-2", "-3", "-4")]
    assert merge(stack, method="even", name="both.safetensors")[0][0][0] == "merged/both-5.safetensors", "another ink"


def test_a_foreign_or_broken_file_of_that_name_is_left_alone(stack, host):
    taken = lora(host, "merged/both", 7)
    before = taken.read_bytes()
    (taken.parent / "both-2.safetensors").write_bytes(b"broken")
    assert merge(stack)[0] == [("merged/both-3.safetensors", 1.0, 1.0)]
    assert taken.read_bytes() == before and (taken.parent / "both-2.safetensors").read_bytes() == b"broken"


def test_without_a_name_it_has_those_of_its_parents_and_may_be_merged_again(stack):
    merged = merge(stack, name="")[0]
    assert merged[0][0] == "merged/hero+ink.safetensors"
    assert merge([*merged, stack[1]], name="hero+ink")[0][0][0] == "merged/hero+ink-2.safetensors"


def test_cancel_leaves_no_file(stack, host):
    host.management.interrupted = True
    with pytest.raises(InterruptProcessingException):
        merge(stack)
    assert not (host.output / "loras" / "merged").exists()


def test_a_merged_file_that_is_gone_is_noticed(stack, host):
    path = host.output / "loras" / "merged" / "both.safetensors"
    before = MergeLoras.fingerprint_inputs(method="sum")
    merge(stack)
    assert MergeLoras.fingerprint_inputs(method="sum") == before
    path.unlink()
    assert MergeLoras.fingerprint_inputs(method="sum") != before
    assert merge(stack)[1] == str(path) and path.is_file()


def test_a_rank_compresses_and_says_what_is_lost(stack):
    _, path, text = merge(stack, rank=3)
    assert {row.rank for row in load_lora(path).modules.values()} == {3}
    assert "Compressed to rank 3: the error is" in text


CHECKED = {name: MERGE[name] for name in ("method", "rank", "name")}


@pytest.mark.parametrize(("inputs", "words"), [
    ({"method": "ties"}, "needs a rank"), ({"name": "../away"}, "cannot be a folder's"), ({"name": "a/b"}, "cannot be"),
    ({"method": "median"}, "median"), ({"method": "median", "rank": None}, "median")])
def test_a_mistake_of_a_widget_is_a_red_node(inputs, words):
    assert words in MergeLoras.validate_inputs(**{**CHECKED, **inputs})


@pytest.mark.parametrize("inputs", [{}, {"name": ""}, {"method": None, "name": None}, {"method": "ties", "rank": 8}])
def test_what_is_right_or_not_known_yet_is_no_red_node(inputs):
    assert MergeLoras.validate_inputs(**{**CHECKED, **inputs}) is True


# -- time split --------------------------------------------------------------------------------------------------------


def hooks_of(clip):
    return {name: (model, text, keyframes) for name, model, text, keyframes in clip[3]}


def test_the_character_is_early_and_the_style_late(stack):
    clip, curve = split(stack)
    assert clip[:3] == ("clip", True, False) and curve.shape == (1, 432, 768, 3)
    hooks = hooks_of(clip)
    assert hooks["hero.safetensors"][:2] == (1.0, 0.5) and hooks["ink.safetensors"][:2] == (0.8, 0.8)
    (hero, ink) = (hooks[f"{name}.safetensors"][2] for name in ("hero", "ink"))
    assert hero[0] == (0.0, 1.0) and hero[-1] == (0.5, pytest.approx(0.7)) and len(hero) == KEYFRAMES + 1
    assert ink[0] == (0.0, 0.4) and ink[-1] == (0.5, pytest.approx(1.0))


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_drawn_is_what_the_hosts_nodes_make(stack, preset):
    hooks = hooks_of(split(stack, preset=preset)[0])
    for curve, name in zip(PRESETS[preset], hooks, strict=True):
        given = dict(hooks[name][2])
        assert sorted(given.items()) == [(pytest.approx(share, abs=1e-6), pytest.approx(factor, abs=1e-6))
                                         for share, factor in curve.stairs]


def test_a_cross_fade_waits_until_it_begins():
    assert Curve(1.0, 0.3, 0.6, 0.4).stairs[:2] == [(0.0, 1.0), (0.4, 1.0)]
    assert Curve(1.0, 1.0).stairs == [(0.0, 1.0)]


def test_a_lora_alone_is_weak_early_and_strong_late(stack, host):
    (name, *_), clip = stack[0], split([("hero.safetensors", 0.6, 0.6)], preset="weak early, strong late")[0]
    assert hooks_of(clip)[name] == (0.6, 0.6, ((0.0, 0.7), (0.4, 2.3)))
    assert host.server.texts[-1][0] == "LoRA hero: 0.42, from 40 % of the steps 1.38"


def test_a_strength_that_is_no_number_is_refused(stack):
    """The host lets NaN pass as a value of a widget."""
    with pytest.raises(UserError, match="start of a curve is nan; it must be a number, such as 0.7"):
        split(stack, preset="custom", character_start=math.nan)


def test_custom_strengths_that_do_not_change_are_one_keyframe(stack, host):
    hooks = hooks_of(split(stack, preset="custom", style_start=0.2, style_end=0.9, until=0.8)[0])
    assert hooks["hero.safetensors"][2] == ((0.0, 1.0),)
    assert hooks["ink.safetensors"][2][0] == (0.0, 0.2) and hooks["ink.safetensors"][2][-1][0] == pytest.approx(0.8)
    told = host.server.texts[-1][0]
    assert "hero: 1.00 throughout" in told and "ink: 0.16 to 0.72 from 0 to 80 % of the steps" in told


def test_who_is_the_character_is_read_from_the_files(host):
    lora(host, "ink", 1, kind="style")
    lora(host, "pose", 2)
    lora(host, "hero", 3, kind="character")
    names = ("pose", "ink", "hero")
    hooks = hooks_of(split([(f"{name}.safetensors", 1.0, 1.0) for name in names])[0])
    assert [hooks[f"{name}.safetensors"][2][:1] for name in names] == [(), ((0.0, 0.4),), ((0.0, 1.0),)]


def test_a_marked_style_in_front_is_not_taken_for_the_character(host):
    lora(host, "ink", 1, kind="style")
    lora(host, "hero", 2)
    hooks = hooks_of(split([("ink.safetensors", 1.0, 1.0), ("hero.safetensors", 1.0, 1.0)])[0])
    assert hooks["hero.safetensors"][2][0] == (0.0, 1.0) and hooks["ink.safetensors"][2][0] == (0.0, 0.4)


def test_a_lora_is_not_split_from_itself(stack):
    with pytest.raises(UserError, match="hero is both the character and the style"):
        split([stack[0], stack[0]])


def test_the_curve_is_drawn_as_high_as_the_strengths_are(stack):
    rows = {}
    for strength in (0.5, 1.0):
        picture = split([("hero.safetensors", strength, 1.0), ("ink.safetensors", 0.0, 0.0)], preset="custom")[1][0]
        blue = (picture[..., 2] - picture[..., 0] > 0.3)[44:, 70:740]
        rows[strength] = blue.any(1).nonzero().float().mean().item()
    assert rows[0.5] - rows[1.0] == pytest.approx(166, abs=2), "half of the height that is 1"
