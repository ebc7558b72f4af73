"""What an edit model is asked for, and what its images are captioned with."""

import pytest

from lora_bootstrap.trainer.captions.axes import find_contradictions
from lora_bootstrap.trainer.captions.roles import tag_roles
from lora_bootstrap.trainer.captions.views import VIEW_AXES, VOCABULARIES, view_prompt, view_prompts
from lora_bootstrap.trainer.views.cameras import AXES, DIRECTIONS, DISTANCES, ELEVATIONS
from lora_bootstrap.trainer.views.shown import with_rest
from lora_bootstrap.trainer.views.wordings import EDIT_WORDINGS, caption_wording

BOORU = VOCABULARIES["booru"]
TAGS = ("1girl", "fox ears", "blue eyes", "white dress", "smile", "standing", "sunlight", "front view")
ROLES = tag_roles(TAGS, BOORU)
INSTRUCTION, CAMERA = EDIT_WORDINGS["edit instruction"], EDIT_WORDINGS["camera angles"]


def asked(wording, view):
    """(prompt, caption's tags) of a view."""
    vocabulary = wording.vocabulary(BOORU)
    prompt = view_prompt(view, ROLES, vocabulary, "zqx")
    return wording.say(prompt, ROLES, vocabulary), prompt.tags


def test_an_instruction_names_the_view_and_the_caption_the_character():
    text, tags = asked(INSTRUCTION, {"angle": "from behind", "framing": "full body", "pose": "running",
                                     "outfit": "own", "background": "beach"})
    assert text == "Show the same character from behind, full body, running, on a beach"
    assert tags == ("zqx", "1girl", "fox ears", "white dress", "from behind", "full body", "running", "beach")


def test_an_instruction_turns_to_a_side_of_the_image_and_the_caption_says_so_in_tags():
    text, tags = asked(INSTRUCTION, {"angle": "three-quarter left", "height": "eye level", "outfit": "hoodie"})
    assert text == ("Show the same character in three-quarter view, turned towards the left edge of the image, at eye "
                    "level, wearing a hoodie")
    assert tags[-3:] == ("three-quarter view", "facing left", "hoodie") and "white dress" not in tags


def test_what_such_a_view_cannot_show_is_neither_asked_for_nor_captioned():
    text, tags = asked(INSTRUCTION, {"angle": "from behind", "expression": "smile"})
    assert "smil" not in text and "smile" not in tags
    text, tags = asked(INSTRUCTION, {"framing": "close-up", "pose": "standing"})
    assert "standing" not in text and "standing" not in tags


def test_own_asks_for_what_the_original_shows_and_a_word_without_a_phrase_is_said_as_in_a_sentence():
    assert asked(INSTRUCTION, {"expression": "own", "object": "holding umbrella"})[0] == (
        "Show the same character smiling, holding an umbrella")


def test_a_camera_angle_is_said_in_the_words_of_the_multiple_angles_loras():
    text, tags = asked(CAMERA, {"angle": "front-left quarter", "height": "slightly from above",
                                "framing": "upper body"})
    assert text == "<sks> front-left quarter view elevated shot medium shot"
    assert tags[-3:] == ("three-quarter view", "from above", "upper body")
    assert asked(CAMERA, {})[0] == "<sks> front view eye-level shot medium shot"
    assert asked(CAMERA, {"angle": "rear view", "expression": "frown", "background": "beach"})[0] == (
        "<sks> back view eye-level shot medium shot, on a beach")


def test_the_camera_has_the_96_places_that_these_loras_know():
    assert [len(set(table.values())) for table in (DIRECTIONS, ELEVATIONS, DISTANCES)] == [8, 4, 3]
    places = {asked(CAMERA, {"angle": angle, "height": height, "framing": framing})[0]
              for angle in AXES["angle"] for height in AXES["height"] for framing in AXES["framing"]}
    assert len(places) == 96 and all(place.count(" shot") >= 1 and "," not in place for place in places)


def test_where_only_the_camera_moves_the_caption_keeps_the_mood_and_the_light_of_the_original():
    vocabulary = CAMERA.vocabulary(BOORU)
    front = view_prompt({"angle": "front-left quarter"}, ROLES, vocabulary, "zqx")
    back = view_prompt({"angle": "from behind"}, ROLES, vocabulary, "zqx")
    assert with_rest(front, ROLES, vocabulary).tags[-4:] == ("three-quarter view", "smile", "standing", "sunlight")
    assert with_rest(back, ROLES, vocabulary).tags[-3:] == ("from behind", "standing", "sunlight")


@pytest.mark.parametrize("name", EDIT_WORDINGS)
@pytest.mark.parametrize("base", VOCABULARIES)
def test_no_edit_prompt_has_the_trigger_or_a_trait_and_no_caption_contradicts_itself(name, base):
    wording, own = EDIT_WORDINGS[name], VOCABULARIES[base]
    vocabulary, roles = wording.vocabulary(own), tag_roles(TAGS, own)
    assert list(vocabulary.axes) == [axis for axis in VIEW_AXES if axis in vocabulary.axes]
    for prompt in view_prompts(48, roles, vocabulary, trigger="zqx"):
        text = wording.say(prompt, roles, vocabulary)
        assert not any(word in text for word in ("zqx", "fox ears", "white dress", "1girl", " own"))
        assert prompt.tags[:3] == ("zqx", "1girl", "fox ears") and not find_contradictions(prompt.tags)


def test_an_edited_image_is_captioned_as_the_base_reads_it():
    assert caption_wording("edit instruction", "sentences") == "sentences"
    assert caption_wording("tags", "sentences") == "tags" and caption_wording("", "sentences") == ""
