"""Captions as booru tags: how tags are compared, the trigger at the front, and what the tokenizer cuts off."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

_LONGEST_FACE = 3
_ESCAPED_BRACKET = re.compile(r"\\([()])")
_WEIGHT = re.compile(r":\s*\d*\.?\d+$")
_BRACKET = re.compile(r"(?<!\\)[()\[\]{}]")
_OTHER_COMMAS = re.compile(r"[\n\uff0c\u3001\uff1b]")
_BARE_BRACKET = re.compile(r"(?<!\\)([()])")


def escape_brackets(caption: str) -> str:
    """The caption as a prompt: with a backslash before each bracket, so that ComfyUI does not read it as a weight.

    In a caption, brackets are always text, with or without a backslash. In a prompt, those without one are weights in
    ComfyUI. Whatever makes a prompt of a caption or of tags calls this; whatever gives a prompt to a text encoder that
    knows no weights calls `unescape_brackets`.
    """
    return _BARE_BRACKET.sub(r"\\\1", caption)


def unescape_brackets(caption: str) -> str:
    """The words that a model is to read: `saber \\(fate\\)`, as taggers and ComfyUI write a bracket that is not a
    weight, without its backslashes."""
    return _ESCAPED_BRACKET.sub(r"\1", caption)


def unweighted(tag: str) -> str:
    """The tag without a prompt's weight, also where commas have split one: `(red eyes:1.2)`, `(red eyes`, `hair:1.2)`.

    Escaped brackets, those of `saber (fate)` and those of a smiley are text.
    """
    text = tag.strip()
    if is_face(text.replace(" ", "_")) or not any(sign.isalpha() for sign in text):
        return text
    while _is_bracketed(text):
        text = _WEIGHT.sub("", text[1:-1]).strip()
    least, last = _depth(text)
    if last > 0 and text[0] in "([{":
        text = text.lstrip("([{").strip()
    elif least < 0 and text[-1] in ")]}":
        text = _WEIGHT.sub("", text.rstrip(")]}")).strip()
    return text or tag.strip()


def read_tags(text: str) -> list[str]:
    """The tags that a person typed, without a prompt's weights. Lines end tags, and so do the commas of East Asia."""
    return [unweighted(tag) for tag in split_tags(_OTHER_COMMAS.sub(",", text))]


def _is_bracketed(text: str) -> bool:
    return (len(text) > 2 and text[0] in "([{" and text[-1] in ")]}" and text[-2] != "\\"
            and _depth(text[1:-1]) == (0, 0))


def _depth(text: str) -> tuple[int, int]:
    """(the least, the last) depth of brackets within the text, without those that have a backslash."""
    depths = [0, *accumulate(1 if sign in "([{" else -1 for sign in _BRACKET.findall(text))]
    return min(depths), depths[-1]


def split_tags(caption: str) -> list[str]:
    """The parts between commas, trimmed, without empty ones."""
    return [tag for part in caption.split(",") if (tag := part.strip())]


def join_tags(tags: Iterable[str]) -> str:
    return ", ".join(tags)


def same_tag(tag: str) -> str:
    """The form in which tags are compared: `Long_Hair` and `long hair` are one tag, as is `1girl (solo)` with its
    escapes."""
    return " ".join(tag.replace("_", " ").replace("\\", "").split()).casefold()


def distinct_tags(tags: Iterable[str]) -> list[str]:
    """Each tag once, at its first place and as it is spelled there."""
    found: dict[str, str] = {}
    for tag in tags:
        found.setdefault(same_tag(tag), tag)
    return list(found.values())


def add_trigger(tags: Sequence[str], trigger: str) -> list[str]:
    """The tags with the trigger first and only once. A sentence that begins with the trigger is left unchanged."""
    triggers = split_tags(trigger)
    if not triggers or (len(triggers) == 1 and tags and same_tag(tags[0]).startswith(same_tag(trigger) + " ")):
        return list(tags)
    owned = {same_tag(tag) for tag in triggers}
    return triggers + [tag for tag in tags if same_tag(tag) not in owned]


def absorb(tags: Sequence[str], identity_tags: Iterable[str]) -> list[str]:
    """The tags without those that the trigger should come to mean. Only exactly the listed ones are removed, in any
    case and with space or underscore: `hair` does not remove `long hair`."""
    owned = {same_tag(tag) for tag in identity_tags}
    return [tag for tag in tags if same_tag(tag) not in owned]


def tag_frequency(captions: Iterable[str]) -> dict[str, int]:
    """Number of captions that have each tag, most frequent first."""
    counts = Counter(tag for caption in captions for tag in dict.fromkeys(split_tags(caption)))
    return dict(counts.most_common())


def truncation_report(captions: Iterable[str], token_count: Callable[[str], tuple[int, int]]) -> list[str]:
    """One line for each distinct caption whose end the model does not read.

    Args:
        token_count: caption → (its tokens, the tokens that the model reads), as `Backbone.token_count`.
    """
    lines = []
    for caption in dict.fromkeys(captions):
        used, limit = token_count(caption)
        if used > limit:
            cut = caption[_heard(caption, token_count):].lstrip(" ,")
            lines.append(f"caption {_short(caption)!r} has {used} tokens, but the model reads {limit}; "
                         f"cut from: {_short(cut)!r}")
    return lines


def _heard(caption: str, token_count: Callable[[str], tuple[int, int]]) -> int:
    """Number of characters that the model reads, in whole words, found by bisection."""
    ends = [0] + [match.end() for match in re.finditer(r"[^\s,]+", caption)]
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high + 1) // 2
        used, limit = token_count(caption[:ends[middle]])
        low, high = (middle, high) if used <= limit else (low, middle - 1)
    return ends[low]


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[:length - 1].rstrip() + "…"


def is_face(tag: str) -> bool:
    """Whether the tag is an emoticon such as `^_^`, `>_o` or `(o)_(o)`, whose underscore is part of it."""
    parts = tag.split("_")
    return len(parts) == 2 and all(
        0 < len(part) <= _LONGEST_FACE and sum(sign.isalnum() for sign in part) <= 1 for part in parts)


def spaced(tag: str) -> str:
    """The tag with spaces for underscores; emoticons are left unchanged."""
    return tag if is_face(tag) else tag.replace("_", " ")


def underscored(tag: str) -> str:
    """The tag with underscores for spaces, as Danbooru writes it."""
    return "_".join(tag.split())
