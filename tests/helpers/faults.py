"""Kills and full disks at the n-th change of a folder, inside the test's own process.

Python announces opening for writing, renaming, linking, removing and making folders to audit hooks before they happen.
A process that is killed does nothing more, so after a kill every later change is refused as well.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass

CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


@dataclass
class Fault:
    """What happens at change number `at` (from 0) below `folder`: a kill, or an error of the system."""

    folder: str
    at: int
    error: int | None
    count: int = 0


_armed: list[Fault] = []


def _watch(event, arguments):
    if not _armed or event not in CHANGES and not _opens_for_writing(event, arguments):
        return
    fault = _armed[-1]
    paths = [os.fspath(path) for path in arguments if isinstance(path, (str, os.PathLike))]
    if not any(not os.path.isabs(path) or path.startswith(fault.folder) for path in paths):
        return
    number, fault.count = fault.count, fault.count + 1
    if fault.error is None and number >= fault.at >= 0:
        raise Killed
    if number == fault.at:
        raise OSError(fault.error, os.strerror(fault.error), paths[0])


def _opens_for_writing(event, arguments):
    return event == "open" and bool((arguments[2] or 0) & WRITING)


sys.addaudithook(_watch)


@contextmanager
def fault_at(folder, at=-1, error=None):
    """Kill at change number `at` below the folder, or fail it with this errno; -1 only counts. Yields the Fault."""
    fault = Fault(os.fspath(folder), at, error)
    _armed.append(fault)
    try:
        yield fault
    except Killed:
        pass
    finally:
        _armed.remove(fault)


def fault_points(folder, action, prepare):
    """(change, errno or None for a kill) for every change that `action` makes after `prepare`."""
    prepare()
    with fault_at(folder) as counted:
        action()
    assert counted.count > 0
    return [(at, error) for at in range(counted.count) for error in (None, errno.ENOSPC)]
