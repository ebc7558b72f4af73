"""HTTP routes of the tag editor. All answers but images are JSON; a refusal is {"error": "one line"}.

GET /lora_bootstrap/dataset?id=<dataset id>
    The dataset that a node of that id was last run with, its captions including changes by hand. 404 if there is
    none: the node must be run once (again, after a restart of the server).
    {"id", "name": str (the images' folder), "editable": bool (false: the node has no name for its changes), "revision":
     int,
     "pictures": [{"id", "name": str (file), "caption": str, "tags": [str, ...], "thumb": "/lora_bootstrap/thumb?id=…&
      picture=…", "width", "height" (pixels of the image), "place": str (as Load Image takes it; "" if it does not find
      it, or the image is a part of one)}, ...]} in the dataset's order, each image once.

POST /lora_bootstrap/dataset/captions {"id", "revision", "changes": [{"picture", "caption"}, ...]}
    → {"revision": int}: the changes are saved, and are used by the next Run of the node. The .txt
    files are left unchanged. A caption set back to what the node's rules make of it no longer counts as changed.
    409 if `revision` is not the latest, because somebody else has saved: the answer of GET, plus "error", and
    nothing is saved. 400 for any other body, 404 for an unknown dataset or image, or one that is not editable.

POST /lora_bootstrap/dataset/copy {"from": name, "to": name}
    → {"edits": int}: the changes by hand that are saved under one name are also saved under a new one (as
    web/tags/names.js makes it), for a copy of the node. Nothing is changed if there is something under that name.
    400 for any other body or name.

GET /lora_bootstrap/thumb?id=<dataset id>&picture=<picture id>
    A JPEG of at most 256 pixels a side; its address identifies its content, so browsers may cache it.

A node that can be edited sends {"dataset": id, "revision", "pictures": int, "changed": int (captions changed by hand)}
as the first entry of "lora_bootstrap" in its output's `ui`.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ...trainer.common.errors import UserError
from ...trainer.common.revisions import StaleRevision
from ..editors import EditableDataset
from ..session import current_session
from .answers import aside, get, post, refusal
from .views.tag_view import dataset_view, picture_thumbnail

BODY = 'the body must be {"id": "…", "revision": 0, "changes": [{"picture": "…", "caption": "…"}, …]}.'


@get("/lora_bootstrap/dataset")
async def get_dataset(request: web.Request) -> web.Response:
    id = request.query.get("id", "")
    try:
        return web.json_response(await aside(lambda: dataset_view(_find(id))))
    except UserError as error:
        return refusal(404, str(error))


@post("/lora_bootstrap/dataset/captions")
async def post_captions(body: dict[str, Any]) -> web.Response:
    asked = _changes(body)
    if asked is None:
        return refusal(400, BODY)
    id, revision, captions = asked
    try:
        saved = await aside(lambda: current_session().editors.change(id, revision, captions))
    except StaleRevision:
        newer = await aside(lambda: dataset_view(_find(id)))
        return web.json_response({**newer, "error": "somebody else has changed captions since; look at them first."},
                                 status=409)
    except UserError as error:
        return refusal(404, str(error))
    return web.json_response({"revision": saved.revision})


@post("/lora_bootstrap/dataset/copy")
async def post_copy(body: dict[str, Any]) -> web.Response:
    source, target = body.get("from"), body.get("to")
    if not isinstance(source, str) or not isinstance(target, str):
        return refusal(400, 'the body must be {"from": "…", "to": "…"}.')
    return web.json_response({"edits": await aside(lambda: current_session().editors.copy(source, target))})


@get("/lora_bootstrap/thumb")
async def get_thumb(request: web.Request) -> web.Response:
    id, picture = request.query.get("id", ""), request.query.get("picture", "")
    try:
        data = await aside(lambda: picture_thumbnail(_find(id), picture))
    except UserError as error:
        return refusal(404, str(error))
    return web.Response(body=data, content_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})


def _find(id: str) -> EditableDataset:
    return current_session().editors.find(id)


def _changes(body: dict[str, Any]) -> tuple[str, int, dict[str, str]] | None:
    """(dataset id, revision, caption by picture), or None if the body is not that."""
    id, revision, changes = body.get("id"), body.get("revision"), body.get("changes")
    if not isinstance(id, str) or type(revision) is not int or not isinstance(changes, list) or not all(
            isinstance(change, dict) and isinstance(change.get("picture"), str)
            and isinstance(change.get("caption"), str) for change in changes):
        return None
    return id, revision, {change["picture"]: change["caption"] for change in changes}
