"""Captions: the trigger, shuffling, dropping, absorbing, and what the tokenizer cuts."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from lora_bootstrap.trainer.captions.tags import absorb, add_trigger, join_tags, split_tags, truncation_report
from lora_bootstrap.trainer.datasets.dataset import Sample
from lora_bootstrap.trainer.training.caption_policy import CaptionPolicy
from lora_bootstrap.trainer.training.config import DataConfig

CAPTION = "1girl, red hair, smile, hat, grass"


def test_tags_are_split_trimmed_and_joined():
    assert split_tags(" 1girl,red hair ,, smile,") == ["1girl", "red hair", "smile"]
    assert join_tags(split_tags(CAPTION)) == CAPTION
    assert split_tags("") == []


@pytest.mark.parametrize(("tags", "result"), [
    (["1girl", "smile"], ["eiei21girl", "1girl", "smile"]),
    (["1girl", "Eiei21Girl", "smile", "eiei21girl"], ["eiei21girl", "1girl", "smile"]),
    ([], ["eiei21girl"]),
    (["eiei21girl stands in a field", "smiling"], ["eiei21girl stands in a field", "smiling"]),
])
def test_the_trigger_is_first_and_only_once(tags, result):
    assert add_trigger(tags, "eiei21girl") == result
    assert add_trigger(tags, "") == tags


def test_a_trigger_of_two_tags_stays_together_in_front():
    policy = CaptionPolicy(trigger="eiei21girl, 1girl", keep_tokens=0, shuffle=True, tag_dropout=0.9)
    for seed in range(20):
        assert policy.apply(CAPTION, random.Random(seed)).startswith("eiei21girl, 1girl")


def test_without_shuffle_or_dropout_a_caption_only_gets_its_trigger():
    assert CaptionPolicy(trigger="eiei").apply(CAPTION, random.Random(0)) == "eiei, " + CAPTION
    assert CaptionPolicy().variants(CAPTION, 8, seed=0) == [CAPTION]


def test_keep_tokens_counts_from_the_trigger_and_what_is_kept_stays_in_place():
    policy = CaptionPolicy(trigger="eiei", keep_tokens=3, shuffle=True, tag_dropout=0.5)
    seen = set()
    for seed in range(400):
        tags = split_tags(policy.apply(CAPTION, random.Random(seed)))
        assert tags[:3] == ["eiei", "1girl", "red hair"]
        assert set(tags[3:]) <= {"smile", "hat", "grass"} and len(set(tags)) == len(tags)
        seen.add(tuple(tags[3:]))
    assert len(seen) == 16  # every ordered choice of three tags


def test_tags_are_dropped_at_the_rate_asked_for():
    policy = CaptionPolicy(keep_tokens=1, tag_dropout=0.3)
    rng = random.Random(0)
    counts = Counter(tag for _ in range(2000) for tag in split_tags(policy.apply(CAPTION, rng)))
    assert counts["1girl"] == 2000
    assert all(abs(counts[tag] / 2000 - 0.7) < 0.04 for tag in ("red hair", "smile", "hat", "grass"))


def test_variants_are_distinct_the_same_for_a_seed_and_no_more_than_there_are():
    policy = CaptionPolicy(shuffle=True)
    variants = policy.variants(CAPTION, 8, seed=1)
    assert len(set(variants)) == len(variants) == 8
    assert variants == policy.variants(CAPTION, 8, seed=1) != policy.variants(CAPTION, 8, seed=2)
    assert sorted(policy.variants("a, b, c", 50, seed=0)) == ["a, b, c", "a, c, b"]
    assert policy.variants("", 4, seed=0) == [""]


def test_the_policy_reads_its_settings_from_the_config():
    config = DataConfig(trigger="eiei", keep_tokens=2, shuffle_captions=True, tag_dropout=0.1)
    image = Sample("a.png", (8, 8))
    assert CaptionPolicy.of(image, config) == CaptionPolicy("eiei", 2, True, 0.1)
    assert CaptionPolicy.of(replace(image, regularisation=True), config) == CaptionPolicy("", 2, True, 0.1)


def test_only_exactly_the_identity_tags_are_absorbed():
    tags = ["eiei21girl", "1girl", "Red_Hair", "hair", "red hair ribbon", "smile"]
    assert absorb(tags, ["red hair"]) == ["eiei21girl", "1girl", "hair", "red hair ribbon", "smile"]
    assert absorb(tags, []) == tags
    assert absorb(["1girl", "smile"], ["1girl"]) == ["smile"]


def test_what_the_model_does_not_hear_is_reported_from_the_first_lost_word():
    def count(caption):
        return len(caption.replace(",", " , ").split()), 6

    lines = truncation_report(["a, b", "a, b, c, red hair, d", "a, b, c, red hair, d"], count)
    assert lines == ["caption 'a, b, c, red hair, d' has 10 tokens, but the model reads 6; cut from: 'red hair, d'"]


def test_a_caption_of_one_endless_word_is_cut_from_its_start():
    assert truncation_report(["x" * 200], lambda caption: (len(caption), 75)) == [
        f"caption '{'x' * 59}…' has 200 tokens, but the model reads 75; cut from: '{'x' * 59}…'"]
