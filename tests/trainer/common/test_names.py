"""Names: what every file system can hold, the same everywhere."""

import unicodedata

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.names import MOST_BYTES, checked_name, name_from, saved_name, with_ending

COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize("name", ["a", "my character-2", "えいえい", "%s", "-rf", "~", "🦊", "it's", "v1..2", "console",
                                  "com10", "x" * MOST_BYTES, COMPOSED, "a.b"])
def test_a_name_that_every_system_can_hold_is_kept_as_it_is(name):
    assert checked_name(name) == name


def test_two_spellings_of_one_name_are_one_name():
    assert checked_name(DECOMPOSED) == COMPOSED


@pytest.mark.parametrize(("name", "rule"), [
    ("", "not be empty"), ("\ud800", "broken letters"), ("a\udcff", "broken letters"),
    ("..", "not begin with a dot"), (".hidden", "not begin with a dot"),
    ("../x", "have none of"), ("a/b", "have none of"), ("a\\b", "have none of"), ("C:", "have none of"),
    ("a*", "have none of"), ("a?", "have none of"), ('"', "have none of"), ("<b>", "have none of"),
    ("a|b", "have none of"), ("/etc", "have none of"),
    ("a.", "begin or end"), ("a ", "begin or end"), (" a", "begin or end"), ("a. .", "begin or end"),
    ("a\n", "begin or end"),
    ("a\nb", "printable"), ("a\tb", "printable"), ("a\x7fb", "printable"), ("a\u202eb", "printable"),
    ("a\0b", "printable"), ("x" * (MOST_BYTES + 1), "bytes"), ("字" * 41, "bytes"),
    ("CON", "device"), ("nul.txt", "device"), ("com1", "device"), ("LPT9.tar.gz", "device"), ("aux .x", "device"),
    ("COM¹", "device"), ("conin$", "device"), (None, "not be empty"), (5, "not be empty"),
])
def test_any_other_name_is_refused_with_the_rule_that_it_breaks(name, rule):
    with pytest.raises(UserError, match=rf"^run .* cannot be .*{rule}.* Use letters") as caught:
        checked_name(name, "run")
    str(caught.value).encode()  # an error that cannot be shown helps nobody
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "name"), [
    ("my lora", "my lora"), (".hid", "hid"), ("a/b:c", "a_b_c"), ("CON", "_CON"), ("x\u202ey ", "x_y"),
    ("x" * 300, "x" * MOST_BYTES), ("字" * 100, "字" * 40), 
    ("con." + "x" * 300, "_con." + "x" * (MOST_BYTES - 5)), ("a\u3000b", "a_b"), (DECOMPOSED, COMPOSED),
    ("...", "lora"), ("", "lora"), ("\ud800", "_"),
])
def test_any_text_gives_a_valid_name(text, name):
    assert name_from(text, "lora") == name == checked_name(name)


def test_an_ending_fits_and_tells_long_names_apart():
    assert with_ending("a", "-style-1") == "a-style-1"
    one, two = with_ending("x" * MOST_BYTES, "-style-1"), with_ending("x" * (MOST_BYTES - 1), "-style-1")
    assert one != two and one.endswith("-style-1")
    for name in (one, two, with_ending("字" * 40, "-style-1")):
        assert len(checked_name(name).encode()) <= MOST_BYTES


def test_a_name_that_an_older_version_saved_is_kept_unless_it_leads_elsewhere():
    assert [saved_name(name, "project") for name in ("CON", "a.", "x" * 200)] == ["CON", "a.", "x" * 200]
    assert [saved_name(name, "project") for name in ("../x", "..", "a\nb", "")] == ["_x", "project", "a_b", "project"]
