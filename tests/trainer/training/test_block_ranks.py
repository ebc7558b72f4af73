"""Ranks of blocks: which layers a pattern matches, and that a pattern without a layer is refused by name."""

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.training.config import AdapterConfig, TrainConfig
from lora_bootstrap.trainer.training.tuners.ranks import choose_ranks, read_block_ranks

DIFFUSERS = ("down_blocks.1.attentions.0.to_q", "down_blocks.10.attentions.0.to_q", "mid_block.attentions.0.to_k",
             "up_blocks.0.resnets.1.conv1")
ORIGINAL = ("input_blocks.4.1.transformer_blocks.0.attn1.to_q", "input_blocks.1.1.transformer_blocks.0.attn1.to_q",
            "middle_block.1.proj_in", "output_blocks.0.0.in_layers.2")


@pytest.mark.parametrize(("text", "places"), [
    ("down_blocks.1=8", {0: 8}), ("down=8", {0: 8, 1: 8}), ("mid=8", {2: 8}), ("to_q=8", {0: 8, 1: 8}),
    ("up_blocks.0.resnets=8", {3: 8}), ("to_?=8; mid=0", {0: 8, 1: 8, 2: 0}), ("mid=0, to_?=8", {0: 8, 1: 8, 2: 8}),
    ("*_block*=4\nconv1=2", {0: 4, 1: 4, 2: 4, 3: 2}), ("", {})])
def test_a_pattern_matches_whole_words_of_a_path_and_the_last_one_counts(text, places):
    assert choose_ranks(DIFFUSERS, text) == {DIFFUSERS[place]: rank for place, rank in places.items()}


@pytest.mark.parametrize(("text", "place"), [
    ("down_blocks.1=8", 0), ("input_blocks.1=8", 1), ("mid=8", 2), ("middle_block=8", 2), ("up=8", 3)])
def test_the_original_unets_layers_are_found_by_diffusers_names_too(text, place):
    assert choose_ranks(ORIGINAL, text) == {ORIGINAL[place]: 8}


def test_a_pattern_that_matches_nothing_is_refused_by_name():
    with pytest.raises(UserError, match="block_ranks 'down_blocks.7' matches none of the 4 layers"):
        choose_ranks(DIFFUSERS, "mid=8, down_blocks.7=8")


@pytest.mark.parametrize("text", ["mid", "mid=", "mid=-1", "mid=2000", "mid=8.5", "=8", "a b=8", "(x=1"])
def test_what_is_not_a_name_and_a_rank_is_refused_with_what_is_valid(text):
    with pytest.raises(UserError, match="it must be a block's or layer's name = a rank from 0 to 1024"):
        AdapterConfig(block_ranks=text)


def test_a_pattern_that_is_written_twice_counts_as_its_last_time():
    assert list(read_block_ranks("a=1, b=2, a=3").items()) == [("b", 2), ("a", 3)]


@pytest.mark.parametrize("settings", [{"adapter.kind": "lohan"}, {"adapter.lokr_factor": 0}])
def test_unknown_kinds_and_factors_are_refused(settings):
    with pytest.raises(UserError):
        TrainConfig().replace(**settings)
