"""Writes a project and its runs into one zip, file by file, so that memory holds a part of one file at a time."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from ..statements.consent import find_warnings
from .archive import FORM, FORMAT, LEFT_OUT, MANIFEST, PROJECT, RUNS, Archive, find_picture
from .moved import without_machine
from .zips import MOST_BYTES, MOST_FILES, fold_name, is_safe, list_files

STATE = "state"
REPORT = "report.html"
Tell = Callable[[int, int], None]
"""Is told how many bytes are packed, and of how many, after each file."""


Needed = Callable[[str], bool]
"""Whether a name in the archive is wanted there."""


@dataclass(frozen=True)
class Exported:
    """A written archive.

    Attributes:
        runs: the folders of the runs in it.
        left_out: name of a file, or of a run's folder, that is not in it → why.
        warnings: what is open about the consent of a real person.
    """

    file: Path
    files: int
    bytes: int
    runs: tuple[str, ...]
    left_out: Mapping[str, str]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Part:
    """A folder that is packed.

    Attributes:
        place: its name in the archive.
        without: names of files and folders in it that are not packed.
        is_needed: whether a name in the archive is packed.
    """

    folder: Path
    place: str
    without: tuple[str, ...]
    is_needed: Needed

    def files(self) -> Iterator[tuple[Path, str]]:
        """(path, name below the folder) of every file that is packed."""
        return ((path, inner) for path, inner in list_files(self.folder)
                if inner.partition("/")[0] not in self.without and self.is_needed(f"{self.place}/{inner}"))


def export_project(root: Path, name: str, file: Path, state: bool = False,
                   tell: Tell = lambda done, total: None, is_needed: Needed = lambda name: True) -> Exported:
    """Write an archive of a project and its runs. What an import would refuse is left out.

    Args:
        root: the output folder, with `bootstrap/` and `loras/` in it.
        state: also the training states of unfinished runs, which are several times as large as their LoRA.
        is_needed: what is packed, for one who needs a part of it. A run is left out without its run.json.

    Raises UserError if the project does not exist, if an import would refuse it for its size, if the disk has no space
    for it, or if the archive cannot be written.
    """
    root = Path(os.path.abspath(root))
    folder = root / "bootstrap" / checked_name(name, "project")
    project = Project.load(folder)
    record = _Part(folder, PROJECT, ("project.json", REPORT), is_needed)
    runs = [_Part(run, f"{RUNS}/{run.name}", () if state else (STATE,), is_needed)
            for run in project_runs(project, root / "loras") if is_needed(f"{RUNS}/{run.name}/run.json")]
    total = _check_totals([record, *runs], project.name, file)
    with atomic_path(file) as temp, zipfile.ZipFile(temp, "w", strict_timestamps=False) as archive:
        writer = _Writer(archive, root, (folder.name, checked_name(project.name, "project")), total, tell)
        writer.put_text(MANIFEST, asdict(Archive(FORMAT, project.name, state)))
        writer.put_record(folder)
        writer.put_folder(record)
        kept = tuple(run.folder.name for run in runs if writer.put_run(run))
        if writer.left_out:
            lines = [f"{name}: {reason}\n" for name, reason in writer.left_out.items()]
            archive.writestr(LEFT_OUT, "".join(lines).encode(errors="replace"), zipfile.ZIP_STORED)
        files = len(archive.namelist())
    return Exported(file, files, file.stat().st_size, kept, writer.left_out, find_warnings(folder))


def _check_totals(parts: Sequence[_Part], name: str, file: Path) -> int:
    """The bytes of all files that belong into the archive, unpacked. Raises UserError if an import would refuse so
    much, or if the disk of the archive has less space."""
    sizes = [path.stat().st_size for part in parts for path, inner in part.files()
             if FORM.find_kind(f"{part.place}/{inner}")]
    total = sum(sizes)
    if len(sizes) > MOST_FILES or total > MOST_BYTES:
        raise UserError(f"project {name!r} has {len(sizes)} files with {_in_gb(total)}; an archive may have "
                        f"{MOST_FILES} files with {_in_gb(MOST_BYTES)}. Delete candidates or checkpoints that you no "
                        "longer need.")
    free = shutil.disk_usage(file.parent).free if file.parent.is_dir() else total
    if total > free:
        raise UserError(f"project {name!r} needs {_in_gb(total)}, and {file.parent} has {_in_gb(free)} left. Free some "
                        "space, or use lora-bootstrap project export with a file on another disk.")
    return total


def _in_gb(size: int) -> str:
    return f"{size / 2**30:.1f} GB"


class _Writer:
    """Puts files into an archive, and notes which are left out and why.

    Args:
        project: (its folder, its name).
        total: bytes of all files.
    """

    def __init__(self, archive: zipfile.ZipFile, root: Path, project: tuple[str, str], total: int,
                 tell: Tell) -> None:
        self.archive, self.root, self.project = archive, root, project
        self._done, self._total, self._tell = 0, total, tell
        self.left_out: dict[str, str] = {}
        self._seen: set[str] = set()

    def put_run(self, run: _Part) -> bool:
        """Whether the run can be read from an archive, and is in it now."""
        if problem := self._find_problem(run.folder / "run.json", f"{run.place}/run.json"):
            self.left_out[run.folder.name] = problem
            return False
        self.put_folder(run)
        return True

    def put_folder(self, part: _Part) -> None:
        for path, inner in part.files():
            if problem := self._put_file(path, f"{part.place}/{inner}"):
                self.left_out[f"{part.folder.name}/{inner}"] = problem
            else:
                self._done = min(self._total, self._done + path.stat().st_size)
                self._tell(self._done, self._total)

    def _put_file(self, path: Path, name: str) -> str:
        """Why the file is left out; "" if it is in the archive now."""
        if problem := self._find_problem(path, name):
            return problem
        self._seen.add(fold_name(name))
        try:
            if name.startswith(f"{PROJECT}/grid/") and path.suffix == ".json" or name.endswith("/run.json"):
                self.put_text(name, without_machine(read_json(path), self.root, self.project))
            else:
                kind = FORM.find_kind(name)
                self.archive.write(path, name, zipfile.ZIP_DEFLATED if kind and kind.packed else zipfile.ZIP_STORED)
        except FileNotFoundError as error:
            raise UserError(f"{path} was removed while the archive was written. Export again once the workflow has "
                            "ended.") from error
        return ""

    def _find_problem(self, path: Path, name: str) -> str:
        """Why an import would refuse the file under that name; "" if it would not."""
        kind = FORM.find_kind(name)
        if kind is None:
            return "it does not belong to a project"
        if not is_safe(name):
            return "its name is too long, or has letters that some machines do not allow; rename it"
        if fold_name(name) in self._seen:
            return "another file has the same name but for upper and lower case; rename one of them"
        try:
            if path.stat().st_size > kind.most:
                return f"it is larger than {kind.most / 2**20:.0f} MB"
            FORM.check_file(path, name)
        except UserError as error:
            return str(error)
        except OSError as error:
            return f"it cannot be read ({error.strerror})"
        return ""

    def put_text(self, name: str, value: Any) -> None:
        self.archive.writestr(name, json.dumps(value, indent=2, ensure_ascii=False) + "\n", zipfile.ZIP_DEFLATED)

    def put_record(self, folder: Path) -> None:
        """project.json without paths of this machine, and the original image, if it lies somewhere else."""
        file, name = folder / "project.json", f"{PROJECT}/project.json"
        if problem := self._find_problem(file, name):
            raise UserError(f"the project cannot be exported: {problem}")
        picture = find_picture(folder)
        if picture is None or self._find_problem(picture, f"{PROJECT}/{picture.name}"):
            self._put_original(ProjectRecord.load(folder))
        values = without_machine(read_json(file), self.root, self.project)
        values["settings"]["picture"] = ""  # an import sets it
        self.put_text(name, values)

    def _put_original(self, record: ProjectRecord) -> None:
        if picture := _find_original(record):
            self._put_file(picture, f"{PROJECT}/picture{picture.suffix.lower()}")


def _find_original(record: ProjectRecord) -> Path | None:
    """The image that the settings name, if it is still the project's."""
    path = Path(str(record.settings.get("picture") or ""))
    with suppress(UserError, OSError):
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and (
                pixel_hash(open_image(path)) == record.picture_hash):
            return path
    return None
