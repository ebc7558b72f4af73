"""Whose a user's tags are: the character's, this image's, or nobody's."""

import csv
from pathlib import Path

import pytest

from lora_bootstrap.trainer.captions.roles import is_of_the_head, is_sentence, tag_roles
from lora_bootstrap.trainer.captions.sentences import sentence_for
from lora_bootstrap.trainer.captions.tags import read_tags, split_tags
from lora_bootstrap.trainer.captions.views import VOCABULARIES

BOORU = VOCABULARIES["booru"]
LABELS = Path(__file__).parent / "labels_300.csv"


def roles_of(text):
    return tag_roles(split_tags(text), BOORU)


def test_the_readmes_own_tags_are_sorted_right():
    roles = roles_of("1girl, fox ears, blonde hair, white dress, front view")
    assert (roles.subject, roles.identity, roles.view) == (
        ("1girl",), ("fox ears", "blonde hair", "white dress"), ("front view",))
    assert not (roles.dropped or roles.unknown or roles.forced or roles.warnings)


def test_what_an_image_shows_is_never_hers():
    roles = roles_of("1girl, standing, sitting, grin, portrait, park, day, tree, sunlight, holding cup, masterpiece, "
                     "grey background, fox ears")
    assert roles.identity == ("fox ears",) and roles.dropped == ("masterpiece",)
    assert roles.view == ("standing", "sitting", "grin", "portrait", "park", "day", "tree", "sunlight", "holding cup",
                          "grey background")


@pytest.mark.parametrize("spell", [str.upper, lambda tag: tag.replace(" ", "_"), lambda tag: f"{tag} \\(series\\)",
                                   lambda tag: f"({tag}:1.1)"])
def test_a_tags_spelling_does_not_change_its_role(spell):
    hers = [spell(tag) for tag in ("fox ears", "white dress", "grey eyes", "red scarf")]
    others = [spell(tag) for tag in ("front view", "sunset", "smile", "holding cup", "sketch")]
    roles = tag_roles([*hers, *others], BOORU)
    assert roles.identity == tuple(hers) and roles.view == tuple(others)


def test_an_unknown_word_is_this_images_and_that_is_said():
    roles = roles_of("1girl, fox ears, glorbo")
    assert roles.identity == ("fox ears",) and roles.unknown == ("glorbo",) and "glorbo" in roles.view
    assert roles.warnings == ("`glorbo` is not a known trait of hers: it is kept as this image's. Write +glorbo to "
                              "make it hers.",)


def test_a_plus_makes_a_tag_hers_and_a_minus_this_images():
    roles = roles_of("1girl, fox ears, +glorbo, + holding cup, -white dress, +red hair")
    assert roles.identity == ("fox ears", "glorbo", "holding cup", "red hair") and roles.view == ("white dress",)
    assert roles.forced == ("glorbo", "holding cup") and not roles.unknown
    assert "`holding cup` is a pose or an action, not a trait, but is marked as hers" in roles.warnings[1]


@pytest.mark.parametrize("face", ["+_+", "-_-", ">_<", "^_^", ":3", ";d", "+ +"])
def test_an_emoticon_is_no_mark(face):
    roles = tag_roles((face, "fox ears"), BOORU)
    assert roles.view == (face,) and not roles.forced


@pytest.mark.parametrize("text", [
    "A woman with long blonde hair stands in a park", "she is wearing a white dress", "The image shows a dog.",
    "there are two trees in the background", "her long red hair flows in the wind behind her"])
def test_prose_is_not_a_trait(text):
    roles = tag_roles((text,), BOORU)
    assert is_sentence(text) and roles.unknown == (text,) and not roles.identity
    assert "is a sentence" in roles.warnings[0] and "no tag is a trait of hers" in roles.warnings[1]


@pytest.mark.parametrize(("text", "name"), [("a white dress", "identity"), ("her red eyes", "identity"),
                                            ("the beach", "view"), ("hand on own hip", "view"),
                                            ("holding a red cup", "view"), ("wearing a red scarf", "identity")])
def test_a_noun_with_an_article_is_a_tag(text, name):
    assert not is_sentence(text)
    assert getattr(tag_roles((text,), BOORU), name) == (text,)


def test_none_of_the_judged_tags_is_taken_for_a_sentence():
    lines = [line for line in LABELS.read_text().splitlines() if not line.startswith("#")]
    assert [row["tag"] for row in csv.DictReader(lines) if is_sentence(row["tag"])] == []


def test_words_of_a_vocabulary_are_views_whatever_their_class():
    assert tag_roles(("looking at viewer", "dark"), VOCABULARIES["sandbox"]).view == ("looking at viewer", "dark")


def test_a_view_without_the_head_leaves_out_what_is_of_the_head():
    assert all(map(is_of_the_head, ("red hair", "grin", "straw hat", "fox_ears", "hair ribbon", ":3")))
    assert not any(map(is_of_the_head, ("white dress", "fox tail", "chatting", "boots")))


@pytest.mark.parametrize(("text", "subject", "said"), [
    ("western dragon, no humans, red scales, wings", ("western dragon", "no humans"),
     "ei, a western dragon with red scales and wings"),
    ("anthro, male, fox, red fur", ("male", "fox"), "ei, an anthro male fox with red fur"),
    ("1boy, old man, glasses", ("1boy", "old man"), "ei, an old man, wearing glasses"),
    ("1other, robot", ("1other", "robot"), "ei, a robot"),
    ("1girl, mermaid, red hair", ("1girl",), "ei, a mermaid girl with red hair")])
def test_a_character_that_is_no_girl_or_boy_is_asked_for_as_what_it_is(text, subject, said):
    roles = roles_of(text)
    assert roles.subject == subject
    assert sentence_for(("ei", *roles.subject, *roles.identity), "ei") == said


@pytest.mark.parametrize("thing", ["black cat", "stuffed cat", "teddy bear"])
def test_an_animal_beside_a_person_or_a_toy_is_a_thing_of_the_image(thing):
    assert thing in roles_of(f"1girl, {thing}, white hair").view
    assert "teddy bear" in roles_of("blue eyes, white dress, teddy bear").view


@pytest.mark.parametrize("name", ["saber_(fate)", "gold_ship_(umamusume)", "w_(arknights)", "rain_(fate)",
                                  "angel_(evangelion)", "tails_(sonic)", "fire_emblem", "elden ring"])
def test_a_name_is_never_a_trait_of_hers(name):
    roles = roles_of(f"1girl, {name}, blonde hair")
    assert roles.identity == ("blonde hair",) and roles.view == (name,)


def test_a_prompts_weights_and_the_commas_of_east_asia_are_not_read_as_tags():
    assert read_tags("1girl\uff0csolo\u3001blue eyes\nsmile") == ["1girl", "solo", "blue eyes", "smile"]
    assert read_tags("(red eyes, black hair:1.2), (muscular:1.2), [sketch], ((smile))") == [
        "red eyes", "black hair", "muscular", "sketch", "smile"]
    text = ["saber \\(fate\\)", "rem (re:zero)", ":)", "(o)_(o)", ";d"]
    assert read_tags(", ".join(text)) == text
    assert roles_of("1girl, red hair, <lora:foo:0.8>").dropped == ("<lora:foo:0.8>",)


@pytest.mark.parametrize("tag", ["red and white dress", "a black and gold scarf"])
def test_clothes_of_two_colours_are_hers(tag):
    assert roles_of(f"1girl, {tag}").identity == (tag,) and not is_sentence(tag)
