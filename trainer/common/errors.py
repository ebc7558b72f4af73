"""Errors that the user can fix: the value, what is valid, and the remedy, in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can fix. The command line prints it as one line and exits with 2."""


def unknown_name(what: str, value: str, valid: Iterable[str]) -> UserError:
    """The error for a name that is not in a table, with the nearest valid name if one is close."""
    names = sorted(map(str, valid))
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return UserError(f"unknown {what} {value!r}.{hint} Valid: {', '.join(names)}.")
