"""Tags said as sentences: articles, plurals, what belongs together, and what is in no table."""

import re

import pytest

from lora_bootstrap.trainer.captions.sentences import SENTENCES, TAGS, noun_phrase, sentence_for, worded
from lora_bootstrap.trainer.captions.tags import split_tags


def say(tags, trigger="zqx"):
    return sentence_for([trigger, *split_tags(tags)], trigger)


@pytest.mark.parametrize(("tags", "sentence"), [
    ("1girl, fox ears, blonde hair, white dress, from behind, full body, beach, flat color",
     "zqx, a girl with fox ears and blonde hair, wearing a white dress, seen from behind, full body, on a beach, in "
     "flat colours"),
    ("1girl, solo, long_hair, animal ears, fox ears, blonde hair, ahoge, school uniform, sitting, holding cup, smile",
     "zqx, a girl with long blonde hair, fox ears and an ahoge, wearing a school uniform, sitting, holding a cup, "
     "smiling"),
    ("1boy, muscular male, short hair, black hair, suit, necktie, office, backlighting, oil painting",
     "zqx, a muscular boy with short black hair, wearing a suit and a necktie, in an office, lit from behind, as an "
     "oil painting"),
    ("1girl, mature female, elf, mole under eye", "zqx, an elf woman with a mole under the eye"),
    ("fox girl, hat, one-piece swimsuit", "zqx, a fox girl, wearing a hat and a one-piece swimsuit"),
    ("2girls, multiple girls, park", "zqx, two girls, in a park"),
    ("1girl, 1boy, holding hands", "zqx, a girl and a boy, holding hands"),
    ("fox ears, white dress", "zqx with fox ears, wearing a white dress"),
    ("1girl, >_<, ^_^", "zqx, a girl, with eyes squeezed shut and eyes closed in a smile"),
    ("1girl, red curtain background", "zqx, a girl, on a red curtain background"),
])
def test_tags_are_said_as_a_person_would_say_them(tags, sentence):
    assert say(tags) == sentence


@pytest.mark.parametrize("tag", ["saber (fate)", r"saber \(fate\)", "Xyzzy Plugh", "zork", "@artist", "score_9",
                                 "a cat sits on her left shoulder and looks up"])
def test_what_is_in_no_table_stays_as_it_is_written(tag):
    assert tag.replace("_", " ") in say(f"1girl, {tag}, smile").split(", ")


def test_without_a_trigger_the_sentence_begins_with_who_is_shown():
    assert sentence_for(["1girl", "fox ears"]) == "a girl with fox ears"
    assert sentence_for(["fox ears", "smile"]) == "a character with fox ears, smiling"
    assert sentence_for([]) == "" and worded(["1girl", "smile"], TAGS) == "1girl, smile"


@pytest.mark.parametrize(("noun", "phrase"), [
    ("dress", "a dress"), ("evening dress", "an evening dress"), ("boots", "boots"), ("uniform", "a uniform"),
    ("unusual hat", "an unusual hat"), ("armor", "armor"), ("her hat", "her hat"), ("glass", "a glass"),
    ("hour glass", "an hour glass"), ("hand on own hip", "a hand on the hip"),
    ("hair over one eye", "hair over one eye"),
    ("two swords", "two swords"), ("another's hand", "another's hand")])
def test_nouns_get_the_article_they_need(noun, phrase):
    assert noun_phrase(noun) == phrase


def test_the_parts_of_a_sentence_can_be_shuffled_as_tags_can():
    sentence = worded(["zqx", "1girl", "fox ears", "smile", "beach"], SENTENCES, "zqx")
    assert split_tags(sentence) == ["zqx", "a girl with fox ears", "smiling", "on a beach"]


def test_no_sentence_of_common_tags_has_a_wrong_article():
    """`a apple`, `an dress`, `a boots`, `a hair`."""
    tags = """apron, earrings, umbrella, eyepatch, orange dress, uniform, armor, ornament, hourglass, obi, ribbon,
        elbow gloves, ascot, headdress, open jacket, oversized shirt, animal hood, undershirt, unitard, ankle boots,
        orange eyes, ahoge, aqua hair, antennae, extra arms, horn, uneven eyes, arm tattoo, eyelashes"""
    for tag in split_tags(tags):
        words = say(f"1girl, {tag}").split()
        pairs = [(first, second) for first, second in zip(words, words[1:], strict=False) if first in ("a", "an")]
        for article, noun in pairs:
            vowel = bool(re.match(r"[aeio]|u(?!ni)|hour", noun))
            assert (article == "an") == vowel, (article, noun)
            assert not re.match(r"(boots|gloves|eyes|hair|armor|earrings|antennae|eyelashes)\b", noun)
