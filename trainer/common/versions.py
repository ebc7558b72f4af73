"""Versions of libraries, for keys of what they have computed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """The version of each library; "" for one that is not installed."""
    return {name: _version(name) for name in names}


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""
