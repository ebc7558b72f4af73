"""The one rule for names of runs, projects, sweeps, merges, datasets and edits: what every file system can hold.

Windows refuses some names (https://learn.microsoft.com/windows/win32/fileio/naming-a-file) and macOS writes letters
with accents in another form, so a name that follows the rule can be copied to any of them and stays the same name.
"""

from __future__ import annotations

import hashlib
import reprlib
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
    (bool, "not be empty"),
    (lambda name: not set(name) & SEPARATORS, f"have none of {' '.join(sorted(SEPARATORS))}"),
    (lambda name: not name.startswith("."), "not begin with a dot"),
    (lambda name: name == name.strip() and not name.endswith("."), "not end with a dot, nor begin or end with a space"),
    (str.isprintable, "be printable text, without line breaks or invisible or broken letters"),
    (lambda name: len(name.encode()) <= MOST_BYTES,
     f"be at most {MOST_BYTES} bytes long, which are {MOST_BYTES} Latin or {MOST_BYTES // 3} Japanese letters"),
    (lambda name: not _is_reserved(name), "not be a device of Windows, such as CON or NUL"),
)


def checked_name(text: object, what: str = "name") -> str:
    """The name, in Unicode's composed form (NFC). Raises UserError for one that some file system cannot hold.

    Args:
        what: what it is the name of, as the error calls it: "run".
    """
    name = unicodedata.normalize("NFC", text) if isinstance(text, str) else ""
    for follows, rule in _RULES:
        if not follows(name):
            raise UserError(f"{what} {reprlib.repr(text)} cannot be a folder's or a file's; it must {rule}. Use "
                            "letters, digits, spaces, - and _.")
    return name


def name_from(text: str, otherwise: str) -> str:
    """A valid name made from any text, such as a downloaded file's name: _ stands for what the rule refuses.

    Args:
        otherwise: the name if nothing is left.
    """
    kept = "".join("_" if letter in SEPARATORS or not letter.isprintable() else letter
                   for letter in unicodedata.normalize("NFC", text)).strip(" .")
    return _cut(f"_{kept}" if _is_reserved(kept) else kept, MOST_BYTES) or otherwise


def saved_name(text: str, otherwise: str) -> str:
    """A name that a file holds: what older versions took is kept, what would lead to another folder is not."""
    leads_away = not text or set(text) & SEPARATORS or text.startswith(".") or not text.isprintable()
    return name_from(text, otherwise) if leads_away else text


def with_ending(name: str, ending: str) -> str:
    """A valid name with an ending of its own. If that is too long, the name is cut, and told apart by its hash."""
    if len(f"{name}{ending}".encode()) <= MOST_BYTES:
        return f"{name}{ending}"
    ending = f"-{hashlib.sha256(name.encode()).hexdigest()[:8]}{ending}"
    return _cut(name, MOST_BYTES - len(ending.encode())) + ending


def _cut(name: str, most: int) -> str:
    return name.encode()[:most].decode(errors="ignore").rstrip(" .")


def _is_reserved(name: str) -> bool:
    return name.partition(".")[0].strip().upper() in RESERVED
