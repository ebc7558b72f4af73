"""Locks between processes and threads, which the system frees when their holder dies.

A file system without locks (some network mounts) must not stop anything: there, every lock is taken at once.
"""

from __future__ import annotations

import errno
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from .errors import UserError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PATIENCE = 30.0
"""Seconds that `locked` waits for whoever changes the file, which takes milliseconds."""
_PAUSE = 0.002
_HELD = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK)
_LOCKED_BYTE = 1 << 20
"""Windows denies reading a locked byte, so the locked one lies behind any text in the file."""
_THREADS: dict[str, threading.Lock] = {}
"""By lock file: the threads of this process exclude each other also where the file system has no locks."""


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep every other process and thread out while a file is read, changed and written back. Not to be nested.

    The lock is a hidden file beside it, which goes when the lock is given back. Raises UserError if somebody else holds
    the lock for longer than PATIENCE.
    """
    path = Path(path)
    lock = path.with_name(f".{path.name}.lock")
    end = time.monotonic() + PATIENCE
    thread = _THREADS.setdefault(os.path.abspath(lock), threading.Lock())
    if not thread.acquire(timeout=PATIENCE):
        raise _busy(path)
    try:
        file = _take_current(lock, path, end)
        try:
            yield
        finally:
            if file is not None:
                with suppress(OSError):  # Windows removes no open file: there it stays, and is used again
                    lock.unlink()
                unlock(file)
                file.close()
    finally:
        thread.release()


def try_lock(file: IO[Any], *, shared: bool = False, patience: float = 0.0) -> bool:
    """Whether an open file's lock was taken; it is tried again for `patience` seconds.

    Args:
        shared: several may hold it so at once, but nobody beside one who holds it alone. Windows knows no such lock.
    """
    end = time.monotonic() + patience
    while not _take(file, shared):
        if time.monotonic() >= end:
            return False
        time.sleep(_PAUSE)
    return True


def unlock(file: IO[Any]) -> None:
    """Give an open file's lock back; closing the file does so too."""
    with suppress(OSError):
        if sys.platform == "win32":
            file.seek(_LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_UN)


def _take_current(lock: Path, path: Path, end: float) -> IO[Any] | None:
    """The lock file, open and locked; None where no such file can be made, so that nobody can write there either."""
    while True:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            file = open(lock, "ab", buffering=0)  # noqa: SIM115 (closed by the caller)
        except OSError:
            return None
        if not try_lock(file, patience=end - time.monotonic()):
            file.close()
            raise _busy(path)
        if _leads_to(lock, file):
            return file
        if time.monotonic() >= end:  # a mount where what is written cannot be read back yet
            return file
        file.close()  # its last holder has removed it: others lock the next one


def _leads_to(lock: Path, file: IO[bytes]) -> bool:
    """Whether the path still leads to the open file. Written and read, as some mounts number no file twice alike."""
    holder = f"{os.getpid()} {secrets.token_hex(8)}".encode()
    try:
        file.truncate(0)
        file.write(holder)
        return os.path.samestat(os.fstat(file.fileno()), os.stat(lock)) or lock.read_bytes() == holder
    except FileNotFoundError:
        return False
    except OSError:  # a full disk must not keep anybody from, say, removing what fills it
        return True


def _take(file: IO[Any], shared: bool) -> bool:
    try:
        if sys.platform == "win32":
            file.seek(_LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _HELD
    return True


def _busy(path: Path) -> UserError:
    return UserError(f"{path} is being changed by another program for {PATIENCE:.0f} seconds already; nothing was "
                     "saved. Try again, or end the other program.")
