"""Text that the host shows in a node. The only way there, because the host's front ends read it as markup.

What shows it depends on the front end. Up to version 1.42 the classic canvas takes it for HTML, unchecked, makes links
of addresses, and has links of its own (`[[label|address]]`). Later ones drop whatever looks like a tag, as `<o>_<o>`
does. Vue nodes take it for Markdown. The newest classic canvas shows `&lt;` as it is written, so no escape is right
everywhere. What is right everywhere is a sign that no longer acts because a character without width follows it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from server import PromptServer

from .events import note_text, shows_text
from .session import current_session

LINE_BREAK = "  \n"
"""Two spaces make it one in Markdown too."""
LONGEST_LINE = 2000
PAUSE = "\ufeff"
"""Has no width. HTML has no tag, reference, or address in which it may stand; to Markdown as the front ends read it
(marked) it is a space, and no emphasis begins before a space."""
FIRST = "\u200b"
"""Has no width. A line that begins with it is neither a heading, nor a list, nor anything else but text."""

_ACTS = re.compile(r"""
    <(?=[a-z/!?])                   # a tag, a comment, an address in brackets
    | &(?=[#a-z])                   # a character by its name or number
    | \\(?=[!-/:-@[-`{-~])          # a sign that is escaped
    | [*~](?=\S)                    # bold, italic, struck out
    | (?<![^\W_])_ | _(?![^\W_])    # the same, unless inside a word; the front end's own __LNK0__
    | \[(?=\[) | \](?=[(:[])        # links
    | :(?=//) | www(?=\.) | @(?=\w) # addresses
    """, re.VERBOSE | re.IGNORECASE)
_BEGINS = re.compile(r"\s|[#>*+=|:[-]|\d+[.)]|$")
_UNSHOWABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls, turns of the direction of writing, and halves of characters, as in names that are not UTF-8."""
_TAG = re.compile(r"<[a-z/!?]", re.IGNORECASE)

log = logging.getLogger(__name__)


def show_text(text: str, node_id: str | None) -> None:
    """Show text in a node of the tab that queued it; in another tab that id may belong to another node."""
    if node_id is not None and text:
        _send(make_inert(text), node_id)


def _send(shown: str, node_id: str) -> None:
    server = PromptServer.instance
    server.send_progress_text(shown or FIRST, node_id, server.client_id)  # the host ignores an empty text
    note_text(node_id, shown)


def has_panels() -> bool:
    """Whether the tab that queued shows the pack's panels. Other clients have only the host's text and previews."""
    return PromptServer.instance.client_id in current_session().tabs


def show_beside_panel(text: str, node_id: str | None, beyond: str = "") -> None:
    """Show text in a node that has a panel: all of it to a client without panels, and to the others only what is
    `beyond` the panel, so that nothing stands in the node twice."""
    shown = beyond if has_panels() else text
    if node_id is not None and (shown or shows_text(node_id)):
        _send(make_inert(shown), node_id)


def make_inert(text: str) -> str:
    """The text so that every front end shows it as it is written: nothing in it is run, followed, or formatted.

    Line breaks are kept. A backtick becomes a sign that looks like one, because nothing else stops it. What cannot be
    shown becomes U+FFFD, and a line of more than 2,000 characters is cut.
    """
    return LINE_BREAK.join(map(_make_line_inert, text.splitlines()))


def menu_choices(names: Iterable[str]) -> list[str]:
    """The names that a menu may offer: menus of front ends up to version 1.42 take names for HTML as well."""
    safe = {name: not _TAG.search(name) for name in names}
    if not all(safe.values()):
        log.warning("LoRA Bootstrap: not offered, because there is a < in the name; rename: %s",
                    ", ".join(repr(name) for name in safe if not safe[name]))
    return [name for name in safe if safe[name]]


def _make_line_inert(line: str) -> str:
    cut = line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1]}…"
    shown = _ACTS.sub(rf"\g<0>{PAUSE}", _UNSHOWABLE.sub("\ufffd", cut).replace("`", "\u02cb"))
    return FIRST + shown if _BEGINS.match(shown) else shown
