"""The table of views a user writes, and what a dataset lacks."""

import pytest

from lora_bootstrap.trainer.bootstrap.planning.view_table import count_views, parse_table, steer_axes, table_text
from lora_bootstrap.trainer.captions.roles import tag_roles
from lora_bootstrap.trainer.captions.views import AXES, VOCABULARIES, view_prompts
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.views.wordings import EDIT_WORDINGS

SANDBOX = VOCABULARIES["sandbox"]
TAGS = ("1girl", "red hair", "white dress", "front view", "full body", "smile", "white background", "flat color")
ROLES = tag_roles(TAGS, SANDBOX)


def test_an_empty_table_is_the_vocabularys_own():
    assert parse_table("  \n", SANDBOX) == {axis: dict(tags) for axis, tags in SANDBOX.axes.items()}


def test_a_table_is_read_as_it_is_written():
    for vocabulary in VOCABULARIES.values():
        assert parse_table(table_text(vocabulary.axes), vocabulary) == parse_table("", vocabulary)


def test_a_line_gives_its_axis_weights_and_an_empty_one_leaves_it_out():
    axes = parse_table("View: From_Side 2, from behind\nexpression:\nstyle: pixel art 0.5", SANDBOX)
    assert axes["angle"] == {"from side": 2, "from behind": 1} and axes["style"] == {"pixel art": 0.5}
    assert "expression" not in axes and list(axes) == [axis for axis in AXES if axis in axes]


@pytest.mark.parametrize(("text", "says"), [
    ("from side", "cannot be read; write it as"), ("mood: happy", "mood"), ("angle: from side 0", "must be above 0"),
    ("angle: from side 1,5", "'5' among the views is not a tag; decimals of weights have a point"),
    ("\n".join(f"{axis}:" for axis in AXES), "contain no tags")])
def test_what_cannot_be_read_is_told(text, says):
    with pytest.raises(UserError, match=says):
        parse_table(text, SANDBOX)


def test_another_outfit_takes_the_place_of_her_own():
    axes = parse_table("outfit: own, school uniform\nangle: front view\nframing: full body", SANDBOX)
    views = view_prompts(10, ROLES, SANDBOX, axes=axes)
    worn = [("white dress" in view.tags, "school uniform" in view.tags) for view in views]
    assert sorted(worn) == [(False, True)] * 5 + [(True, False)] * 5


def test_own_on_an_axis_is_what_the_picture_shows():
    (view,) = view_prompts(1, ROLES, SANDBOX, axes=parse_table("expression: own\nangle: from side", SANDBOX))
    assert "smile" in view.tags and "own" not in view.tags and view.view["expression"] == "own"


def test_what_there_is_enough_of_is_asked_for_seldom_and_what_is_missing_more():
    captions = [", ".join(TAGS)] * 4
    axes, notes = steer_axes(SANDBOX.axes, captions, 16)
    views = view_prompts(48, ROLES, SANDBOX, axes=axes)
    plain = view_prompts(48, ROLES, SANDBOX)

    def count(prompts, tag):
        return sum(tag in view.view.values() for view in prompts)

    assert 0 < count(views, "front view") < count(plain, "front view") / 2
    assert count(views, "from behind") > count(plain, "from behind")
    assert any(note.startswith("white background: 4 already there") for note in notes)
    assert any(note.startswith("from behind: none yet") for note in notes)


def test_a_caption_counts_for_the_word_that_says_most_and_is_shared_by_words_with_the_same_tags():
    def notes(wording, axis, caption):
        words = EDIT_WORDINGS[wording].vocabulary(VOCABULARIES["booru"])
        return [note.split(",")[0] for note in steer_axes({axis: words.axes[axis]}, [caption] * 8, 12, words.said)[1]
                if "already" in note]

    assert notes("edit instruction", "angle", "three-quarter view, facing left") == [
        "three-quarter left: 8 already there"]
    assert notes("edit instruction", "angle", "from behind, facing left") == ["back quarter left: 8 already there"]
    assert notes("camera angles", "height", "from above") == [
        "slightly from above: 4 already there", "from above: 4 already there"]


def test_the_guides_shares_are_met_where_the_table_asks_for_less():
    axes, _ = steer_axes({"angle": {"front view": 9, "from behind": 0.1}}, ["front view"] * 10, 20)
    assert axes["angle"]["from behind"] > 1.5  # a tenth of 20, as the guides want


def test_asked_for_tells_how_often_in_the_tables_own_form():
    text = count_views([{"angle": "from side", "style": "dark"}, {"angle": "from side", "style": "pastel"}])
    assert text == "angle: from side 2\nstyle: dark 1, pastel 1"
    assert parse_table(text, SANDBOX)["angle"] == {"from side": 2}
