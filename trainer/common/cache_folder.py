"""The folder of latents and text embeddings that all runs of one place share, and what is removed from it.

It lies beside the folder of the runs, whose own folder a host may search for LoRA files. Above a limit, the entries
that were used longest ago are removed. Each user holds the lock of a file of its own, which says since when it has been
there: what was used since then may be in use, and stays. If that alone reaches the limit, or the disk is nearly full,
further entries are held in RAM.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path

from .errors import UserError
from .files import is_disk_full, make_folder, plain_errors
from .locks import locked, try_lock, unlock
from .tensor_cache import ENTRY_NAME, TensorCache

MOST = 20 * 2**30
"""Bytes that the entries may take,"""
SHARE = 0.5
"""and the part of what is free, themselves included, that they may take."""
RESERVE = 2 * 2**30
"""Bytes of the disk that are left free, for LoRA files and training states."""
REFUSALS = 3
"""Entries in a row that the system refuses to write, after which no more are tried."""
_USERS = ".users"
_ENDING = ".lock"


def folder_beside(root: Path) -> Path:
    """The folder that the runs in `root` share: `.loras-cache` beside `loras`."""
    root = Path(os.path.abspath(root))
    return root.with_name(f".{root.name}-cache") if root.name else root / ".cache"


class SharedCache(TensorCache):
    """The entries in a folder that other processes may use at the same time. Close it, so that others may remove what
    it used.

    Attributes:
        trouble: why entries cannot be saved in the folder, so that they are held in RAM; "" if they can.
    """

    def __init__(self, folder: Path, held: int | None = 0, most: int = MOST) -> None:
        """
        Args:
            held: as of TensorCache.
            most: bytes that all entries together may take.
        """
        super().__init__(folder, held)
        self.place, self.most, self.trouble = folder, most, ""
        self._bytes, self._refused = -1, 0
        self._mark: FileIO | None = None
        try:
            make_folder(folder / _USERS)
            with locked(folder / _USERS):
                self._mark = _marked(folder / _USERS / f"{secrets.token_hex(8)}{_ENDING}")
        except UserError as error:
            self.trouble = str(error)

    def close(self) -> None:
        """Say that nothing here is in use any more. What is still read or stored afterwards is as safe as before."""
        if self._mark is not None:
            unlock(self._mark)
            self._mark.close()
            with suppress(OSError):  # whoever found it unlocked has removed it
                os.unlink(self._mark.name)
            self._mark = None

    def trim(self) -> bool:
        """Remove what was used longest ago until the limit is kept. Whether anything was removed."""
        with suppress(OSError, UserError):
            self._bytes = self._size()
            return self._remove(self._limit(shutil.disk_usage(self.place).free))
        return False

    def _save(self, path: Path, data: bytes) -> bool:
        if self.trouble or not self._fits(len(data)):
            return False
        try:
            super()._save(path, data)
        except UserError as error:
            full = is_disk_full(error)
            if full and self._make_room():
                return self._save(path, data)
            self._refused += 1
            if full or self._refused >= REFUSALS:
                self.trouble = str(error)
            return False
        self._bytes, self._refused = self._bytes + len(data), 0
        return True

    def _limit(self, free: int) -> int:
        """Bytes that the entries may take, with so many bytes free on the disk."""
        return min(self.most, int(SHARE * (free + self._bytes)), free + self._bytes - RESERVE)

    def _fits(self, size: int) -> bool:
        """Whether so many bytes more may be written, once what is not in use has made room for them. If not, `trouble`
        says so."""
        try:
            if self._bytes < 0:
                self._bytes = self._size()
            free = shutil.disk_usage(self.place).free
            if self._bytes + size > self._limit(free):
                self._bytes = self._size()  # other processes write and remove too
                limit = self._limit(free)
                self._remove(limit - max(size, limit // 16))  # some more, so that not every entry counts them all
                free = shutil.disk_usage(self.place).free
        except (OSError, UserError):
            return True  # writing finds out
        if self._bytes + size > self._limit(free):
            taken, left, most, reserve = (f"{count / 2**30:.{digits}f} GB" for count, digits in (
                (self._bytes, 1), (free, 1), (self.most, 0), (RESERVE, 0)))
            self.trouble = (f"{self.place} takes {taken}, all of it in use, and {left} are free there. Free some "
                            f"space: the cache takes at most {most} and {SHARE:.0%} of what is free, and leaves "
                            f"{reserve} for LoRA files and training states.")
        return not self.trouble

    def _make_room(self) -> bool:
        with suppress(OSError, UserError):
            return self._remove(self._size() // 2)
        return False

    def _size(self) -> int:
        return sum(status.st_size for _, status in _entries(self.place))

    def _remove(self, limit: int) -> bool:
        """Remove what was used longest ago until `limit` bytes are left, except what is in use."""
        with locked(self.place / _USERS):
            since = min(_starts(self.place / _USERS), default=float("inf"))
        # without the lock, for which others wait: whoever comes meanwhile may miss an entry, and makes it again
        found = sorted(_entries(self.place), key=lambda entry: entry[1].st_mtime)
        self._bytes, removed = sum(status.st_size for _, status in found), False
        for path, status in found:
            if self._bytes <= limit or status.st_mtime >= since:
                break
            with suppress(OSError):  # Windows removes no open file
                os.unlink(path)
                self._bytes, removed = self._bytes - status.st_size, True
        return removed


def _entries(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as found:
        for entry in found:
            if ENTRY_NAME.fullmatch(entry.name):
                with suppress(FileNotFoundError):  # another process removed it
                    yield entry.path, entry.stat()


def _marked(path: Path) -> FileIO:
    """A new file, open and locked. Raises UserError."""
    with plain_errors("write", path):
        file = open(path, "xb", buffering=0)  # noqa: SIM115 (kept open)
    try_lock(file)
    return file


def _starts(users: Path) -> list[float]:
    """When each user came that is still there; the files of dead ones are removed."""
    starts = []
    for path in users.glob(f"*{_ENDING}"):
        with suppress(OSError):
            with open(path, "r+b", buffering=0) as file:
                if not try_lock(file):
                    starts.append(path.stat().st_mtime)
                    continue
                unlock(file)
            path.unlink()  # closed before, as Windows removes no open file
    return starts
