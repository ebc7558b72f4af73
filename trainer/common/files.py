"""Writes files so that no reader ever finds half of one, even after a crash, a kill, or a full disk.

A temporary file in the same folder is flushed to the disk, then gets the final name in one step by `os.replace`.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import UserError

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path to write to; it becomes `path` on success and is removed on failure.

    The folder is created if it is missing. The temporary name starts with a dot and ends in `.tmp`, so no search for
    `*.png` finds it, and writers that choose their format by suffix need it explicitly (`image.save(temp,
    format="PNG")`). Raises UserError if the disk is full or the folder cannot be written to; anything else passes
    through.
    """
    path = Path(path)
    start = path.name.encode()[:100].decode(errors="ignore")  # file systems count a name's bytes
    temp = path.with_name(f".{start}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise _disk_full(path, error) or UserError(
            f"cannot write {path}: {error.strerror}. Choose a folder you can write to.") from error
    try:
        yield temp
        _sync(temp, os.O_RDWR)
        os.replace(temp, path)
    except BaseException as error:
        with suppress(OSError):
            temp.unlink()
        if full := _disk_full(path, error):
            raise full from error
        raise
    if os.name == "posix":  # the new name itself must reach the disk; other systems cannot open folders
        _sync(path.parent, os.O_RDONLY)


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write all of `data` to `path`, or leave the old file. Raises UserError as `atomic_path` does."""
    with atomic_path(path) as temp:
        temp.write_bytes(data)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write readable UTF-8 JSON. Paths become strings, and numpy or torch numbers become plain numbers."""
    atomic_write(path, (json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n").encode())


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file. Raises UserError if it cannot be read or is not JSON."""
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}). Repair or delete it.") from error


def file_hash(path: str | os.PathLike[str]) -> str:
    """sha256 of a file's bytes, in hexadecimal. It is read again only if its size or modification time has changed.

    Raises OSError if it cannot be read.
    """
    status = os.stat(path)
    return _file_hash(os.fspath(path), status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=65536)
def _file_hash(path: str, mtime_ns: int, size: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _disk_full(path: Path, error: BaseException) -> UserError | None:
    # safetensors reports the system's error only in its text.
    if getattr(error, "errno", None) not in _DISK_FULL and "(os error 28)" not in str(error):
        return None
    folder = next((parent for parent in path.parents if parent.exists()), Path(path.anchor or "."))
    free = shutil.disk_usage(folder).free / 2**20
    return UserError(f"the disk is full: {path} was not written; {free:.1f} MB are free there. "
                     "Free some space, or choose another folder.")


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
