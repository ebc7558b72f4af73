"""New files whose name nobody else may get meanwhile: a name is taken and filled in one step, never overwritten."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .files import make_folder, plain_errors, sync_file, sync_folder
from .leftovers import temporary_path


def numbered(path: Path) -> Iterator[Path]:
    """`x.png`, `x-2.png`, `x-3.png`, ..."""
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1


def write_new(path: Path, write: Callable[[Path], object],
              is_same: Callable[[Path], bool] = lambda found: False) -> Path:
    """Write a file under the first of the `numbered` names that nobody has; returns its path.

    Whoever writes the same name at the same time gets another one.

    Args:
        write: writes the file to the path it is given.
        is_same: whether a file that already has the name will do; then that file is returned.

    Raises UserError if the file cannot be written.
    """
    with unnamed_file(path) as temp:
        write(temp)
        return next(name for name in numbered(path) if give_name(temp, name) or is_same(name))


@contextmanager
def unnamed_file(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to, for `give_name`; what is left there in the end is removed."""
    temp = temporary_path(path)
    make_folder(path.parent)
    try:
        with plain_errors("write", path):
            yield temp
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)


def give_name(temp: Path, path: Path) -> bool:
    """Rename a complete file, unless something has that name; returns whether it was renamed."""
    try:
        _rename_without_replacing(temp, path)
    except FileExistsError:
        return False
    return True


def _rename_without_replacing(temp: Path, path: Path) -> None:
    if os.name == "nt":
        os.rename(temp, path)
        return
    sync_file(temp)
    try:
        os.link(temp, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        os.replace(temp, path)
    with suppress(OSError):
        temp.unlink(missing_ok=True)
    sync_folder(path.parent)
