"""View prompts cover every angle, distance, expression, background and style, in the words of the base."""

from collections import Counter

import pytest

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.captions.roles import tag_roles
from lora_bootstrap.trainer.captions.views import (
    AXES,
    VOCABULARIES,
    apportion,
    view_prompts,
    vocabulary_for,
)

TAGS = ("1girl", "red hair", "green eyes", "fox_tail", "white dress", "front view", "smile", "flat color")
SANDBOX = VOCABULARIES["sandbox"]
ROLES = tag_roles(TAGS, SANDBOX)


def test_tags_are_sorted_into_subject_identity_and_view():
    assert ROLES.subject == ("1girl",)
    assert ROLES.identity == ("red hair", "green eyes", "fox_tail", "white dress")
    assert ROLES.view == ("front view", "smile", "flat color")


def test_a_tag_no_table_knows_is_a_trait():
    assert tag_roles(("1girl", "brass goggles"), SANDBOX).identity == ("brass goggles",)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_every_word_of_every_axis_is_asked_for_in_48_views(name):
    views = view_prompts(48, tag_roles(TAGS, VOCABULARIES[name]), VOCABULARIES[name])
    for axis in VOCABULARIES[name].axes:
        assert {view.view[axis] for view in views} == set(VOCABULARIES[name].axes[axis])


def test_the_sandbox_vocabulary_is_the_worlds_own():
    assert [axis for axis in AXES if axis in SANDBOX.axes] == list(SANDBOX.axes)
    for axis in SANDBOX.axes:
        assert set(SANDBOX.axes[axis]) == set(world.ATTRIBUTES[axis])


def test_the_trigger_leads_and_the_identity_stands_before_the_view():
    for view in view_prompts(20, ROLES, SANDBOX, trigger="zqx"):
        assert view.tags[:3] == ("zqx", "1girl", "red hair")
        first_view_tag = min(view.tags.index(tag) for tag in view.view.values() if tag in view.tags)
        assert first_view_tag > view.tags.index("red hair")


def test_a_prompt_names_only_what_its_view_can_show():
    for view in view_prompts(60, ROLES, SANDBOX):
        assert ("green eyes" in view.tags) == (view.view["angle"] != "from behind")
        assert ("fox_tail" in view.tags) == (view.view["framing"] != "close-up")
        scene = world.Scene(world.HELD_OUT["akane"], **view.view)
        named = {tag.replace("_", " ") for tag in view.tags}
        for axis in ("eyes", "tail", "outfit", "expression"):
            assert any(tag in named for tag in world.ATTRIBUTES[axis]) == world.visible(scene, axis)


def test_the_users_own_style_takes_half_and_three_others_the_rest():
    styles = Counter(view.view["style"] for view in view_prompts(40, ROLES, SANDBOX))
    assert styles["flat color"] == 20
    assert len(styles) >= 4


def test_views_repeat_with_their_seed_and_differ_with_another():
    assert view_prompts(30, ROLES, SANDBOX, seed=1) == view_prompts(30, ROLES, SANDBOX, seed=1)
    assert view_prompts(30, ROLES, SANDBOX, seed=1) != view_prompts(30, ROLES, SANDBOX, seed=2)


def test_shares_follow_the_weights_and_add_up():
    assert Counter(apportion({"a": 2, "b": 1, "c": 1}, 10)) == {"a": 5, "b": 3, "c": 2}
    assert len(apportion({"a": 1, "b": 1, "c": 1}, 7)) == 7


def test_only_the_sandbox_speaks_the_sandbox_vocabulary():
    assert vocabulary_for("sandbox") is SANDBOX
    assert vocabulary_for("/models/some.safetensors") is VOCABULARIES["booru"]
