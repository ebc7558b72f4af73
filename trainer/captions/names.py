"""Booru tags that are names, by their form: `saber (fate)` is a character of a series."""

from __future__ import annotations

from .class_words import BRACKETS
from .classes import tag_class
from .tags import same_tag

_KINDS = frozenset("""
    series style medium texture theme artwork symbol shape creature animal flower fruit food sky weapon object clothes
    clothing projectile substance cosplay phrase meme sport company mtf ftm""".split())
"""What booru tags have in brackets if they are no names."""


def is_character(tag: str) -> bool:
    """Whether the tag is a character's name with the series in brackets."""
    text = same_tag(tag)
    if not text.endswith(")") or " (" not in text or series_of(tag) in _KINDS or series_of(tag) in BRACKETS:
        return False
    # `oripathy lesion (arknights)` is a trait, `tails (sonic)` a name
    return tag_class(tag) not in ("identity", "outfit") or len(text.rpartition(" (")[0].split()) == 1


def series_of(character: str) -> str:
    """What stands in a name's brackets."""
    return same_tag(character).rpartition("(")[2].removesuffix(")")
