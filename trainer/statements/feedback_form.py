"""feedback.txt: the form in a release that testers fill in with any editor, and what a filled form says.

A form comes back from strangers: it is read by its fields alone, whatever else stands in it.
"""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..captions.coverage_words import AXES
from ..common.checks import check
from ..common.errors import UserError
from .plain_text import one_line, printable

NAME = "feedback.txt"
MOST_BYTES = 256 * 1024
MOST_LETTERS = 4000
"""Letters of an answer."""
FIELDS: Mapping[str, str] = {
    "release": "", "version": "", "weights": "",
    "tester": "your name, if you like:",
    "base": "the checkpoint that you used:",
    "strength": "the strength that you used:",
    "worked": "what worked:",
    "failed": "what failed:",
    "views": "how each view looks: good, fair or bad, and why",
    "comments": "anything else:"}
"""Name of a field → what it asks. The first three are filled in already."""
GIVEN = ("release", "version", "weights")
VIEWS = tuple(kind.ask or name for axis in ("view", "framing") for name, kind in AXES[axis].kinds.items())
"""What the form asks about one by one where a person or a character is shown."""
_HEAD = re.compile(r"\s*\[\s*([a-z]+)\s*\](.*)", re.IGNORECASE)
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one tester reports of a release. Raises UserError for a text that is too long, or a view that no form has.

    Attributes:
        weights: AutoV3 of the released file, as the form has it.
        views: view → what is said of it.
        digest: sha256 of all of it; equal for the same form read twice.
    """

    release: str
    version: str = ""
    weights: str = ""
    tester: str = ""
    base: str = ""
    strength: str = ""
    worked: str = ""
    failed: str = ""
    views: Mapping[str, str] = field(default_factory=dict)
    comments: str = ""

    def __post_init__(self) -> None:
        for name, text in (*((name, getattr(self, name)) for name in FIELDS if name != "views"), *self.views.items()):
            check(len(text) <= MOST_LETTERS, f"length of [{name}] of a feedback form", len(text),
                  f"at most {MOST_LETTERS} letters; shorten it")
        if unknown := [name for name in self.views if name not in VIEWS]:
            raise UserError(f"{unknown[0]!r} is not a view of a feedback form; it has {', '.join(VIEWS)}.")

    @property
    def digest(self) -> str:
        texts = [getattr(self, name) for name in FIELDS if name != "views"]
        return hashlib.sha256(repr((texts, sorted(self.views.items()))).encode()).hexdigest()

    @property
    def title(self) -> str:
        """`akane 1.0, by Jo`"""
        return f"{self.release} {self.version}".strip() + (f", by {self.tester}" if self.tester else "")

    def rows(self) -> Iterator[tuple[str, str]]:
        """(field or view, what is said), as far as anything is."""
        for name in FIELDS:
            if name == "views":
                yield from self.views.items()
            elif name not in (*GIVEN, "tester") and getattr(self, name):
                yield name, getattr(self, name)


def write_form(release: str, title: str, version: str, weights: str, views: bool) -> str:
    """The text of feedback.txt.

    Args:
        release, title: name of the release's folder, and its name for people.
        weights: AutoV3 of the released file.
        views: ask about each view.
    """
    given = {"release": release, "version": version, "weights": weights}
    parts = [f"Feedback on {one_line(title)}, version {version}", "",
             "Write below the names in brackets, save this file, and send it to the author. Any of it may stay empty.",
             ""]
    for name, asked in FIELDS.items():
        if name != "views":
            parts += [f"[{name}] {asked}".rstrip(), given.get(name, ""), ""]
        elif views:
            parts += [f"[{name}] {asked}", *(f"{view}: " for view in VIEWS), ""]
    return "\n".join(parts)


def read_form_file(path: Path) -> list[Answer]:
    """The answers in a filled form, or in several in one file. Raises UserError if it is not one, if nothing is filled
    in, or if it is too large."""
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > MOST_BYTES:
        raise UserError(f"{path} is larger than {MOST_BYTES // 1024} KB; give a {NAME} that a tester filled in.")
    try:
        return read_forms(_decode(data))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _decode(data: bytes) -> str:
    """The text as editors save it: with or without a mark of its encoding, old ones of Windows in its own."""
    marked = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "")
    for encoding in [marked] if marked else ["utf-8", "cp1252"]:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError(f"it is not a text; give a {NAME} that a tester filled in.")


def read_forms(text: str) -> list[Answer]:
    """The answers in one or several forms, one after the other. Raises UserError as `read_form_file` does."""
    if len(text) > MOST_BYTES or "\0" in text:
        raise UserError(f"it is not a text of at most {MOST_BYTES} letters; give a {NAME} that a tester filled in.")
    forms: list[list[tuple[str, str]]] = []
    for name, line in _read_lines(text):
        if name == "release" and (not forms or forms[-1][-1][0] != "release"):
            forms.append([])
        if forms:
            forms[-1].append((name, line))
    if not forms:
        raise UserError(f"it is not a feedback form: it has no [release]. Give a {NAME} that a tester filled in.")
    return [_read_answer(form) for form in forms]


def _read_lines(text: str) -> Iterator[tuple[str, str]]:
    """(field, line) of every line below a field's head; what stands behind the head's question is the first line."""
    name = ""
    for line in text.splitlines():
        head = _HEAD.fullmatch(line)
        if head and head[1].lower() in FIELDS:
            name = head[1].lower()
            yield name, head[2].strip().removeprefix(FIELDS[name]).strip()
        elif name:
            yield name, line


def _read_answer(lines: Sequence[tuple[str, str]]) -> Answer:
    texts = {name: printable("\n".join(line.rstrip() for field, line in lines if field == name))
             for name in FIELDS if name != "views"}
    views, rest = _read_views([line for name, line in lines if name == "views"])
    texts["comments"] = "\n".join(filter(None, (texts["comments"], rest)))
    texts |= {name: one_line(texts[name]) for name in (*GIVEN, "tester", "base", "strength")}
    answer = Answer(**texts, views=views)
    if not answer.release:
        raise UserError("[release] of the form is empty. Write the name of the release below it.")
    if not [*answer.rows()]:
        raise UserError(f"nothing is filled in in the form of {answer.release!r}.")
    return answer


def _read_views(lines: Sequence[str]) -> tuple[dict[str, str], str]:
    """View → what is said of it, and what stands below none."""
    found: dict[str, list[str]] = {}
    names, view = {name.casefold(): name for name in VIEWS}, ""
    for line in lines:
        named, colon, said = line.partition(":")
        if colon and (known := names.get(one_line(named).casefold())):
            view, line = known, said
        found.setdefault(view, []).append(one_line(line))
    texts = {name: "\n".join(filter(None, told)) for name, told in found.items()}
    rest = texts.pop("", "")
    return {name: text for name, text in texts.items() if text}, rest
