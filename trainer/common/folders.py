"""Folders that are filled as a whole and replaced as a whole, and from which nobody else's file is ever deleted.

A new folder is filled beside the old one, takes its place by two renames, and the old one is removed last. `made.json`
in it records which files were written, by their hashes. Whatever else lies there stays there, or, if it is in the way,
goes to `kept/` beside the folder. A swap that was interrupted is completed before the folder is next filled or read.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError
from .files import file_hash, plain_errors, read_json, sync_folder, write_json
from .locks import locked

RECORD = "made.json"
"""Written into a folder once it is complete: what it was filled from, and its files."""
KEPT = "kept"
_NEW, _OLD = "new", "old"


def is_filled(folder: Path, key: str) -> bool:
    """Whether the folder was filled completely from exactly these inputs."""
    finish_swap(folder)
    return (folder / RECORD).is_file() and _read_record(folder).get("key") == key


@contextmanager
def fill_folder(folder: Path, key: str) -> Iterator[Path]:
    """Yields an empty folder to fill, which then takes the place of `folder`.

    Files in `folder` that were not written by an earlier filling, or were changed since, are kept. Until the new folder
    is complete, the old one stays as it is. Raises UserError if the disk is full or the folder cannot be written to.
    """
    folder = folder.resolve()
    with locked(folder):
        new = _beside(folder, _NEW)
        try:
            with plain_errors("write", folder):
                _settle(folder)
                new.mkdir(parents=True)
                yield new
                write_json(new / RECORD, {"key": key, "files": {name: file_hash(new / name) for name in _names(new)}})
                _carry_over(folder, new)
                _swap(new, folder)
        finally:
            with suppress(OSError):
                _settle(folder)


def empty_folder(folder: Path) -> None:
    """Remove the folder and what was filled into it; other files are moved to `kept/`. Raises UserError if it cannot
    be removed."""
    folder = folder.resolve()
    if not (folder / RECORD).is_file():  # nothing was filled in
        return
    with locked(folder), plain_errors("remove", folder):
        _settle(folder)
        old = _beside(folder, _OLD)
        os.rename(folder, old)
        _retire(old, folder)


def finish_swap(folder: Path) -> None:
    """Complete what an interrupted filling left, if it left the folder without its files."""
    folder = folder.resolve()
    if not folder.exists() and _parts(folder, _OLD):
        with locked(folder), suppress(OSError):
            _settle(folder)


def _settle(folder: Path) -> None:
    """Complete or undo an interrupted swap, and remove what it left. Only the lock's holder may do that."""
    new, old = _parts(folder, _NEW), _parts(folder, _OLD)
    if not folder.exists() and old:
        complete = [part for part in new if (part / RECORD).is_file()]
        os.rename((complete or old)[-1], folder)
    for part in (*new, *old):
        if part.is_dir():
            with suppress(OSError):  # what cannot be removed now is removed at the next filling
                _retire(part, folder)


def _swap(new: Path, folder: Path) -> None:
    if not folder.exists():
        os.rename(new, folder)
        return
    old = _beside(folder, _OLD)
    os.rename(folder, old)
    try:
        os.rename(new, folder)
    except OSError:
        os.rename(old, folder)
        raise
    sync_folder(folder.parent)


def _carry_over(folder: Path, new: Path) -> None:
    """Give the new folder the old one's files that nobody filled in, unless it has files with these names.

    Nothing is carried over where an older record does not say which files those are: they would be used twice.
    """
    recorded = _recorded(folder)
    for name in _names(folder) if recorded or not (folder / RECORD).is_file() else ():
        source, target = folder / name, new / name
        if name not in recorded and name != RECORD and not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(source, target)


def _link(source: Path, target: Path) -> None:
    """A second name for a file; a copy where the file system has no such thing."""
    try:
        os.link(source, target, follow_symlinks=False)
    except (OSError, NotImplementedError):
        shutil.copy2(source, target, follow_symlinks=False)


def _retire(part: Path, folder: Path) -> None:
    """Remove a part of a swap: its own files, and those that `folder` has too. Others go to `kept/`."""
    if part.name.endswith(_NEW) and not (part / RECORD).is_file():
        shutil.rmtree(part)  # nothing was carried over into it yet
        return
    recorded = _recorded(part)
    for name in _names(part):
        if name == RECORD:
            continue
        if _is_same(part / name, folder / name) or _is_own(part / name, recorded.get(name)):
            (part / name).unlink()
        else:
            _keep(part / name, folder.parent / KEPT / folder.name / name)
    for empty in [here for here, _, _ in os.walk(part, topdown=False)][:-1]:
        os.rmdir(empty)
    (part / RECORD).unlink(missing_ok=True)  # last, because it says which files may be removed
    os.rmdir(part)


def _is_same(path: Path, other: Path) -> bool:
    if path.is_symlink() or other.is_symlink():  # where they lead to may be removed already
        return path.is_symlink() and other.is_symlink() and os.readlink(path) == os.readlink(other)
    return other.is_file() and (os.path.samefile(path, other) or file_hash(path) == file_hash(other))


def _is_own(path: Path, recorded: str | None) -> bool:
    return recorded is not None and not path.is_symlink() and file_hash(path) == recorded


def _keep(path: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    target, number = place, 2
    while os.path.lexists(target):
        target, number = place.with_name(f"{place.stem}-{number}{place.suffix}"), number + 1
    os.rename(path, target)


def _recorded(folder: Path) -> Mapping[str, str]:
    """Name → hash of the files that were filled in; {} if the record does not say, as those of older versions."""
    with suppress(UserError):
        files = _read_record(folder).get("files")
        return files if isinstance(files, dict) else {}
    return {}


def _read_record(folder: Path) -> Mapping[str, object]:
    values = read_json(folder / RECORD) if (folder / RECORD).is_file() else {}
    return values if isinstance(values, dict) else {}


def _names(folder: Path) -> list[str]:
    """All files and links below the folder, in a fixed order. Links to folders are not followed."""
    found = []
    for here, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]
        found += [Path(here, name).relative_to(folder).as_posix() for name in (*files, *links)]
    return sorted(found)


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.{kind}")


def _parts(folder: Path, kind: str) -> list[Path]:
    pattern = f".{folder.name}."
    return sorted(path for path in folder.parent.glob(f".*.{kind}")
                  if path.name.startswith(pattern) and len(path.name) == len(pattern) + 9 + len(kind))
