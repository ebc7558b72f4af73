"""The one rule for names of runs, projects, sweeps, merges, datasets and edits: what every file system can hold.

Windows refuses some names (https://learn.microsoft.com/windows/win32/fileio/naming-a-file) and macOS writes letters
with accents in another form, so a name that follows the rule can be copied to any of them and stays the same name.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

from .errors import UserError

MOST_BYTES = 120
"""In UTF-8. A file's name may have 255, and endings such as -step000100.safetensors are added to a name."""
SEPARATORS = frozenset('/\\:*?"<>|')
RESERVED = frozenset(("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$",
                      *(f"{device}{digit}" for device in ("COM", "LPT") for digit in "0123456789¹²³")))
"""Devices on Windows, whatever ending follows."""

_RULES: tuple[tuple[Callable[[str], bool], str], ...] = (
    (bool, "not empty"),
    (lambda name: not any(0xD800 <= ord(letter) <= 0xDFFF for letter in name), "valid Unicode"),
    (lambda name: not set(name) & SEPARATORS, f"without any of {' '.join(sorted(SEPARATORS))}"),
    (lambda name: not name.startswith("."), "without a dot at the start"),
    (lambda name: name == name.strip() and not name.endswith("."), "without a dot or blank at either end"),
    (str.isprintable, "printable, without line breaks or invisible letters"),
    (lambda name: len(name.encode()) <= MOST_BYTES, f"at most {MOST_BYTES} bytes long"),
    (lambda name: not _is_reserved(name), "not a device of Windows, such as CON or NUL"),
)


def checked_name(text: object, what: str = "name") -> str:
    """The name, in Unicode's composed form (NFC). Raises UserError for one that some file system cannot hold.

    Args:
        what: what it is the name of, as the error calls it: "name of the run".
    """
    if not isinstance(text, str):
        raise UserError(f"{what} is {text!r}; it must be a text. Use letters, digits, blanks, - and _.")
    name = unicodedata.normalize("NFC", text)
    for follows, rule in _RULES:
        if not follows(name):
            raise UserError(f"{what} is {_shortened(name)}; it must be {rule}. Use letters, digits, blanks, - and _.")
    return name


def name_from(text: str, otherwise: str) -> str:
    """A valid name made from any text, such as a downloaded file's name: what the rule refuses is left out or replaced.

    Args:
        otherwise: the name if nothing is left.
    """
    letters = (" " if letter.isspace() else "-" if letter in SEPARATORS else letter
               for letter in unicodedata.normalize("NFC", text))
    kept = "".join(letter for letter in letters if letter.isprintable()).strip(" .")
    name = kept.encode()[:MOST_BYTES - 1].decode(errors="ignore").rstrip(" .")
    return (f"_{name}" if _is_reserved(name) else name) or otherwise


def _is_reserved(name: str) -> bool:
    return name.partition(".")[0].strip().upper() in RESERVED


def _shortened(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:60]}…")
