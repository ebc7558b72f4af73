"""What a trigger is to absorb: the proposal, its editing, and what it does to captions."""

import random

import pytest

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.captions.roles import tag_roles
from lora_bootstrap.trainer.captions.tags import absorb, join_tags, split_tags
from lora_bootstrap.trainer.captions.views import vocabulary_for
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import Dataset, Sample
from lora_bootstrap.trainer.tagging.absorb import AbsorbPlan, apply_plan, load_plan, propose


def dataset_of(*captions):
    return Dataset(tuple(Sample(f"/data/{number}.png", (64, 64), caption) for number, caption in enumerate(captions)))


CAPTIONS = dataset_of(
    "eiei, 1girl, fox ears, Red_Hair, smile, white dress, front view, sitting, best quality",
    "eiei, 1girl, fox ears, red hair, smile, white dress, front view, sitting",
    "eiei, 1girl, fox ears, red hair, smile, hat, front view, sitting, night sky",
    "eiei, 1girl, fox ears, red hair, smile, white dress, green eyes, front view, sitting, night sky")


def actions(plan):
    return {decision.tag: decision.action for decision in plan.decisions}


def test_a_characters_lasting_traits_are_absorbed_and_never_pose_expression_or_background():
    plan = propose(CAPTIONS, "character", trigger="eiei")
    assert actions(plan) == {
        "fox ears": "absorb", "red hair": "absorb", "white dress": "absorb", "best quality": "delete",
        "1girl": "keep", "green eyes": "keep", "hat": "keep", "sitting": "keep", "front view": "keep", "smile": "keep",
        "night sky": "keep"}
    assert plan.absorbed == ("fox ears", "red hair", "white dress")
    white = next(one for one in plan.decisions if one.tag == "white dress")
    assert (white.count, white.could, white.share) == (3, 4, 0.75) and white.tag_class == "outfit"


def test_the_share_that_is_asked_for_decides():
    assert propose(CAPTIONS, least_share=0.8, trigger="eiei").absorbed == ("fox ears", "red hair")
    assert "green eyes" in propose(CAPTIONS, least_share=0.25).absorbed


def test_a_tag_is_counted_against_the_views_that_can_show_it():
    seen, unseen = "1girl, green eyes, front view", "1girl, from behind"
    plan = propose(dataset_of(seen, seen, unseen, unseen, unseen))
    eyes = next(one for one in plan.decisions if one.tag == "green eyes")
    assert (eyes.count, eyes.could, eyes.action) == (2, 2, "absorb")


def test_for_a_style_every_word_for_styles_goes_however_rare():
    plan = propose(dataset_of("1girl, flat color, red hair", "1girl, red hair, pixel art, watermark"), "style")
    assert plan.absorbed == ("flat color", "pixel art") and plan.of("delete") == ("watermark",)


def test_a_sandbox_characters_own_tags_are_what_is_proposed():
    """The proposal finds what a bootstrap takes as identity from the user's own tags (`views.tag_roles`)."""
    rng, akane = random.Random(3), world.HELD_OUT["akane"]
    captions = [join_tags(world.caption_tags(world.sample_scene(rng, akane))) for _ in range(24)]
    plan = propose(dataset_of(*captions))
    roles = tag_roles(world.caption_tags(world.Scene(akane)), vocabulary_for("sandbox"))
    assert set(plan.absorbed) == set(roles.identity) == set(akane.identity)


def test_a_plan_is_applied_exactly_as_a_bootstrap_absorbs_and_the_diff_shows_it():
    plan = propose(CAPTIONS, trigger="eiei")
    after, diff = apply_plan(CAPTIONS, plan)
    assert after.samples[0].caption == "eiei, 1girl, smile, front view, sitting"
    gone = plan.absorbed + plan.of("delete")
    assert [s.caption for s in after] == [join_tags(absorb(split_tags(s.caption), gone)) for s in CAPTIONS]
    assert len(diff) == 4 and diff.counts()[1] == {"fox ears": 4, "red hair": 4, "white dress": 3, "best quality": 1}


def test_captions_that_become_empty_are_told():
    _, diff = apply_plan(dataset_of("red hair", "red hair, 1girl"), propose(dataset_of("red hair", "red hair, 1girl")))
    assert diff.notes == ("1 captions are now empty; add the trigger, or keep a tag.",)


def test_the_proposal_is_edited_as_text(tmp_path):
    plan = propose(CAPTIONS, trigger="eiei")
    assert "absorb  fox ears      # identity, 4 of 4: in 100% of the images that can show it" in plan.text()
    assert plan.edit(plan.text()) == plan
    changed = plan.edit("# my wishes\nkeep white_dress\n\ndelete hat # why not\n")
    assert actions(changed)["white dress"] == "keep" and actions(changed)["hat"] == "delete"
    assert changed.absorbed == ("fox ears", "red hair")
    changed.save(tmp_path / "plan.txt")
    assert actions(load_plan(tmp_path / "plan.txt", plan)) == actions(changed)


def test_the_proposal_is_saved_and_read_as_json(tmp_path):
    plan = propose(CAPTIONS, trigger="eiei").change({"hat": "absorb"})
    assert AbsorbPlan.from_dict(plan.to_dict()) == plan
    plan.save(tmp_path / "plan.json")
    fresh = propose(dataset_of("1girl, hat", "1girl, cape"))
    assert actions(load_plan(tmp_path / "plan.json", fresh)) == {"1girl": "keep", "hat": "absorb", "cape": "keep"}


@pytest.mark.parametrize(("edit", "words"), [
    (lambda plan: plan.edit("keep hat\nabsorbb hat"), "line 2 is 'absorbb hat'; it must be keep, absorb, delete"),
    (lambda plan: plan.edit("keep"), "line 1 is 'keep'"),
    (lambda plan: plan.edit("keep hatt"), "Did you mean 'hat'"),
    (lambda plan: plan.change({"hat": "drop"}), "unknown action for 'hat' 'drop'"),
    (lambda plan: AbsorbPlan.from_dict([]), "not an absorb plan"),
    (lambda plan: AbsorbPlan.from_dict({"purpose": "style", "decisions": [{"tag": "a"}]}), "not an absorb plan"),
    (lambda plan: AbsorbPlan.from_dict({"purpose": "x", "decisions": [{"tag": "a", "action": "b"}]}), "unknown action"),
    (lambda plan: load_plan("/nowhere/plan.txt", plan), "cannot read"),
    (lambda plan: propose(CAPTIONS, "charcter"), "Did you mean 'character'"),
    (lambda plan: propose(CAPTIONS, least_share=0), "least_share is 0"),
])
def test_a_wrong_edit_is_told_in_one_line(edit, words):
    with pytest.raises(UserError, match=words) as caught:
        edit(propose(CAPTIONS, trigger="eiei"))
    assert "\n" not in str(caught.value)
