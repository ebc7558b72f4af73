"""Reads the archive of a project, which may come from a stranger, into an output folder.

Everything is unpacked into hidden temporary folders, checked there, and only then renamed to its place. Nothing that
exists is overwritten: where a name is taken, project and runs get a number, and the names inside are changed likewise.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ..bootstrap.config import MAX_DEPTH, BootstrapConfig
from ..bootstrap.project import RESERVED, ProjectRecord
from ..bootstrap.status import run_names
from ..common.errors import UserError
from ..common.files import make_folder, plain_errors, read_json, sync_folder, write_json
from ..common.leftovers import remove_leftovers, temporary_path
from ..common.locks import locked
from ..common.names import checked_name, with_ending
from ..common.schema import read_record
from ..statements.consent import find_warnings
from ..training.runs import read_run
from .archive import FORM, FORMAT, LEFT_OUT, MANIFEST, PROJECT, REMEDY, RUNS, Archive, find_picture
from .moved import Move
from .zips import unpack


@dataclass(frozen=True)
class Imported:
    """A project that was read from an archive.

    Attributes:
        name: its name here.
        archived: its name in the archive.
        runs: the folders of its runs here.
        warnings: what is open about the consent of a real person.
    """

    name: str
    archived: str
    folder: Path
    files: int
    runs: tuple[str, ...]
    warnings: tuple[str, ...] = ()


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
        names = unpack(file, FORM, stage.place)
        archive = _read_manifest(stage)
        with locked(root / "bootstrap" / "import"):
            move = _choose_names(root, stage, archive.project, wanted)
            _rename_inside(stage, names, move)
            _put_in_place(stage, move)
    folder = root / "bootstrap" / move.project[1]
    return Imported(move.project[1], archive.project, folder, len(names), tuple(move.runs.values()),
                    find_warnings(folder))


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


# -- checking ----------------------------------------------------------------------------------------------------------


def _read_manifest(stage: _Stage) -> Archive:
    """What archive.json says, if the files are those of a project and its runs. Raises UserError otherwise."""
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
        return Move(root, (archived, name), {folder: rename_run(folder, archived, name) for folder in folders})

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


def rename_run(run: str, archived: str, name: str) -> str:
    """The new name of a run, or of its folder. What follows the name that the project gave it stays, such as -2."""
    if archived == name:
        return run
    own, *others = zip(run_names(archived, MAX_DEPTH), run_names(name, MAX_DEPTH), strict=True)
    for old, new in (*others, own):
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
        values["config"]["name"] = rename_run(str(values["config"].get("name", "")), *move.project)
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
