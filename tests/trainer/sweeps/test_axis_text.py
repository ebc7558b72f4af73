"""Axes as people write them: numbers, ranges, checkpoints of a run, names of files."""

from pathlib import Path

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.sweeps.axis_text import (
    MOST,
    MOST_SEED,
    choose_checkpoints,
    choose_names,
    lines,
    parse_numbers,
    parse_seeds,
)


@pytest.mark.parametrize(("text", "values"), [
    ("0.5, 0.7, 1", (0.5, 0.7, 1.0)), ("1", (1.0,)), (".5", (0.5,)), (" 1 ;2\n3, ", (1.0, 2.0, 3.0)),
    ("1-4", (1, 2, 3, 4)), ("1 - 4", (1, 2, 3, 4)), ("1-10 (+3)", (1, 4, 7, 10)), ("1-9 (+ 3)", (1, 4, 7)),
    ("0.5-1 (+0.1)", (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)), ("0.5-1 [6]", (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
    ("0-1 [4]", (0.0, 0.333333, 0.666667, 1.0)), ("0.1-0.7(+0.2)", (0.1, 0.3, 0.5, 0.7)),
    ("4-1", (4, 3, 2, 1)), ("1-0 (-0.5)", (1.0, 0.5, 0.0)), ("1-0 [3]", (1.0, 0.5, 0.0)),
    ("-1", (-1.0,)), ("-1-1 [5]", (-1.0, -0.5, 0.0, 0.5, 1.0)), ("-1--3", (-1, -2, -3)), ("2-2", (2,)),
    ("0.8, 1-0.8 (-0.1), 0.9", (0.8, 1.0, 0.9))])
def test_numbers_and_ranges(text, values):
    found = parse_numbers(text, "strengths")
    assert found == values and all(type(value) is float for value in found)


def test_whole_numbers_are_whole_and_exact_beyond_what_a_float_holds():
    most = 2**64 - 1
    assert parse_numbers(f"3, 1-2, {most - 2}-{most}", "seeds", whole=True) == (3, 1, 2, most - 2, most - 1, most)
    assert all(type(value) is int for value in parse_seeds("1-4"))


def test_a_seed_is_one_that_a_browser_reads_exactly():
    assert parse_seeds(f"0-1, {MOST_SEED}") == (0, 1, MOST_SEED) and float(MOST_SEED) == MOST_SEED
    for text in (str(MOST_SEED + 1), f"1, {2**64 - 1}", f"{MOST_SEED}-{MOST_SEED + 2}", f"-{2**53}"):
        with pytest.raises(UserError, match="must be at most 9007199254740991: browsers round larger numbers"):
            parse_seeds(text)


@pytest.mark.parametrize(("text", "says"), [
    ("", "strengths is empty"), (" , ;", "strengths is empty"), ("strong", "'strong' is not a number"),
    ("0.5, x", "'x' is not a number"), ("nan", "is not a number"), ("-inf", "is not a number"),
    ("1e999", "is not a number"),
    ("1-2-3", "'1-2-3' is not a number"), ("1-4 (-1)", "does not lead from 1 to 4"), ("4-1 (+1)", "does not lead"),
    ("1-4 (+0)", "does not lead"), ("0.5-1", "does not lead from 0.5 to 1"), ("1-4 (+5)", "does not lead"),
    ("1-4 [1]", "must have 2 to 500 values"), ("1-4 [501]", "must have 2 to 500 values"),
    ("0-500", "gives 501 values; use at most 500"), ("0-1 (+0.001)", "at most 500"),
    ("1-400, 1001-1400", "more than 500")])
def test_what_is_no_axis_is_told(text, says):
    with pytest.raises(UserError) as raised:
        parse_numbers(text, "strengths")
    assert says in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("text", [
    "0,8", "0,4, 0,8", "0,5;0,8", "0.5, 0,8", "-0,5", "0,5-1", "1,2", "0,8\n1", "0,5,0,8"])
def test_a_comma_that_may_be_a_decimal_one_is_refused_with_the_remedy(text):
    with pytest.raises(UserError, match=r"strengths: '(\d),(\d)' may be one number or two; write \1\.\2, or \1, \2 "):
        parse_numbers(text, "strengths")


@pytest.mark.parametrize(("text", "values"), [
    ("0.5,0.8", (0.5, 0.8)), ("0.5,1", (0.5, 1)), ("1,0.5", (1, 0.5)), ("0.5,1,2", (0.5, 1, 2)), ("0, 8", (0, 8)),
    ("1;2", (1, 2)), ("0 ,8", (0, 8))])
def test_a_comma_that_separates_needs_no_space_beside_decimal_points(text, values):
    assert parse_numbers(text, "strengths") == values


def test_thousands_in_whole_numbers_are_refused_and_lists_are_not():
    assert parse_numbers("1,2,30", "seeds", whole=True) == (1, 2, 30)
    for text in ("1,000", "12,050, 3"):
        with pytest.raises(UserError, match="has a comma before a 0, as in 1,000; write 1000, or a space after"):
            parse_numbers(text, "seeds", whole=True)


@pytest.mark.parametrize("text", ["1.5", "1-2 (+0.5)", "1-4 [3]"])
def test_seeds_are_whole(text):
    with pytest.raises(UserError, match="seeds: '"):
        parse_numbers(text, "seeds", whole=True)


def test_as_many_values_as_there_may_be_are_taken():
    assert len(parse_numbers(f"1-{MOST}", "seeds", whole=True)) == MOST
    assert len(parse_numbers(f"0-1 [{MOST}]", "strengths")) == MOST


def test_lines_are_taken_once_without_blanks_and_remarks():
    assert lines("  b, c\n\n# no\n a \nb, c\n") == ("b, c", "a")
    assert lines(" \n#\n") == ()


FILES = [(step, Path(f"girl-step{step:06d}.safetensors")) for step in (200, 400, 600, 800, 1000)]


@pytest.mark.parametrize(("text", "steps"), [
    ("all", [200, 400, 600, 800, 1000]), ("ALL ", [200, 400, 600, 800, 1000]), ("last", [1000]),
    ("last 2", [800, 1000]), ("last 9", [200, 400, 600, 800, 1000]), ("every 2", [200, 600, 1000]),
    ("every 3", [400, 1000]), ("every 9", [1000]), ("400", [400]), ("390, 1", [200, 400]), ("9999", [1000]),
    ("200-1000 (+400)", [200, 600, 1000]), ("400, 410, 390", [400])])
def test_checkpoints_are_chosen_by_words_or_steps_in_their_order(text, steps):
    assert choose_checkpoints(FILES, text) == tuple(file for file in FILES if file[0] in steps)


def test_all_checkpoints_are_swept_with_their_averages_and_others_without():
    average = (1000, Path("girl-average000400-001000.safetensors"))
    assert choose_checkpoints(FILES, "all", [average]) == (*FILES, average)
    assert choose_checkpoints(FILES, "last 2", [average]) == tuple(FILES[-2:])


@pytest.mark.parametrize("text", ["", "best", "last two", "last 0", "last 2 3", "every 0", "every -1", "all 2"])
def test_other_words_for_checkpoints_are_told(text):
    with pytest.raises(UserError, match="cannot be read; write all, last, last 5, every 2, or steps"):
        choose_checkpoints(FILES, text)


def test_a_run_without_a_file_is_told():
    with pytest.raises(UserError, match="has no LoRA file yet"):
        choose_checkpoints([], "all")


NAMES = ["akane/akane-step000100.safetensors", "akane/akane-step000200.safetensors", "akane/akane.safetensors",
         "style\\ink.safetensors", "hair [v2].safetensors", "plus+.safetensors"]


@pytest.mark.parametrize(("patterns", "places"), [
    (["akane/akane"], [2]), (["akane/akane.safetensors"], [2]), (["akane/*-step*"], [0, 1]), (["*akane"], [2]),
    (["*"], [0, 1, 2, 3, 4, 5]), (["style/ink", "akane/*"], [3, 0, 1, 2]), (["style\\ink"], [3]),
    (["*200*", "akane/*"], [1, 0, 2]), (["hair [v2]"], [4]), (["plus+"], [5]), ([], [])])
def test_names_are_chosen_by_patterns_each_once(patterns, places):
    assert choose_names(NAMES, patterns, "LoRA") == tuple(NAMES[place] for place in places)


@pytest.mark.parametrize(("pattern", "hint"), [
    ("akane/akan", "Did you mean 'akane/akane.safetensors'?"), ("style/inc", r"Did you mean 'style\\ink.safetensors'?"),
    ("AKANE/AKANE", ""), ("hair [23]", ""), ("akane?akane", ""), ("zzz*", "")])
def test_a_pattern_that_fits_none_is_told_with_the_nearest_name(pattern, hint):
    with pytest.raises(UserError) as raised:
        choose_names(NAMES, ["akane/*", pattern], "LoRA")
    told = str(raised.value)
    assert told.startswith(f"there is no LoRA {pattern!r}.") and hint in told and "Press R" in told
