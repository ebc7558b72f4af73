"""Names of temporary files and folders, which say who writes them, and the removal of those whose writer is gone."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

DAY = 24 * 3600.0
"""Seconds after which nobody writes to a temporary file any more, whoever began it."""
_NAME = re.compile(r"\..+?(\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-(?P<start>[0-9a-f]{4}))?\.[0-9a-f]{8}\.tmp")
"""Without a writer, as older versions named them."""
_UNSIGNED = re.compile(r"\..+\.[0-9a-f]{8}\.tmp|\.tmp\w{6}")
"""As older versions and safetensors name them."""
_START = secrets.token_hex(4)[:4]
"""Tells this process from a dead one of the same number."""


def temporary_path(path: Path) -> Path:
    """A new name beside `path`, for a file or folder that is to become it. It starts with a dot and ends in .tmp."""
    start = path.name.encode(errors="ignore")[:100].decode(errors="ignore")  # file systems count a name's bytes
    return path.with_name(f".{start}.{_machine()}-{os.getpid()}-{_START}.{secrets.token_hex(4)}.tmp")


def remove_leftovers(folder: Path, depth: int = 0, alone: bool = False) -> None:
    """Remove temporary files and folders that nobody writes to any more. What cannot be removed stays.

    Gone are writers on this machine that have ended, and all others after a day.

    Args:
        depth: how many levels of folders below it to look into as well; links are not followed.
        alone: whether nobody else writes there, so that a file that does not name its writer is over too.
    """
    with suppress(OSError), os.scandir(folder) as found:
        for entry in found:
            with suppress(OSError):
                match = _NAME.fullmatch(entry.name)
                if match and _is_over(match, entry.stat(follow_symlinks=False).st_mtime):
                    _remove(entry)
                elif alone and not (match and match["machine"]) and _UNSIGNED.fullmatch(entry.name):
                    _remove(entry)
                elif depth and not match and entry.is_dir(follow_symlinks=False):
                    remove_leftovers(Path(entry.path), depth - 1, alone)


def _is_over(match: re.Match[str], changed: float) -> bool:
    if time.time() - changed > DAY:
        return True
    return match["machine"] == _machine() and not _is_running(int(match["process"]), match["start"])


def _is_running(process: int, start: str) -> bool:
    if process == os.getpid():
        return start == _START
    if os.name != "posix":  # elsewhere, asking could end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        return True
    return True


@cache
def _machine() -> str:
    """8 hexadecimal digits for this machine, or for this container: process numbers mean something only within it."""
    try:  # the first space of every Linux has the same number, and machines may have one name
        space = os.readlink("/proc/self/ns/pid") + Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        space = ""
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _remove(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path)
    else:
        os.unlink(entry.path)
