"""Zips that may come from a stranger: the rules for their names, sizes and kinds of files, and how one is unpacked.

A `ZipForm` says what a zip of its form may hold. Nothing else is unpacked: a file of another kind, a link, a name that
leads elsewhere, or more bytes than a file of its kind may have refuse the zip as a whole.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..common.errors import UserError
from ..common.files import plain_errors, sync_file
from ..common.names import checked_name

MOST_FILES = 100_000
MOST_BYTES = 64 * 2**30
"""Bytes of all files together, unpacked."""
MOST_RATIO = 100
"""How many times larger than in the zip a file may be, once it is larger than FREE_RATIO. Images and LoRA files are
stored as they are, and text becomes 30 times smaller at most."""
FREE_RATIO = 2**20
MOST_DEPTH = 5
"""Folders that a name may lead through."""
MOST_DIRECTORY = 32 * 2**20
"""Bytes of the zip's own list of files, which Python reads at once: more than MOST_FILES names need."""
_BLOCK = 2**20
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, OverflowError,
           ValueError)
"""What Python raises for a zip that is damaged, encrypted or packed in a way that it does not know."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        place: matches their whole name in the zip.
        most: bytes that one may have, unpacked.
        check: reads one, and raises UserError if it is not what its name says.
        packed: whether it becomes smaller in a zip.
    """

    place: re.Pattern[str]
    most: int
    check: Callable[[Path], object]
    packed: bool = False

    @classmethod
    def of(cls, place: str, most: int, check: Callable[[Path], object], packed: bool = True) -> Kind:
        """`place` is a regular expression."""
        return cls(re.compile(place), most, check, packed)


@dataclass(frozen=True)
class ZipForm:
    """What zips of one form hold.

    Attributes:
        kinds: of files. Whatever is of none of them is refused.
        manifest: the file that each has.
        holder: what such a zip is, with its article: "the archive".
        owner: what its files belong to: "a project".
        remedy: what to do about one that cannot be used, a sentence.
    """

    kinds: tuple[Kind, ...]
    manifest: str
    holder: str
    owner: str
    remedy: str

    def find_kind(self, name: str) -> Kind | None:
        """The kind of a file of that name; None if such a file does not belong there."""
        return next((kind for kind in self.kinds if kind.place.fullmatch(name)), None)

    def check_file(self, path: Path, name: str) -> None:
        """Raises UserError, with the file's name in the zip, if it is not what that name says."""
        kind = self.find_kind(name)
        if kind is None:
            raise UserError(f"{name} does not belong to {self.owner}.")
        try:
            kind.check(path)
        except UserError as error:
            reason = str(error).replace(str(path), name).replace(str(path.parent), name.rpartition("/")[0])
            raise UserError(reason) from error


def fold_name(name: str) -> str:
    """Equal for names that some file systems do not tell apart."""
    return unicodedata.normalize("NFC", name).casefold()


def is_safe(name: str) -> bool:
    """Whether every part of a name can be a file's or a folder's on any machine, and none leads out of the zip."""
    parts = name.split("/")
    try:
        return len(parts) <= MOST_DEPTH + 1 and all(checked_name(part) == part for part in parts)
    except UserError:
        return False


def list_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """(path, name below the folder) of every plain file, without hidden ones, links, and what links lead to."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(files):
            path = Path(here, name)
            if name[0] != "." and not path.is_symlink() and path.is_file() and name != "lock":
                yield path, path.relative_to(folder).as_posix()


def unpack(file: Path, form: ZipForm, place_of: Callable[[str], Path]) -> list[str]:
    """Unpack all files of a zip, each to the place that `place_of` gives its name, and check each.

    Returns their names. Raises UserError for a zip of another form, or one that is damaged or too large; what was
    unpacked until then stays, and is the caller's to remove.
    """
    names = _unpack_files(file, form, place_of)
    for name in names:
        try:
            form.check_file(place_of(name), name)
        except UserError as error:
            raise UserError(f"{form.holder} cannot be used: {error}") from error
    return names


class _Bounded(io.FileIO):
    """A file of which nobody reads more at once than MOST_DIRECTORY: what a zip says of its own size is not trusted."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, os.fstat(self.fileno()).st_size - self.tell())
        if size > MOST_DIRECTORY:
            raise zipfile.BadZipFile("its list of files is too long")
        return super().read(size) or b""


def _unpack_files(file: Path, form: ZipForm, place_of: Callable[[str], Path]) -> list[str]:
    try:
        with _Bounded(file) as opened, zipfile.ZipFile(opened) as archive:
            kinds = _check_list(archive.infolist(), form)
            left = MOST_BYTES
            for info, kind in kinds.items():
                place = place_of(info.filename)
                with plain_errors("write", place), archive.open(info) as source:
                    left -= _unpack_file(source, info, kind, place, left, form)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}. Check the path.") from error
    except _BROKEN as error:
        raise UserError(f"{file.name} is not a whole zip that can be read ({error}). {form.remedy}") from error
    return [info.filename for info in kinds]


def _check_list(infos: list[zipfile.ZipInfo], form: ZipForm) -> Mapping[zipfile.ZipInfo, Kind]:
    """The kind of each file. Raises UserError for a list of files that nobody has written in this form."""
    if len(infos) > MOST_FILES:
        raise UserError(f"{form.holder} holds {len(infos)} files; {MOST_FILES} are the most. {form.remedy}")
    if not any(info.filename == form.manifest for info in infos):
        raise UserError(f"this is not {form.holder} of {form.owner}: it holds no {form.manifest}. {form.remedy}")
    kinds: dict[zipfile.ZipInfo, Kind] = {}
    seen: set[str] = set()
    for info in infos:
        name = info.filename
        if problem := _entry_problem(info):
            raise UserError(f"{form.holder} holds {name!r}, which is {problem}. {form.remedy}")
        if info.is_dir():
            continue
        kind, folded = form.find_kind(name), fold_name(name)
        if kind is None:
            raise UserError(f"{form.holder} holds {name!r}, which does not belong to {form.owner}. Update the pack if "
                            f"a newer version wrote the zip; otherwise remove it from there. {form.remedy}")
        if folded in seen:
            raise UserError(f"{form.holder} holds {name!r} twice, in letters that some file systems do not tell apart. "
                            f"{form.remedy}")
        seen.add(folded)
        kinds[info] = kind
    return kinds


def _entry_problem(info: zipfile.ZipInfo) -> str:
    """Why an entry of the zip is not read, whatever it holds; "" if it is."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.orig_filename.rstrip("/") != info.filename.rstrip("/") or not is_safe(info.filename.rstrip("/")):
        return "not a name that every machine can hold"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a device, not a file"
    if info.flag_bits & 1:
        return "encrypted"
    return "" if info.compress_type in _METHODS else "packed in a way that is not read here"


def _unpack_file(source: IO[bytes], info: zipfile.ZipInfo, kind: Kind, place: Path, left: int,
                 form: ZipForm) -> int:
    """Write one file; returns its bytes. They are counted as they come: what the zip says of them is not trusted.

    Args:
        left: bytes that may still be written.
    """
    most = min(kind.most, left, max(FREE_RATIO, MOST_RATIO * max(info.compress_size, 1)))
    place.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with open(place, "xb") as target:
        while block := source.read(min(_BLOCK, most + 1 - size)):
            size += len(block)
            if size > most:
                raise UserError(f"{form.holder} holds {info.filename!r}, which unpacks to more than {most / 2**20:.0f} "
                                f"MB, the most for such a file there. {form.remedy}")
            target.write(block)
    sync_file(place)
    return size
