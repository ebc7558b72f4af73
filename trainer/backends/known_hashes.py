"""Hashes of large files, remembered in a file of the user's cache folder: a checkpoint of 7 GB is read whole once, not
at every start of every command."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..common.errors import UserError
from ..common.files import file_hash, read_json, user_cache_file, write_json
from ..common.locks import locked
from ..common.schema import convert

LARGE = 32 * 2**20
"""Bytes from which a file's hash is remembered."""
MOST = 500
"""Files that are remembered; those hashed first are forgotten."""
_SETTLED = 2.0
"""Seconds since a file's last change after which no further change can have the same time."""


@dataclass(frozen=True)
class _Known:
    """A file's hash, and how it looked when it was hashed. A file that was copied over it has another ctime."""

    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str


def known_hash(path: Path) -> str:
    """sha256 of a file's bytes, as `file_hash`. A large file is read only if it has changed since any earlier process
    read it. A cache that cannot be read or written does not matter.

    Raises OSError if the file cannot be read.
    """
    status = path.stat()
    if status.st_size < LARGE:
        return file_hash(path)
    cache, name = user_cache_file("hashes.json"), os.path.realpath(path)
    looks = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    known = _read(cache).get(name)
    if known is not None and (known.size, known.mtime_ns, known.ctime_ns) == looks:
        return known.sha256
    digest = file_hash(path)
    if time.time() - max(status.st_mtime, status.st_ctime) > _SETTLED:
        with suppress(OSError, UserError):
            _remember(cache, name, _Known(*looks, digest))
    return digest


def _remember(cache: Path, name: str, known: _Known) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    with locked(cache):
        others = {other: value for other, value in _read(cache).items() if other != name}
        kept = [*others.items(), (name, known)][-MOST:]
        write_json(cache, {other: asdict(value) for other, value in kept})


def _read(cache: Path) -> Mapping[str, _Known]:
    """What is remembered; a damaged record is left out."""
    found: dict[str, _Known] = {}
    with suppress(OSError, UserError):
        for name, value in convert(read_json(cache), dict).items():
            with suppress(UserError):
                found[name] = convert(value, _Known)
    return found
