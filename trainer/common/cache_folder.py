"""The folder of latents and text embeddings that all runs of one place share, and what is removed from it.

It lies beside the folder of the runs, whose own folder a host may search for LoRA files. Above a limit, the entries
that were used longest ago are removed. Each user holds the lock of a file of its own, which says since when it has been
there: what was used since then may be in use, and stays.
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
from .files import make_folder, plain_errors
from .locks import locked, try_lock, unlock
from .tensor_cache import ENTRY_NAME, TensorCache

MOST = 20 * 2**30
"""Bytes that the entries may take,"""
SHARE = 0.5
"""and the part of what is free, themselves included, that they may take."""
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
            most: bytes that `trim` leaves at most, except what is in use.
        """
        super().__init__(folder, held)
        self.place, self.most, self.trouble = folder, most, ""
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
            with suppress(OSError):  # Windows removes no open file
                os.unlink(self._mark.name)
            unlock(self._mark)
            self._mark.close()
            self._mark = None

    def trim(self) -> bool:
        """Remove what was used longest ago until the limit is kept. Whether anything was removed."""
        with suppress(OSError, UserError):
            return self._remove(min(self.most, int(SHARE * (shutil.disk_usage(self.place).free + self._size()))))
        return False

    def _save(self, path: Path, data: bytes) -> bool:
        if self.trouble:
            return False
        try:
            return super()._save(path, data)
        except UserError as error:
            if self._make_room():
                return self._save(path, data)
            self.trouble = str(error)
            return False

    def _make_room(self) -> bool:
        with suppress(OSError, UserError):
            return self._remove(self._size() // 2)
        return False

    def _size(self) -> int:
        return sum(status.st_size for _, status in _entries(self.place))

    def _remove(self, limit: int) -> bool:
        with locked(self.place / _USERS):
            since = min(_starts(self.place / _USERS), default=float("inf"))
            found = sorted(_entries(self.place), key=lambda entry: entry[1].st_mtime)
            size, removed = sum(status.st_size for _, status in found), False
            for path, status in found:
                if size <= limit or status.st_mtime >= since:
                    break
                with suppress(OSError):  # Windows removes no open file
                    os.unlink(path)
                    size, removed = size - status.st_size, True
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
        with suppress(OSError), open(path, "r+b", buffering=0) as file:
            if try_lock(file):
                unlock(file)
                path.unlink()
            else:
                starts.append(path.stat().st_mtime)
    return starts
