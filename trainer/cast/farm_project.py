"""The project whose round a farm draws, on each server: the desk's own folder if both share it, or a copy that is sent.

A copy holds what drawing that round needs, and is named after its contents. It overwrites nothing, and a later command
finds the copy that it needs, with what was drawn there.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import tempfile
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from ..bootstrap.candidates import Lineage
from ..bootstrap.repairs import list_wished
from ..bootstrap.rounds import REFERENCE, Project
from ..common.files import plain_errors, read_json
from ..common.leftovers import temporary_path
from ..common.names import with_ending
from ..pictures.images import IMAGE_SUFFIXES
from ..records.archive import MANIFEST, PROJECT, RUNS
from ..records.write_archive import Needed, export_project
from .comfy_host import ComfyHost, HostFailed
from .farm_graph import RoundGraph

ARCHIVE = "/lora_bootstrap/project/archive"
WHOLE_FOLDERS = ("crops", "originals")
RECORD = "project.json"
_ANY_LORA = re.compile(r"[^/]+\.safetensors")
_FINAL = re.compile(r"(?!.*-(?:step\d+|average[\d-]+)\.safetensors)[^/]+\.safetensors")


@dataclass
class SentProject:
    """Finds or sends the project on each server. Close it at the end.

    Attributes:
        root: the desk's output folder.
    """

    root: Path
    project: Project
    number: int
    graph: RoundGraph
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _temporary: tempfile.TemporaryDirectory[str] | None = None
    _packed: tuple[Path, str] | None = None

    def name_on(self, host: ComfyHost) -> str:
        """The project's name on a server, which has it afterwards. Raises HostFailed if the server refuses it."""
        if self._is_shared(host):
            return self.project.folder.name
        with self._lock:
            file, name = self._packed = self._packed or self._pack()
        if not _has_project(host, name):
            try:
                host.send_file(f"{ARCHIVE}?{urlencode({'file': file.name, 'wanted': name})}", file)
            except HostFailed:
                if not _has_project(host, name):  # another server with the same folder may have taken it meanwhile
                    raise
        return name

    def close(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

    def _is_shared(self, host: ComfyHost) -> bool:
        """Whether the server has the desk's own folder: it can read a file there that has just been written."""
        token, file = secrets.token_bytes(16), temporary_path(self.project.folder / "farm")
        try:
            with plain_errors("write", file):
                file.write_bytes(token)
            return host.file(f"bootstrap/{self.project.folder.name}", file.name) == token
        finally:
            file.unlink(missing_ok=True)

    def _pack(self) -> tuple[Path, str]:
        """(the archive, the name that its contents give it)."""
        self._temporary = tempfile.TemporaryDirectory(prefix="lora-bootstrap-farm-")
        file = Path(self._temporary.name) / "project.zip"
        export_project(self.root, self.project.folder.name, file, is_needed=needed_for(
            self.project, self.number, self.graph))
        return file, with_ending(self.project.name, f"-farm-{_digest(self.project, file)}")


def _has_project(host: ComfyHost, name: str) -> bool:
    return host.file(f"bootstrap/{name}", RECORD) is not None


def _digest(project: Project, file: Path) -> str:
    """8 hexadecimal digits of all that the archive brings. project.json also has times, which do not count."""
    with zipfile.ZipFile(file) as archive:
        rows = sorted((entry.filename, entry.file_size, entry.CRC) for entry in archive.infolist()
                      if entry.filename not in (MANIFEST, f"{PROJECT}/{RECORD}"))
    values = read_json(project.folder / RECORD)
    settings = {**values["settings"], "picture": "", "picture_hash": values["picture_hash"]}
    return hashlib.sha256(json.dumps([rows, settings], sort_keys=True).encode()).hexdigest()[:8]


def needed_for(project: Project, number: int, graph: RoundGraph) -> Needed:
    """What of a project's archive the drawing of round `number` needs: what was kept and decided in the rounds before,
    what is to be drawn again, and the runs that are loaded."""
    wanted = {f"{path.parent.parent.name}/candidates/{path.stem}" for path in _needed_images(project, number)}

    def is_needed(name: str) -> bool:
        place, _, inner = name.partition("/")
        folder, _, rest = inner.partition("/")
        if place == RUNS:
            return folder in graph.runs and (rest == "run.json" or bool(_FINAL.fullmatch(rest)) or (
                not graph.only_final and (rest == "metrics.jsonl" or bool(_ANY_LORA.fullmatch(rest)))))
        if folder in WHOLE_FOLDERS or folder == "rights.json" or _is_picture(folder):
            return True
        if folder == f"round_{number}":
            return rest == "again.json" or inner.rpartition(".")[0] in wanted
        before = re.fullmatch(r"round_([0-9])", folder)
        return before is not None and REFERENCE < int(before[1]) < number and (
            rest in ("decisions.json", "picks.json") or rest.startswith("dataset/")
            or inner.rpartition(".")[0] in wanted)
    return is_needed


def _is_picture(name: str) -> bool:
    return name.startswith("picture.") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def _needed_images(project: Project, number: int) -> list[Path]:
    """The candidates that were kept before, those of this round that are drawn again, and one that tells that an
    earlier version began it."""
    if number == REFERENCE:
        return []
    here = project.round(number)
    kept = [item.path for before in range(1, number) for item in project.round(before).list_kept()]
    again = {wished.wish.candidate for wished in list_wished(here)}
    earlier = [path for path in here.list_candidates() if not Lineage.read(path).wording][:1]
    return [*kept, *(path for path in here.pictures() if path.stem in again), *earlier]
