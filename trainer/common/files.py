"""Writes files so that no reader ever finds half of one, even after a crash, a kill, or a full disk.

A temporary file in the same folder is flushed to the disk, then gets the final name in one step by `os.replace`.
Whatever the system refuses becomes a UserError of one line: the path, what the system said, and what is kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import UserError
from .leftovers import temporary_path

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)
_NOT_OFFERED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_NOT_OFFERED_FOR_FOLDERS = (*_NOT_OFFERED, errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR)
"""What file systems answer that cannot flush a folder (CIFS, 9p, vboxsf, some of FUSE). The file is in place then."""
_REMEDIES = {
    errno.EIO: "Check the disk.", errno.ENAMETOOLONG: "Choose a shorter name.", errno.EMFILE: "Close other programs.",
    errno.ENFILE: "Close other programs.", errno.ESTALE: "Mount the folder again.",
    **dict.fromkeys((errno.EBUSY, errno.ETXTBSY, errno.EINTR, errno.EAGAIN, errno.ETIMEDOUT), "Try again."),
}


@contextmanager
def atomic_path(path: str | os.PathLike[str], *, flush: bool = True) -> Iterator[Path]:
    """Yields a temporary path to write to; it becomes `path` on success and is removed on failure.

    Without `flush`, it may be lost or damaged with the power, which whoever reads it must notice.

    The folder is created if it is missing. The temporary name starts with a dot and ends in `.tmp`, so no search for
    `*.png` finds it, and writers that choose their format by suffix need it explicitly (`image.save(temp,
    format="PNG")`). Raises UserError for whatever the system refuses; anything else passes through.
    """
    path = Path(path)
    temp = temporary_path(path)
    make_folder(path.parent)
    try:
        with plain_errors("write", path):
            os.close(os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            yield temp
            if flush:
                sync_file(temp)
            os.replace(temp, path)
    except BaseException:
        with suppress(OSError):
            temp.unlink()
        raise
    if flush:
        sync_folder(path.parent)  # the new name itself must reach the disk


@contextmanager
def plain_errors(what: str, path: Path) -> Iterator[None]:
    """Makes whatever the system refuses meanwhile a UserError of one line. Other errors pass through.

    Args:
        what: what is done with the path: "write".
    """
    try:
        yield
    except Exception as error:
        number = _system_error(error)
        if number is None:
            raise
        raise (_disk_full(path) if number in _DISK_FULL else _refusal(what, path, number)) from error


def is_disk_full(error: UserError) -> bool:
    """Whether an error of `plain_errors` came from a full disk or quota."""
    return error.__cause__ is not None and _system_error(error.__cause__) in _DISK_FULL


def _refusal(what: str, path: Path, number: int) -> UserError:
    kept = "it is as it was before" if os.path.lexists(path) else "nothing was written"
    remedy = _REMEDIES.get(number, "Choose a folder you can write to.")
    return UserError(f"cannot {what} {path}: {os.strerror(number)}; {kept}. {remedy}")


def make_folder(path: Path) -> None:
    """Create a folder, and those above it, if they are missing. Raises UserError if the system refuses."""
    missing = [folder for folder in (path, *path.parents) if not os.path.isdir(folder)]
    with plain_errors("make the folder", path):
        path.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def sync_file(path: Path) -> None:
    """Flush a file to the disk. Raises OSError if the disk fails."""
    _sync(path, os.O_RDWR, _NOT_OFFERED)


def sync_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where that can be done. Raises UserError if the disk fails."""
    if os.name != "posix":  # other systems cannot open folders
        return
    try:
        _sync(folder, os.O_RDONLY, _NOT_OFFERED_FOR_FOLDERS)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise _disk_full(folder) from error
        raise UserError(f"cannot flush {folder} to the disk: {error.strerror}; what was just written there may be lost "
                        "with the power. Check the disk.") from error


def move_file(path: Path, target: Path) -> None:
    """Give a file another name. Raises UserError if the system refuses."""
    with plain_errors("rename", path):
        os.replace(path, target)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there. Raises UserError if the system refuses."""
    with plain_errors("remove", path):
        path.unlink(missing_ok=True)


def atomic_write(path: str | os.PathLike[str], data: bytes, *, flush: bool = True) -> None:
    """Write all of `data` to `path`, or leave the old file; `flush` as of `atomic_path`, which says what is raised."""
    with atomic_path(path, flush=flush) as temp:
        temp.write_bytes(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a page or table as UTF-8, with ? for what is not Unicode, such as bytes in a file's name. Raises UserError
    as `atomic_path` does."""
    atomic_write(path, text.encode(errors="replace"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write readable UTF-8 JSON. Paths become strings, and numpy or torch numbers become plain numbers.

    Raises UserError as `atomic_path` does, and for text that is not Unicode, such as half of a letter in two parts.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain) + "\n"
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        around = text[max(error.start - 20, 0):error.end + 20]
        raise UserError(f"{path} was not written: {around!r} has a letter that is not Unicode. Retype it, or rename "
                        "the file that it comes from.") from error
    atomic_write(path, data)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value in a JSON file. Raises UserError if it cannot be read or is not JSON."""
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', error)}.") from error
    return parse_json(data, path)


def parse_json(data: bytes | str, where: object) -> Any:
    """The value of a JSON text. Raises UserError, naming where it was, if it is not JSON or is nested too deep."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not valid JSON ({error}). Repair or delete it.") from error


def file_hash(path: str | os.PathLike[str]) -> str:
    """sha256 of a file's bytes, in hexadecimal. It is read again only if its size or modification time has changed.

    Raises OSError if it cannot be read.
    """
    status = os.stat(path)
    return _file_hash(os.fspath(path), status.st_mtime_ns, status.st_size)


def user_cache_file(name: str) -> Path:
    """$XDG_CACHE_HOME/lora-bootstrap/<name>, by default under ~/.cache: for what can be found out again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache") / "lora-bootstrap" / name


def _home() -> Path:
    """The user's home; the folder of temporary files for a user without one, as in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(tempfile.gettempdir())


@lru_cache(maxsize=65536)
def _file_hash(path: str, mtime_ns: int, size: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path, flags: int, ignored: tuple[int, ...]) -> None:
    try:
        handle = os.open(path, flags)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in ignored:
            raise


def _system_error(error: BaseException) -> int | None:
    """The system's number of an error; None for an error of another kind."""
    if isinstance(error, OSError):
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))  # safetensors reports it only in its text
    return int(told[1]) if told else None


def _disk_full(path: Path) -> UserError:
    folder = next((parent for parent in (path, *path.parents) if parent.is_dir()), Path(path.anchor or "."))
    free = shutil.disk_usage(folder).free / 2**20
    return UserError(f"the disk is full: {path} was not written; {free:.1f} MB are free there. "
                     "Free some space, or choose another folder.")


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
