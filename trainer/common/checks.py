"""Checks of settings: the value, and what is valid."""

from __future__ import annotations

import typing

from .errors import UserError, unknown_name


def check(condition: bool, name: str, value: object, valid: str) -> None:
    if not condition:
        raise UserError(f"{name} is {value!r}; it must be {valid}.")


def check_choice(name: str, value: str, valid: typing.Iterable[str]) -> None:
    if value not in valid:
        raise unknown_name(name, value, valid)
