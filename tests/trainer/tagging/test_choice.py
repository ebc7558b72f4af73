"""From scores to tags: thresholds, MCut, ratings, categories, underscores."""

import math

import numpy as np
import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.tagging.choice import Chooser, TagChoice, mcut
from lora_bootstrap.trainer.tagging.labels import CATEGORIES, Label

LABELS = (Label("safe", "rating"), Label("1girl"), Label("long_hair"), Label("smile"), Label("hat"), Label("^_^"),
          Label("miku_(x)", "character"), Label("rin", "character"), Label("highres", "meta"), Label("bold", "rating"))
SCORES = np.float32([0.6, 0.99, 0.35, 0.8, 0.34, 0.5, 0.9, 0.7, 0.9, 0.3])
DEFAULTS = {**{category: 0.35 for category in CATEGORIES}, "character": 0.85}


def chosen(scores=SCORES, **choice):
    return Chooser(LABELS, TagChoice(**choice), DEFAULTS).choose(scores)


def test_the_models_own_thresholds_are_taken_unless_others_are_given():
    assert chosen().names == ("miku (x)", "1girl", "smile", "^_^", "long hair")
    assert chosen(general=0.6).names == ("miku (x)", "1girl", "smile")
    assert chosen(character=0.7).names[:2] == ("miku (x)", "rin")
    assert chosen(general=0, character=1).names == ("1girl", "smile", "^_^", "long hair", "hat")


def test_each_tag_comes_with_its_category_and_score():
    tags = chosen().tags
    assert [(tag.category, round(tag.score, 2)) for tag in tags[:3]] == [
        ("character", 0.9), ("general", 0.99), ("general", 0.8)]
    assert chosen().scores["long hair"] == pytest.approx(0.35)


def test_the_rating_is_the_likeliest_whatever_its_score_and_written_only_where_asked():
    assert chosen().rating.name == "safe" and "safe" not in chosen().names
    assert chosen(rating="first").names[0] == "safe" and chosen(rating="last").names[-1] == "safe"
    assert chosen(SCORES * 0).rating.name == "safe"


def test_only_the_categories_asked_for_are_written():
    assert chosen(categories=("general",)).names == ("1girl", "smile", "^_^", "long hair")
    assert "highres" not in chosen().names and "highres" in chosen(categories=("general", "meta")).names


def test_underscores_are_kept_on_request_and_a_black_list_is_heeded_either_way():
    assert chosen(underscores=True).names[0] == "miku_(x)"
    assert "long hair" not in chosen(blacklist=("Long Hair", "1girl")).names
    assert "long hair" not in chosen(blacklist=("long_hair",)).names


def test_the_surest_are_kept_when_only_so_many_are_wanted():
    assert chosen(most=2).names == ("miku (x)", "1girl")
    assert chosen(most=3).names == ("miku (x)", "1girl", "smile")


def test_mcut_is_the_middle_of_the_widest_gap():
    assert mcut(np.array([0.9, 0.1, 0.8, 0.2])) == pytest.approx(0.5)
    assert mcut(np.array([0.02, 0.01, 0.95])) == pytest.approx((0.95 + 0.02) / 2)
    assert mcut(np.array([0.3, 0.3])) == mcut(np.array([0.7])) == mcut(np.array([])) == math.inf


def test_mcut_cuts_each_category_by_itself_but_takes_no_unlikely_character():
    assert chosen(mcut=True, general=0.9).names == ("miku (x)", "1girl", "smile")
    unlikely = np.where([label.category == "character" for label in LABELS], SCORES * 0.1, SCORES)
    assert chosen(unlikely, mcut=True).names == ("1girl", "smile")


@pytest.mark.parametrize(("settings", "words"), [
    ({"general": 1.5}, "general threshold is 1.5; it must be from 0 to 1"),
    ({"character": -0.1}, "character threshold is -0.1"),
    ({"categories": ("charcter",)}, "Did you mean 'character'"),
    ({"rating": "frist"}, "Did you mean 'first'"),
    ({"most": -1}, "most is -1"),
])
def test_a_wrong_setting_is_told(settings, words):
    with pytest.raises(UserError, match=words):
        TagChoice(**settings)
