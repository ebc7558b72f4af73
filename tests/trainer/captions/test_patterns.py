"""Patterns from users: what they do, and that none can hang the program."""

import time

import pytest

from lora_bootstrap.trainer.captions.patterns import Replacement
from lora_bootstrap.trainer.common.errors import UserError


@pytest.mark.parametrize(("pattern", "template", "tag", "result"), [
    (r"^(\w+) hair$", r"hair: \1", "red hair", "hair: red"),
    (r"colour", "color", "Flat Colour", "Flat color"),
    (r"(?P<what>.+) \(style\)", r"\g<what>", "1980s (style)", "1980s"),
    (r".*background", "", "white background", ""),
    (r"_", " ", "long_red_hair", "long red hair"),
    (r"a{2,3}", "b", "aaaaa", "bb"),
    (r"^(?!long).*hair$", "x", "long hair", "long hair"),
    (r"\{", "(", "{a", "(a"),
    (r"nothing", "x", "red hair", "red hair"),
])
def test_matches_are_replaced_whatever_their_case(pattern, template, tag, result):
    assert Replacement(pattern, template)(tag) == result


@pytest.mark.parametrize(("pattern", "tag"), [
    (r"(a|aa)+$", "a" * 60 + "!"),
    (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 5000 + "!"),
    (r"(a+)+$", "a" * 5000 + "!"),
    (r"(.*a){20}b", "a" * 5000),
    (r"(a|a?)+$", "a" * 5000 + "!"),
    (r"(x+x+)+y", "x" * 5000),
    (r"a*a*a*a*a*a*b", "a" * 5000),
    (r"(\w+\s?)*$", "long red hair and " * 300 + "!"),
    (r"(?<=(a+)+)b", "a" * 5000 + "c"),
])
def test_a_catastrophic_pattern_is_stopped_within_a_second(pattern, tag):
    begin = time.perf_counter()
    try:
        assert isinstance(Replacement(pattern, "")(tag), str)  # the library sees through some of them
    except UserError as error:
        assert "takes too long on" in str(error)
    assert time.perf_counter() - begin < 1


def test_one_of_them_does_need_to_be_stopped():
    with pytest.raises(UserError, match="'\\(a\\|aa\\)\\+\\$' takes too long on 'aaa"):
        Replacement(r"(a|aa)+$", "")("a" * 60 + "!")


@pytest.mark.parametrize(("pattern", "template", "words"), [
    (r"(?:(?:a{1000}){1000}){1000}", "", "repeats too often"),
    (r"(?:(?:a{50}){50}){50}", "", "repeats too often"),
    (r"(?:a{,40}){40}", "", "repeats too often"),
    (r"a{99999}", "", "braces hold one or two numbers"),
    (r"(?:foo){e<=3}", "", "braces hold one or two numbers"),
    (r"a(?R)?b", "", "is not allowed"),
    (r"(a)(?1)", "", "is not allowed"),
    (r"(?r)a", "", "is not allowed"),
    ("a" * 201, "", "has 201 characters"),
    ("a", "b" * 201, "has 201 characters"),
    ("", "x", "a pattern is empty"),
    ("(a", "x", "is wrong.*backslash"),
    ("[z-a]", "x", "is wrong"),
])
def test_what_is_wrong_or_takes_long_to_compile_is_refused_at_once(pattern, template, words):
    begin = time.perf_counter()
    with pytest.raises(UserError, match=words) as caught:
        Replacement(pattern, template)
    assert time.perf_counter() - begin < 1 and "\n" not in str(caught.value)


def test_a_replacement_that_names_an_absent_group_or_grows_too_long_is_told():
    with pytest.raises(UserError, match="replacement '\\\\\\\\2' of pattern"):
        Replacement("(a)", r"\2")("a")
    with pytest.raises(UserError, match="into 1200 characters"):
        Replacement(".", "abcdef")("x" * 200)
