"""One table says what each kind of LoRA is; nothing else lists them."""

from dataclasses import replace

import pytest

from lora_bootstrap.trainer.captions.classes import ORDER
from lora_bootstrap.trainer.captions.coverage import PURPOSES as ASKED, coverage
from lora_bootstrap.trainer.captions.coverage_words import AXES
from lora_bootstrap.trainer.captions.kinds import KINDS, get_kind, name_lora, order_kinds
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import Dataset, Sample
from lora_bootstrap.trainer.models.families import FAMILIES, GENERIC_PRESETS
from lora_bootstrap.trainer.stacks.stack import MOST_TOTAL, StackEntry, stack_advice
from lora_bootstrap.trainer.sweeps.prompt_sets import SETS
from lora_bootstrap.trainer.sweeps.score import ScoreSettings
from lora_bootstrap.trainer.tagging.absorb import PURPOSES as ABSORBED, propose
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.presets import kind_preset

OLD = ("style", "character", "concept")
CAPTION = "1girl, fox ears, blonde hair, white dress, sitting, park, sunlight, watercolor (medium), masterpiece, teapot"


def test_every_row_names_what_there_is():
    for name, kind in KINDS.items():
        assert set(kind.absorbed + kind.deleted) <= set(ORDER), name
        assert set(kind.axes) <= set(AXES) and kind.prompt_set in SETS, name
        assert all(kind.preset in presets for presets in (GENERIC_PRESETS, *(f.presets for f in FAMILIES.values())))
        assert 0 < kind.least <= kind.most and 0 < kind.strength < 1, name


def test_whatever_asks_for_a_kind_takes_every_row_and_the_old_ones_first():
    assert tuple(KINDS)[:3] == OLD and len(KINDS) == 10
    assert ABSORBED == order_kinds("character", "style") and set(ABSORBED) == set(KINDS)
    assert list(ASKED)[:3] == ["character", "style", "bootstrap"]
    assert set(ASKED) == {*KINDS, "bootstrap", "regularisation"}
    for name in KINDS:
        assert TrainConfig(kind=name).kind == name == ScoreSettings(kind=name).kind
        assert coverage(["1girl"], name).count_advice == (
            f"1 image, but {name_lora(name)} needs {KINDS[name].least} to {KINDS[name].most}: "
            f"add {KINDS[name].least - 1}.")


def test_a_name_that_is_no_kind_gets_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'real person'"):
        get_kind("real_person")
    assert (name_lora("object"), name_lora("real person")) == ("an object LoRA", "a real person LoRA")


@pytest.mark.parametrize(("kind", "absorbed"), [
    ("character", {"fox ears", "blonde hair", "white dress"}), ("real person", {"fox ears", "blonde hair"}),
    ("clothing", {"white dress"}), ("pose", {"sitting"}), ("background", {"park"}), ("lighting", {"sunlight"}),
    ("style", {"watercolor (medium)"}), ("object", {"teapot"}), ("detail", {"masterpiece"})])
def test_each_kind_absorbs_its_own_words_and_no_others(tmp_path, kind, absorbed):
    plan = propose(Dataset((Sample(tmp_path / "a.png", (64, 64), CAPTION),)), kind)
    assert set(plan.absorbed) == absorbed
    assert plan.of("delete") == (() if kind == "detail" else ("masterpiece",))


def test_old_kinds_start_as_they_always_did_and_new_ones_from_the_same_presets():
    for family in FAMILIES.values():
        for name in OLD:
            own = family.presets[name]
            images = KINDS[name].images if own.images is None else own.images
            assert kind_preset(family, name) == replace(own, images=images)
    sdxl = FAMILIES["sdxl"]
    assert [kind_preset(sdxl, name).rank for name in ("real person", "object", "pose", "clothing", "lighting")] == [
        64, 16, 16, 32, 16]
    for name in KINDS:
        made = kind_preset(sdxl, name)
        assert made.alpha / made.rank == 0.5, "the rate means nothing without it"


def _entry(role, strength):
    return StackEntry(path=f"{role}.safetensors", role=role, strength=strength)


@pytest.mark.parametrize("others", [("style",), ("clothing",), ("pose",), ("detail",), ("style", "detail")])
@pytest.mark.parametrize("lead", ["character", "real person"])
def test_the_tables_own_strengths_break_no_rule_of_a_stack(lead, others):
    roles = (lead, *others)
    assert sum(KINDS[role].strength for role in roles) <= MOST_TOTAL
    assert stack_advice([_entry(role, KINDS[role].strength) for role in roles]) == ()


def test_a_strength_that_is_high_in_a_stack_is_told_where_its_kind_starts():
    (line,) = stack_advice([_entry("character", 0.9), _entry("pose", 0.85)])
    assert "start at 0.8 for a character LoRA and 0.5 for a pose LoRA" in line
    (line,) = stack_advice([_entry("real person", 0.5), _entry("clothing", 0.6)])
    assert "The real person should be the strongest." in line


def test_a_single_lora_above_nine_tenths_gets_a_word():
    assert stack_advice([_entry("style", 0.9)]) == () == stack_advice([_entry("style", 1.0), _entry("pose", 0.0)])[1:]
    (line,) = stack_advice([_entry("style", 1.0)])
    assert line.startswith("style at 1: a LoRA usually works best at 0.7 to 0.8.") and "Strength Grid" in line


@pytest.mark.parametrize(("kind", "count", "words"), [
    ("character", 25, ""), ("character", 40, "most guides ask for 15 to 25 for a character LoRA, the one on "
                                             "high-fidelity characters for 150 to 200"),
    ("real person", 160, "160 images, as many as the guide on high-fidelity characters asks for (150 to 200)"),
    ("real person", 240, "more than the guides ask for"), ("clothing", 50, ""),
    ("clothing", 51, "51 images; most guides ask for 15 to 50 for a clothing LoRA.")])
def test_where_guides_differ_the_advice_says_which_asks_for_what(kind, count, words):
    advice = coverage(["1girl"] * count, kind).count_advice
    assert words in advice if words else advice == ""
