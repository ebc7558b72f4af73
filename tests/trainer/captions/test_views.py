"""View prompts cover every angle, distance, expression, background and style, in the words of the base."""

from collections import Counter

import pytest

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.captions.earlier_views import earlier_roles, earlier_vocabulary
from lora_bootstrap.trainer.captions.roles import tag_roles
from lora_bootstrap.trainer.captions.views import (
    AXES,
    VOCABULARIES,
    apportion,
    mirrored,
    showcase,
    view_prompt,
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


BOORU = VOCABULARIES["booru"]
REAL = tag_roles(("1girl", "fox ears", "blonde hair", "ponytail", "glasses", "white dress", "front view", "smile",
                  "sunlight", "flat color"), BOORU)


def real_views(count=480, roles=REAL, **options):
    return view_prompts(count, roles, BOORU, trigger="zqx", seed=1000, **options)


def test_the_weights_of_the_booru_axes_are_kept_also_by_those_that_can_show_nothing():
    views = real_views(480)
    for axis, weights in BOORU.axes.items():
        if axis == "style":
            continue  # her own style takes half
        asked, total = Counter(view.view[axis] for view in views), sum(weights.values())
        assert all(abs(asked[tag] - 480 * weight / total) <= 1 for tag, weight in weights.items()), axis
    assert set(BOORU.axes) == set(AXES)


CONTRADICTIONS = (
    ("from behind", "smile"), ("from behind", "looking at viewer"), ("from behind", "glasses"),
    ("from behind", "holding phone"), ("from behind", "front view"), ("from side", "front view"),
    ("close-up", "white dress"), ("close-up", "hoodie"), ("close-up", "holding umbrella"), ("night sky", "sunlight"),
    ("white background", "sunlight"), ("from above", "night sky"), ("closed eyes", "looking at viewer"),
    ("facing left", "facing right"), ("facing left", "looking at viewer"), ("hoodie", "white dress"),
    ("school uniform", "white dress"), ("indoors", "holding umbrella"), ("full body", "close-up"))


def test_no_prompt_contradicts_itself():
    for view in real_views():
        for pair in CONTRADICTIONS:
            assert not set(pair) <= set(view.tags), (pair, view.text)
        for axis in ("angle", "framing", "expression", "background", "lighting", "style", "outfit", "object"):
            shown = {tag for tag in view.tags if tag in BOORU.axes[axis]} - {"from side"}
            assert len(shown) <= 1, (axis, view.text)


def test_another_outfit_leaves_her_glasses_on_and_a_closeup_leaves_her_ponytail():
    worn = [view.tags for view in real_views()
            if (view.view["outfit"], view.view["framing"]) == ("kimono", "full body")]
    assert worn and not any("white dress" in tags for tags in worn)
    assert any("glasses" in tags for tags in worn)
    assert all("ponytail" in view.tags for view in real_views() if view.view["framing"] == "close-up")


def test_what_she_wears_anyway_is_not_another_outfit():
    roles = tag_roles(("1girl", "hoodie", "black hair"), BOORU)
    assert not any(view.view["outfit"] == "hoodie" for view in real_views(96, roles))


def test_she_is_seen_from_both_sides_and_a_flipped_image_from_the_other():
    left = next(view for view in real_views() if view.view["angle"] == "facing left")
    assert left.tags[left.tags.index("facing left") - 1] == "from side"
    assert "facing right" in mirrored(left.tags) and "facing left" in mirrored(mirrored(left.tags))
    assert "seen from the side, facing left" in left.prompt("sentences", "zqx")


def test_the_light_of_the_original_stays_with_its_background():
    view = {"background": "beach", "lighting": "own"}
    assert "sunlight" not in view_prompt(view, REAL, BOORU).tags
    assert "sunlight" in view_prompt({"lighting": "own"}, REAL, BOORU).tags


def test_a_prompt_is_its_caption_with_brackets_that_are_no_weights():
    roles = tag_roles(("1girl", "+saber (fate)"), BOORU)
    (view, *_) = view_prompts(4, roles, BOORU, trigger="zqx")
    assert "saber (fate)" in view.caption("tags") and r"saber \(fate\)" in view.prompt("tags")
    assert "saber (fate)" in view.caption("sentences", "zqx") and r"saber \(fate\)" in view.prompt("sentences", "zqx")


def test_the_strength_grid_asks_for_no_axis_by_the_word_own():
    for view in showcase(8, REAL, BOORU, "zqx"):
        assert "own" not in view.tags and not {"fox ears", "white dress"} & set(view.tags)


def test_a_round_of_an_earlier_version_goes_on_with_its_prompts():
    """These are what that version made of these tags; they contradict themselves, but their images exist."""
    words = earlier_vocabulary(BOORU)
    roles = earlier_roles(("1girl", "fox ears", "ponytail", "white dress", "front view", "sunlight", "saber (fate)",
                           "full body", "smile"), words)
    assert [view.text for view in view_prompts(6, roles, words, trigger="zqx", seed=1000)][4:] == [
        "zqx, 1girl, fox ears, ponytail, white dress, front view, sunlight, saber (fate), from behind, full body, "
        "night sky, oil painting",
        "zqx, 1girl, fox ears, front view, sunlight, saber (fate), looking at viewer, close-up, expressionless, "
        "white background, lineart"]
