"""Reads the archive of a project, which may come from a stranger, into an output folder.

Everything is unpacked into hidden temporary folders, checked there, and only then renamed to its place. Nothing that
exists is overwritten: where a name is taken, project and runs get a number, and the names inside are changed likewise.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO

from ..bootstrap.config import MAX_DEPTH, BootstrapConfig
from ..bootstrap.project import RESERVED, ProjectRecord
from ..bootstrap.status import style_run
from ..common.errors import UserError
from ..common.files import make_folder, plain_errors, read_json, sync_file, sync_folder, write_json
from ..common.leftovers import remove_leftovers, temporary_path
from ..common.locks import locked
from ..common.names import checked_name, with_ending
from ..common.schema import read_record
from ..training.runs import read_run
from .archive import (
    FORMAT,
    FREE_RATIO,
    LEFT_OUT,
    MANIFEST,
    MOST_BYTES,
    MOST_FILES,
    MOST_RATIO,
    PROJECT,
    RUNS,
    Archive,
    Kind,
    check_file,
    find_kind,
    find_picture,
    fold_name,
    is_safe,
)
from .moved import Move

MOST_DIRECTORY = 32 * 2**20
"""Bytes of the zip's own list of files, which Python reads at once: more than MOST_FILES names need."""
_BLOCK = 2**20
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, OverflowError,
           ValueError)
"""What Python raises for a zip that is damaged, encrypted or packed in a way that it does not know."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
REMEDY = "Export the project again."


@dataclass(frozen=True)
class Imported:
    """A project that was read from an archive.

    Attributes:
        name: its name here.
        archived: its name in the archive.
        runs: the folders of its runs here.
    """

    name: str
    archived: str
    folder: Path
    files: int
    runs: tuple[str, ...]


@dataclass(frozen=True)
class _Stage:
    """The temporary folders into which an archive is unpacked, each on the disk of the place where its files go."""

    project: Path
    runs: Path

    def place(self, name: str) -> Path:
        first, _, rest = name.partition("/")
        return self.runs / rest if first == RUNS else self.project / (rest if first == PROJECT else first)


def import_project(root: Path, file: Path, name: str = "") -> Imported:
    """Read a project and its runs from an archive.

    Args:
        root: the output folder, with `bootstrap/` and `loras/` in it.
        name: the project's name here; "": as in the archive, or the first free one with a number.

    Raises UserError if `name` is taken, or for an archive that is damaged, too large, or holds anything else than the
    files of one project. Then nothing was written.
    """
    root = Path(os.path.abspath(root))
    wanted = checked_name(name, "project") if name else ""
    with _staged(root) as stage:
        names = _unpack(file, stage)
        archive = _check_files(stage, names)
        with locked(root / "bootstrap" / "import"):
            move = _choose_names(root, stage, archive.project, wanted)
            _rename_inside(stage, names, move)
            _put_in_place(stage, move)
    return Imported(move.project[1], archive.project, root / "bootstrap" / move.project[1], len(names),
                    tuple(move.runs.values()))


@contextmanager
def _staged(root: Path) -> Iterator[_Stage]:
    places = root / "bootstrap", root / "loras"
    for place in places:
        make_folder(place)
        remove_leftovers(place)
    stage = _Stage(*(temporary_path(place / "import") for place in places))
    try:
        for folder in (stage.project, stage.runs):
            make_folder(folder)
        yield stage
    finally:
        for folder in (stage.project, stage.runs):
            shutil.rmtree(folder, ignore_errors=True)


# -- unpacking ---------------------------------------------------------------------------------------------------------


class _Bounded(io.FileIO):
    """A file of which nobody reads more at once than MOST_DIRECTORY: what a zip says of its own size is not trusted."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, os.fstat(self.fileno()).st_size - self.tell())
        if size > MOST_DIRECTORY:
            raise zipfile.BadZipFile("its list of files is too long")
        return super().read(size) or b""


def _unpack(file: Path, stage: _Stage) -> list[str]:
    """Unpack all files into the stage; returns their names. Raises UserError."""
    try:
        with _Bounded(file) as opened, zipfile.ZipFile(opened) as archive:
            kinds = _check_list(archive.infolist())
            left = MOST_BYTES
            for info, kind in kinds.items():
                place = stage.place(info.filename)
                with plain_errors("write", place), archive.open(info) as source:
                    left -= _unpack_file(source, info, kind, place, left)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror or error}. Check the path.") from error
    except _BROKEN as error:
        raise UserError(f"{file.name} is not a whole zip that can be read ({error}). {REMEDY}") from error
    return [info.filename for info in kinds]


def _check_list(infos: list[zipfile.ZipInfo]) -> Mapping[zipfile.ZipInfo, Kind]:
    """The kind of each file. Raises UserError for a list of files that no export has written."""
    if len(infos) > MOST_FILES:
        raise UserError(f"the archive holds {len(infos)} files; {MOST_FILES} are the most. {REMEDY}")
    if not any(info.filename == MANIFEST for info in infos):
        raise UserError(f"this is not the archive of a project: it holds no {MANIFEST}. {REMEDY}")
    kinds: dict[zipfile.ZipInfo, Kind] = {}
    seen: set[str] = set()
    for info in infos:
        name = info.filename
        if problem := _entry_problem(info):
            raise UserError(f"the archive holds {name!r}, which is {problem}. {REMEDY}")
        if info.is_dir():
            continue
        kind, folded = find_kind(name), fold_name(name)
        if kind is None:
            raise UserError(f"the archive holds {name!r}, which does not belong to a project. Remove it from the zip, "
                            "or export the project again.")
        if folded in seen:
            raise UserError(f"the archive holds {name!r} twice, in letters that some file systems do not tell apart. "
                            f"{REMEDY}")
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


