"""Texts of people and of strangers' files, without characters that no reader of text accepts."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text without control characters; line breaks stay, and any other white space is a space."""
    plain = (" " if letter.isspace() and letter not in "\n\r" else letter for letter in text)
    return "".join(letter for letter in plain if letter.isprintable() or letter == "\n").strip()


def one_line(text: object) -> str:
    return " ".join(printable(str(text)).split())
