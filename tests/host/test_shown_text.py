"""Text in a node is shown as it is written, in a front end that takes it for HTML and in one that takes it for
Markdown."""

import random
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lora_bootstrap.host.session import current_session
from lora_bootstrap.host.shown_text import (
    FIRST,
    LINE_BREAK,
    LONGEST_LINE,
    PAUSE,
    make_inert,
    menu_choices,
    show_beside_panel,
    show_text,
)
from lora_bootstrap.nodes.checkpoints import run_names
from lora_bootstrap.trainer.common.files import write_json

ROOT = Path(__file__).parents[2]
TAGS = [">_<", "<o>_<o>", "<lora:akane:0.8>", "*star*", "**b**", "_x_", "~~no~~", "^_^", r"\m/", r"rin \(fate\)",
        "[a](b)",
        "@_@", "<|>_<|>", "||_||", "&lt;b&gt;", "AT&amp;T", "a@b.c", "long_hair", "[[a|http://b.c]]", "__LNK0__"]
ADDRESSES = ["http://a.b/c", "HTTPS://a.b", "ftp://a.b", "file:///etc", "www.a.b", "<http://a.b>",
             "![x](http://a.b/c.png)"]
SCRIPTS = ["<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "</span><script>alert(1)</script>",
           "<!--><img src=x onerror=alert(1)>", "<?x><b>", "<a href=javascript:alert(1)>x</a>", "<IMG\nSRC=x>"]
LINES = ["# a", "- a", "+ a", "* a", "> a", "1. a", "2) a", "=====", "-----", "    code", "| a | b |", "|---|---|",
         "[x]: http://a.b", "```", "~~~", "", ":--|--:", "\tcode"]


class Signs(HTMLParser):
    """All of a text that is not text to HTML."""

    def __init__(self, text):
        super().__init__(convert_charrefs=False)
        self.found = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append(tag)

    handle_endtag = handle_comment = handle_decl = handle_pi = unknown_decl = handle_charref = handle_entityref = (
        lambda self, data: self.found.append(data))


def read(text):
    """The text without what has no width."""
    return "\n".join(line.replace(PAUSE, "").replace(FIRST, "") for line in text.split(LINE_BREAK))


@pytest.mark.parametrize("text", [*TAGS, *ADDRESSES, *SCRIPTS, *LINES, "\n".join(LINES)])
def test_the_text_is_still_read_as_it_was_written(text):
    assert read(make_inert(text)) == text.replace("`", "\u02cb")


@pytest.mark.parametrize("text", [*TAGS, *ADDRESSES, *SCRIPTS])
def test_nothing_in_it_is_a_sign_of_html(text):
    assert Signs(make_inert(text)).found == []


@pytest.mark.parametrize("address", [*ADDRESSES, "[[a|http://b.c]]", "a@b.c", "[a](http://b.c)", "[a][b]"])
def test_no_address_in_it_becomes_a_link(address):
    shown = make_inert(address)
    linked = r"(https?|ftp|file)://|\bwww\.|\[\[[^|\]]+\||\w@\w|\]\(|\]\["
    assert re.search(linked, address, re.IGNORECASE) and not re.search(linked, shown, re.IGNORECASE)


@pytest.mark.parametrize("line", LINES)
def test_no_line_begins_as_a_heading_a_list_or_a_table_does(line):
    assert make_inert(line) == "" if not line else make_inert(f"a\n{line}").split(LINE_BREAK)[1][0] in FIRST + "~\u02cb"


def test_what_is_ordinary_is_sent_as_it_is():
    plain = "step 12/100 · loss 0.1034 · 1:20 left: my_lora-step000100.safetensors, 64 x 64, 5 < 6 & 7 * 8 (50%)"
    assert make_inert(plain) == plain


def test_controls_and_halves_of_characters_are_shown_as_unknown_ones():
    assert make_inert("a\x00b\x1b[31m\u202egnp.exe\udcff\ud800") == "a\ufffdb\ufffd[31m\ufffdgnp.exe\ufffd\ufffd"


def test_a_line_without_end_is_cut():
    assert len(make_inert("a" * 10**6)) == LONGEST_LINE and make_inert("a" * 10**6).endswith("a…")


def test_of_any_signs_in_any_order_nothing_acts():
    draw, pieces = random.Random(1), [*TAGS, *ADDRESSES, *SCRIPTS, *LINES, *"<>&*_[]()!:/\\@#~|x ;a0\n"]
    for _ in range(3000):
        text = "".join(draw.choices(pieces, k=12))
        shown = make_inert(text)
        assert Signs(shown).found == [] and read(shown) == "\n".join(text.replace("`", "\u02cb").splitlines())


def test_all_text_goes_to_the_host_through_it(host):
    show_text("<b>", "7")
    assert host.server.texts == [(f"<{PAUSE}b>", "7")]
    callers = [path.name for room in ("host", "nodes") for path in (ROOT / room).rglob("*.py")
               if re.search(r"\bsend_progress_text\b|\bPreviewText\b|\bset_progress_text\b", path.read_text("utf-8"))]
    assert callers == ["shown_text.py"]


def test_in_a_node_with_a_panel_a_tab_with_panels_is_told_only_what_is_beyond(host):
    show_beside_panel("40 cells\nmore", "7", "more")
    current_session().tabs.add(host.server.client_id)
    show_beside_panel("40 cells\nmore", "7", "more")
    for _ in range(2):
        show_beside_panel("40 cells", "7")
    assert host.server.texts == [("40 cells  \nmore", "7"), ("more", "7"), (FIRST, "7")], "taken away once"


def test_a_name_that_an_old_menu_would_run_is_not_offered(host, caplog):
    for name in ("<img src=x onerror=alert(1)>", "fine", "a < b"):
        write_json(host.output / "loras" / name / "run.json", {})
    assert sorted(run_names()) == ["a < b", "fine"]
    assert menu_choices(["a", "a", "<b>"]) == ["a"]
    assert "<img src=x onerror=alert(1)>" in caplog.text and "rename" in caplog.text
