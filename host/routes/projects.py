"""HTTP routes of a project as a whole. Answers are JSON unless said otherwise; a refusal is {"error": "one line"}.

GET /lora_bootstrap/project/report?name=<project>
    The report of the project as a page by itself (text/html), which is also written as report.html into its folder. It
    loads nothing and runs no script. 404 if there is no such project.

GET /lora_bootstrap/project/archive?name=<project>&state=1
    The project and its runs as a zip, for the same route of another machine; with `state` also the training states of
    unfinished runs. What an import would refuse is left out, and named in the zip's left_out.txt. 404 if there is no
    such project, 400 if it is too large for an archive or for the disk.

Event `lora_bootstrap.archive` {"name", "done": int, "total": int, "problem": str}, to every open tab, while the zip of
a project is written (at most twice a second, and at the end): how many bytes are packed, and of how many, or why it
cannot be packed.

POST /lora_bootstrap/project/archive?file=<name of the file>&wanted=<name for the project>
    The body is such a zip, as application/octet-stream. Nothing is overwritten: without `wanted`, a project whose name
    is taken gets a number.
    {"name", "archived" (its name in the archive), "runs": [folder, ...], "trigger", "tags": [tag, ...], "targets",
     "candidates": [int, ...], "picture": path of the original below output/ | "",
     "warnings": [what is open about the consent of a real person, ...]}
    400 for any other file, or if `wanted` is taken; 413 for a file that is larger than the host's --max-upload-size.

POST /lora_bootstrap/project/notes {"project", "revision", "goal": str, "rounds": {number: str}}
    → {"revision": int}: the goal and the notes of these rounds are saved; either may be left out.
    409 if `revision` is not the latest, 400 for any other body, 404 if there is no such project.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from ...trainer.bootstrap.notebook import FILE, Notebook
from ...trainer.bootstrap.project import ProjectRecord
from ...trainer.bootstrap.report import write_report
from ...trainer.common.errors import UserError
from ...trainer.common.new_files import unnamed_file
from ...trainer.common.revisions import save_change
from ...trainer.records.read_archive import import_project
from ...trainer.records.write_archive import Exported, export_project
from .. import paths
from ..events import tell_archive, tell_project
from .answers import Refusal, aside, get, post, post_file, receive_file
from .views.gallery_view import find_project

BODY = 'the body must be {"project": "…", "revision": 0, "goal": "…", "rounds": {"1": "…"}}.'
ALONE = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; sandbox"
"""A page that loads nothing and runs nothing, whatever a project's texts say."""
_BLOCK = 2**20


@get("/lora_bootstrap/project/report")
async def get_report(request: web.Request) -> web.Response:
    project = await _find(request.query.get("name", ""))

    def make() -> bytes:
        return write_report(ProjectRecord.load(project.folder), paths.output_root()).read_bytes()
    return web.Response(body=await aside(make), content_type="text/html", charset="utf-8",
                        headers={"Content-Security-Policy": ALONE, "Cache-Control": "no-store"})


@get("/lora_bootstrap/project/archive")
async def get_archive(request: web.Request) -> web.StreamResponse:
    project, state = await _find(request.query.get("name", "")), request.query.get("state") == "1"
    with unnamed_file(paths.temp_root() / "project.zip") as temp:
        name = project.folder.name
        done = await aside(lambda: _pack(name, temp, state))
        response = web.StreamResponse()
        response.content_type, response.content_length = "application/zip", done.bytes
        response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name)}.zip"
        await response.prepare(request)
        with suppress(ConnectionError), temp.open("rb") as file:  # a download may be cancelled
            while block := await aside(partial(file.read, _BLOCK)):
                await response.write(block)
            await response.write_eof()
    return response


def _pack(name: str, file: Path, state: bool) -> Exported:
    """Write the archive, and tell every tab how far it is."""
    try:
        done = export_project(paths.output_root(), name, file, state, partial(tell_archive, name))
    except UserError as error:
        tell_archive(name, 0, 0, str(error))
        raise
    tell_archive(name, done.bytes, done.bytes)
    return done


@post_file("/lora_bootstrap/project/archive")
async def post_archive(request: web.Request) -> web.Response:
    file, wanted = request.query.get("file", ""), request.query.get("wanted", "")
    with unnamed_file(paths.projects_root() / "upload") as temp:
        await receive_file(request, temp, file, "start ComfyUI with a larger --max-upload-size, or use lora-bootstrap "
                                                "project import.")
        try:
            done = await aside(lambda: import_project(paths.output_root(), temp, wanted))
        except UserError as error:
            raise UserError(str(error).replace(temp.name, file)) from error
    tell_project(done.name)
    config = (await _find(done.name)).config
    picture = Path(config.picture)
    return web.json_response({
        "name": done.name, "archived": done.archived, "runs": list(done.runs), "warnings": list(done.warnings),
        "trigger": config.trigger,
        "tags": list(config.tags), "targets": list(config.targets), "candidates": list(config.candidates),
        "picture": paths.output_path(picture) if config.picture and paths.inside(paths.output_root(), picture) else ""})


@post("/lora_bootstrap/project/notes")
async def post_notes(body: dict[str, Any]) -> web.Response:
    goal, rounds = body.get("goal"), body.get("rounds", {})
    if not (isinstance(body.get("project"), str) and type(body.get("revision")) is int and isinstance(rounds, dict)
            and isinstance(goal, (str, type(None)))):
        raise Refusal(400, BODY)
    project = await _find(body["project"])

    def change(notebook: Notebook) -> Notebook:
        return notebook.changed(goal, rounds, project.depth)
    saved = await aside(lambda: save_change(project.folder / FILE, Notebook, change, body["revision"]))
    tell_project(project.name)
    return web.json_response({"revision": saved.revision})


async def _find(name: str) -> Any:
    """The project of that name. Raises Refusal if there is none."""
    try:
        return await aside(lambda: find_project(name))
    except UserError as error:
        raise Refusal(404, str(error)) from error
