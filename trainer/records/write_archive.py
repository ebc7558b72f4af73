"""Writes a project and its runs into one zip, file by file, so that memory holds a part of one file at a time."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..bootstrap.project import ProjectRecord
from ..bootstrap.rounds import Project
from ..bootstrap.status import project_runs
from ..common.errors import UserError
from ..common.files import atomic_path, read_json
from ..common.names import checked_name
from ..pictures.images import IMAGE_SUFFIXES, open_image, pixel_hash
from .archive import FORMAT, MANIFEST, PROJECT, RUNS, Archive, find_kind, is_safe
from .moved import ROOT, without_machine

STATE = "state"
REPORT = "report.html"


@dataclass(frozen=True)
class Exported:
    """A written archive.

    Attributes:
        runs: the folders of the runs in it.
        left_out: names of files that do not belong into an archive, below the project or a run.
    """

    file: Path
    files: int
    bytes: int
    runs: tuple[str, ...]
    left_out: tuple[str, ...]


def export_project(root: Path, name: str, file: Path, state: bool = False) -> Exported:
    """Write an archive of a project and its runs.

    Args:
        root: the output folder, with `bootstrap/` and `loras/` in it.
        state: also the training states of unfinished runs, which are several times as large as their LoRA.

    Raises UserError if there is no such project, or the archive cannot be written.
    """
    root = Path(os.path.abspath(root))
    folder = root / "bootstrap" / checked_name(name, "project")
    project = Project.load(folder)
    runs = project_runs(project, root / "loras")
    left_out: list[str] = []
    with atomic_path(file) as temp, zipfile.ZipFile(temp, "w", strict_timestamps=False) as archive:
        _put_text(archive, MANIFEST, asdict(Archive(FORMAT, project.name, state)))
        _put_record(archive, folder, root)
        for part, place in ((folder, PROJECT), *((run, f"{RUNS}/{run.name}") for run in runs)):
            for path, inner in _list_files(part):
                if inner not in ("project.json", REPORT) and (state or not inner.startswith(f"{STATE}/")):
                    if not _put_file(archive, path, f"{place}/{inner}", root):
                        left_out.append(f"{part.name}/{inner}")
        files = len(archive.namelist())
    return Exported(file, files, file.stat().st_size, tuple(run.name for run in runs), tuple(left_out))


def _list_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """(path, name below the folder) of every plain file, without hidden ones, links, and what links lead to."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(files):
            path = Path(here, name)
            if name[0] != "." and not path.is_symlink() and path.is_file() and name != "lock":
                yield path, path.relative_to(folder).as_posix()


def _put_file(archive: zipfile.ZipFile, path: Path, name: str, root: Path) -> bool:
    """Whether the file belongs into an archive, and is in it now."""
    kind = find_kind(name)
    if kind is None or not is_safe(name):
        return False
    try:
        if name.startswith(f"{PROJECT}/grid/") and path.suffix == ".json" or name.endswith("/run.json"):
            _put_text(archive, name, without_machine(read_json(path), root))
        else:
            archive.write(path, name, zipfile.ZIP_DEFLATED if kind.packed else zipfile.ZIP_STORED)
    except FileNotFoundError as error:
        raise UserError(f"{path} was removed while the archive was written. Export again once the workflow has "
                        "ended.") from error
    return True


def _put_text(archive: zipfile.ZipFile, name: str, value: Any) -> None:
    archive.writestr(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n", zipfile.ZIP_DEFLATED)


def _put_record(archive: zipfile.ZipFile, folder: Path, root: Path) -> None:
    """project.json without paths of this machine, and the original image, if it lies somewhere else."""
    values, record = read_json(folder / "project.json"), ProjectRecord.load(folder)
    picture = next((path for path in sorted(folder.glob("picture.*")) if path.suffix.lower() in IMAGE_SUFFIXES), None)
    name = picture.name if picture else ""
    elsewhere = _find_original(record) if picture is None else None
    if elsewhere is not None:
        name = f"picture{elsewhere.suffix.lower()}"
        archive.write(elsewhere, f"{PROJECT}/{name}", zipfile.ZIP_STORED)
    values["settings"]["picture"] = f"{ROOT}bootstrap/{folder.name}/{name}" if name else ""
    _put_text(archive, f"{PROJECT}/project.json", without_machine(values, root))


def _find_original(record: ProjectRecord) -> Path | None:
    """The image that the settings name, if it is still the project's."""
    path = Path(str(record.settings.get("picture") or ""))
    with suppress(UserError, OSError):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and (
                pixel_hash(open_image(path)) == record.picture_hash):
            return path
    return None
