"""Other words for a view, and what no one image can show."""

import pytest

from lora_bootstrap.trainer.captions.axes import axis_of, find_contradictions, usual_view
from lora_bootstrap.trainer.captions.coverage import kinds_in
from lora_bootstrap.trainer.captions.roles import tag_roles
from lora_bootstrap.trainer.captions.views import VOCABULARIES, view_prompts


@pytest.mark.parametrize(("tag", "usual", "axis"), [
    ("straight-on", "front view", "angle"), ("Facing_Viewer", "front view", "angle"),
    ("rear view", "from behind", "angle"), ("profile", "from side", "angle"),
    ("3/4 view", "three-quarter view", "angle"), ("high angle", "from above", "angle"),
    ("from left", "facing left", "angle"), ("portrait", "close-up", "framing"), ("headshot", "close-up", "framing"),
    ("close up", "close-up", "framing"), ("american shot", "cowboy shot", "framing"),
    ("half-body", "upper body", "framing"), ("wide shot", "full body", "framing"), ("dutch angle", None, "angle"),
    ("grin", None, "expression"), ("park", None, "background"), ("sunlight", None, "lighting"),
    ("sketch", None, "style"), ("cup", None, "object"), ("standing", None, "pose"), ("navel", None, None),
    ("fox ears", None, None), ("glorbo", None, None)])
def test_a_view_has_many_names_and_one_axis(tag, usual, axis):
    assert usual_view(tag) == usual and axis_of(tag) == axis


@pytest.mark.parametrize(("tags", "pairs"), [
    (["front view", "from behind"], 1), (["straight-on", "profile"], 1), (["portrait", "full body"], 1),
    (["from left", "facing right"], 1), (["smile", "frown"], 1), (["closed eyes", "looking at viewer"], 1),
    (["closed mouth", ":d"], 1), (["white background", "beach"], 1), (["indoors", "city street"], 1),
    (["day", "starry sky"], 1), (["from behind", "grin"], 1), (["from behind", "blue eyes"], 1),
    (["from side", "from above"], 0), (["from side", "facing left"], 0), (["close up", "headshot"], 0),
    (["from behind", "looking back", "smile"], 0), (["smile", "closed eyes"], 0), (["outdoors", "beach", "day"], 0),
    (["sunset", "sunlight"], 0), (["white dress", "fox ears", "holding cup"], 0)])
def test_contradictions_are_found_and_nothing_else(tags, pairs):
    assert len(find_contradictions(tags)) == pairs


@pytest.mark.parametrize("own", ["front view", "straight-on", "portrait", "profile", "cowboy shot", "rear view",
                                 "headshot", "from left", "facing right", "bird's eye view", "grin", "sunlight",
                                 "beach", "watercolor", "holding cup", "night"])
@pytest.mark.parametrize("name", VOCABULARIES)
def test_what_the_users_image_shows_never_contradicts_the_view_that_is_asked_for(own, name):
    roles = tag_roles(("1girl", "fox ears", "white dress", own), VOCABULARIES[name])
    prompts = view_prompts(48, roles, VOCABULARIES[name], trigger="zqx")
    assert [pair for prompt in prompts for pair in find_contradictions(prompt.tags)] == []


def test_every_name_of_a_view_hides_what_it_hides():
    for name in ("from behind", "rear view", "facing away"):
        assert not VOCABULARIES["booru"].shows("grin", [name]) and not VOCABULARIES["booru"].shows("blue eyes", [name])
    assert VOCABULARIES["booru"].shows("grin", ["from behind", "looking back"])
    assert not VOCABULARIES["booru"].shows("holding sword", ["portrait"])


def test_an_audit_counts_the_same_words():
    assert kinds_in("1girl, straight-on, headshot", "view") == ("front",)
    assert kinds_in("1girl, from left, american shot", "view") == ("side",)
    assert kinds_in("1girl, from left", "turn") == ("left",) and kinds_in("a girl holding a cup", "object") == (
        "food or drink",)
