"""Reads JSON values as the types they should have: a dataclass from an object, field by field.

What a file holds may be damaged, or written by another version or by a stranger. Whatever it holds, it is read as what
its hints say, or refused with a UserError that names the file and the field.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import os
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

from .errors import UserError, unknown_name
from .files import read_json

Kind = TypeVar("Kind")
LARGEST = 2**64
"""No seed, size or step is as large. A larger number cannot be computed with as a float."""
_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false",
                          dict: "an object", list: "a list", tuple: "a list"}


def read_record(path: str | os.PathLike[str], kind: type[Kind], problem: str = "cannot be read",
                remedy: str = "Repair or delete it.") -> Kind:
    """The record of this kind in a JSON file, as `typed` makes it. Raises UserError as `read_json` and `typed` do."""
    return typed(read_json(path), kind, path, problem, remedy)


def typed(value: Any, kind: type[Kind], path: str | os.PathLike[str], problem: str = "cannot be read",
          remedy: str = "Repair or delete it.") -> Kind:
    """A JSON value that was read from a file, as `convert` makes it. Raises UserError, naming file and field.

    Args:
        problem: what is wrong with a file that holds something else: "is not a sweep".
    """
    try:
        result: Kind = convert(value, kind, "it")
    except UserError as error:
        raise UserError(f"{os.fspath(path)} {problem}: {error} {remedy}") from error
    return result


def convert(value: Any, kind: Any, name: str = "", *, strict: bool = False) -> Any:
    """A JSON value as the type that a hint names; the value itself where it is of that type already.

    Args:
        kind: int, float, str, bool, dict, list, Any, `X | None`, Literal, list[X], tuple[X, ...], tuple[X, Y],
            Mapping[str, X], or a dataclass whose fields have such hints; fields left out take their defaults. A whole
            number is a float too; true is not a number.
        name: what the value is, as the error calls it.
        strict: refuse fields that a dataclass does not have, instead of leaving them out.

    Raises UserError.
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _build(value, kind, name, strict)
    if reader := _READERS.get(typing.get_origin(kind)):
        return reader(value, typing.get_args(kind), name, strict)
    if kind is float and type(value) is int and abs(value) < LARGEST:
        return float(value)
    if type(value) is not kind:
        raise _wrong(value, name, _WORDS.get(kind, str(kind)))
    if kind is int and abs(value) >= LARGEST:
        raise _wrong(value, name, "a whole number below 2^64")
    if kind is str and not _is_unicode(value):
        raise _wrong(value, name, "a text of whole letters")
    return value


def _is_unicode(text: str) -> bool:
    """Whether it can be written: JSON's escapes can stand for half of a letter in two parts."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _build(value: Any, kind: Any, name: str, strict: bool) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise _wrong(value, name, "a group of settings" if strict else "an object")
    hints = _hints(kind)
    if strict and (unknown := next((key for key in value if key not in hints), None)) is not None:
        raise unknown_name(f"setting in {name}" if name else "setting", unknown, hints)
    missing = [item.name for item in dataclasses.fields(kind) if item.name in hints and item.name not in value
               and item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING]
    if missing:
        raise UserError(f"{name or 'the value'} has no {' and no '.join(map(repr, missing))}.")
    return kind(**{key: convert(value[key], hint, key, strict=strict) for key, hint in hints.items() if key in value})


@lru_cache(maxsize=256)
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    return {item.name: hints[item.name] for item in dataclasses.fields(kind) if item.init}


def _read_list(value: Any, arguments: tuple[Any, ...], name: str, strict: bool) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise _wrong(value, name, f"a list of {_plural(arguments[0])}" if arguments else "a list")
    return [convert(each, arguments[0], f"{name} {number}", strict=strict) for number, each in enumerate(value, 1)]


def _read_tuple(value: Any, arguments: tuple[Any, ...], name: str, strict: bool) -> tuple[Any, ...]:
    if arguments[-1] is Ellipsis:
        return tuple(_read_list(value, arguments[:1], name, strict))
    if not isinstance(value, (list, tuple)) or len(value) != len(arguments):
        raise _wrong(value, name, f"a list of {len(arguments)} values")
    return tuple(convert(each, kind, f"{name} {number}", strict=strict)
                 for number, (each, kind) in enumerate(zip(value, arguments, strict=True), 1))


def _read_mapping(value: Any, arguments: tuple[Any, ...], name: str, strict: bool) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(value, name, "an object")
    return {str(key): convert(each, arguments[1], f"{name} {key!r}", strict=strict) for key, each in value.items()}


def _read_union(value: Any, arguments: tuple[Any, ...], name: str, strict: bool) -> Any:
    if value is None and type(None) in arguments:
        return None
    kinds = [kind for kind in arguments if kind is not type(None)]
    if len(kinds) == 1:
        return convert(value, kinds[0], name, strict=strict)
    for kind in kinds:
        with suppress(UserError):
            return convert(value, kind, name, strict=strict)
    raise _wrong(value, name, " or ".join(_WORDS[typing.get_origin(kind) or kind] for kind in kinds))


def _read_literal(value: Any, arguments: tuple[Any, ...], name: str, strict: bool) -> Any:
    if not any(type(value) is type(choice) and value == choice for choice in arguments):
        raise _wrong(value, name, f"one of {', '.join(map(str, arguments))}")
    return value


_READERS: dict[Any, Callable[[Any, tuple[Any, ...], str, bool], Any]] = {
    list: _read_list, tuple: _read_tuple, dict: _read_mapping, collections.abc.Mapping: _read_mapping,
    types.UnionType: _read_union, typing.Union: _read_union, typing.Literal: _read_literal,
}


def _plural(kind: Any) -> str:
    return {str: "texts", int: "whole numbers", float: "numbers"}.get(kind, "values")


def _wrong(value: Any, name: str, wanted: str) -> UserError:
    return UserError(f"{name or 'the value'} is {reprlib.repr(value)}; it must be {wanted}.")