def _unpack_file(source: IO[bytes], info: zipfile.ZipInfo, kind: Kind, place: Path, left: int) -> int:
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
                raise UserError(f"the archive holds {info.filename!r}, which unpacks to more than {most / 2**20:.0f} "
                                f"MB, the most for such a file in this archive. {REMEDY}")
            target.write(block)
    sync_file(place)
    return size


# -- checking ----------------------------------------------------------------------------------------------------------


def _check_files(stage: _Stage, names: list[str]) -> Archive:
    """What archive.json says, once every file is what its name says. Raises UserError otherwise."""
    for name in names:
        try:
            check_file(stage.place(name), name)
        except UserError as error:
            raise UserError(f"the archive cannot be used: {error}") from error
    archive = read_record(stage.project / MANIFEST, Archive)
    for name in (MANIFEST, LEFT_OUT):
        stage.place(name).unlink(missing_ok=True)
    if archive.format != FORMAT:
        raise UserError(f"the archive has format {archive.format}; {FORMAT} is the one that is read here. Update the "
                        "pack, or export the project with this version.")
    if not (stage.project / "project.json").is_file():
        raise UserError(f"this is not the archive of a project: it holds no {PROJECT}/project.json. {REMEDY}")
    for folder in _run_folders(stage):
        if not (folder / "run.json").is_file():
            raise UserError(f"the archive holds {RUNS}/{folder.name} without its run.json. {REMEDY}")
    checked_name(archive.project, "project")
    if BootstrapConfig.from_dict(ProjectRecord.load(stage.project).settings).name != archive.project:
        raise UserError(f"{MANIFEST} and project.json name different projects. {REMEDY}")
    return archive


def _run_folders(stage: _Stage) -> list[Path]:
    return sorted(path for path in stage.runs.iterdir() if path.is_dir())


# -- names and places --------------------------------------------------------------------------------------------------


def _choose_names(root: Path, stage: _Stage, archived: str, wanted: str) -> Move:
    """Names that nobody has here. Raises UserError if the wanted one is taken."""
    folders = [folder.name for folder in _run_folders(stage)]
    taken = {place: {entry.casefold() for entry in os.listdir(root / place)} for place in ("bootstrap", "loras")}

    def move_to(name: str) -> Move:
        return Move(root, (archived, name), {folder: _rename_run(folder, archived, name) for folder in folders})

    def is_free(move: Move) -> bool:
        folded = [run.casefold() for run in move.runs.values()]
        return move.project[1].casefold() not in taken["bootstrap"] | set(RESERVED) and len(set(folded)) == len(
            folded) and not taken["loras"] & set(folded)

    start = wanted or archived
    moves = (move_to(start if number == 1 else with_ending(start, f"-{number}")) for number in count(1))
    free = next(filter(is_free, moves))
    if wanted and free.project[1] != wanted:
        raise UserError(f"project {wanted!r}, or a run of it, exists already and was left unchanged. Choose another "
                        f"name, such as {free.project[1]}.")
    return free


def _rename_run(run: str, archived: str, name: str) -> str:
    """The new name of a run, or of its folder. What follows the name that the project gave it stays, such as -2."""
    if archived == name:
        return run
    given = {style_run(archived, number): style_run(name, number) for number in range(1, MAX_DEPTH + 1)}
    for old, new in {**given, archived: name}.items():
        if run == old or run.startswith(f"{old}-"):
            return with_ending(new, run.removeprefix(old))
    return with_ending(name, f"-{run}")


def _rename_inside(stage: _Stage, names: list[str], move: Move) -> None:
    """Write the new names and this machine's paths into the files that hold them."""
    record = stage.project / "project.json"
    values = move(read_json(record))
    picture, place = find_picture(stage.project), move.root / "bootstrap" / move.project[1]
    values["settings"] |= {"name": move.project[1], "picture": str(place / picture.name) if picture else ""}
    write_json(record, values)
    for name in names:
        if name.startswith(f"{PROJECT}/grid/") and name.endswith(".json"):
            write_json(stage.place(name), move(read_json(stage.place(name))))
    for folder in _run_folders(stage):
        values = move(read_json(folder / "run.json"))
        values["stem"] = read_run(folder).stem  # its files keep their names
        values["config"]["name"] = _rename_run(str(values["config"].get("name", "")), *move.project)
        write_json(folder / "run.json", values)


def _put_in_place(stage: _Stage, move: Move) -> None:
    """Rename all folders to their places, the project last; or none, if one of them cannot be."""
    for staged in (stage.runs, stage.project):
        for folder, _, _ in os.walk(staged):
            sync_folder(Path(folder))  # all names in it must reach the disk before its own does
    steps = [(stage.runs / old, move.root / "loras" / new) for old, new in move.runs.items()]
    steps.append((stage.project, move.root / "bootstrap" / move.project[1]))
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in steps:
            with plain_errors("write", target):
                os.rename(source, target)
            done.append((source, target))
    except UserError:
        for source, target in reversed(done):
            with suppress(OSError):
                os.rename(target, source)
        raise
    for place in ("loras", "bootstrap"):
        sync_folder(move.root / place)
