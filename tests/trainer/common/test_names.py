"""Names: what every file system can hold, the same everywhere."""

import unicodedata

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.names import MOST_BYTES, checked_name, name_from

COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize("name", ["a", "my character-2", "えいえい", "%s", "-rf", "~", "🦊", "it's", "v1..2", "console",
                                  "com10", "x" * MOST_BYTES, COMPOSED, "a.b"])
def test_a_name_that_every_system_can_hold_is_kept_as_it_is(name):
    assert checked_name(name) == name


def test_two_spellings_of_one_name_are_one_name():
    assert checked_name(DECOMPOSED) == COMPOSED


@pytest.mark.parametrize(("name", "rule"), [
    ("", "not empty"), ("\ud800", "valid Unicode"), ("a\udcff", "valid Unicode"),
    ("..", "without a dot at the start"), (".hidden", "without a dot at the start"),
    ("../x", "without any of"), ("a/b", "without any of"), ("a\\b", "without any of"), ("C:", "without any of"),
    ("a*", "without any of"), ("a?", "without any of"), ('"', "without any of"), ("<b>", "without any of"),
    ("a|b", "without any of"), ("/etc", "without any of"),
    ("a.", "either end"), ("a ", "either end"), (" a", "either end"), ("a. .", "either end"), ("a\n", "either end"),
    ("a\nb", "printable"), ("a\tb", "printable"), ("a\x7fb", "printable"), ("a\u202eb", "printable"),
    ("a\0b", "printable"), ("x" * (MOST_BYTES + 1), "bytes"), ("字" * 41, "bytes"),
    ("CON", "device"), ("nul.txt", "device"), ("com1", "device"), ("LPT9.tar.gz", "device"), ("aux .x", "device"),
    ("COM¹", "device"), ("conin$", "device"), (None, "a text"), (5, "a text"),
])
def test_any_other_name_is_refused_with_the_rule_that_it_breaks(name, rule):
    with pytest.raises(UserError, match=rf"^name of the run is .*{rule}.* Use letters") as caught:
        checked_name(name, "name of the run")
    str(caught.value).encode()  # an error that cannot be shown helps nobody
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "name"), [
    ("my lora", "my lora"), (".hid", "hid"), ("a/b:c", "a-b-c"), ("CON", "_CON"), ("x\u202ey ", "xy"),
    ("x" * 300, "x" * (MOST_BYTES - 1)), ("字" * 100, "字" * 39), ("a\u3000b", "a b"), (DECOMPOSED, COMPOSED),
    ("...", "lora"), ("", "lora"), ("\ud800", "lora"),
])
def test_any_text_gives_a_valid_name(text, name):
    assert name_from(text, "lora") == name == checked_name(name)
