"""HTTP routes of the sweep viewer. All answers but images are JSON; a refusal is {"error": "one line"}.

GET /lora_bootstrap/sweeps
    The archive: all sweeps, most recently changed first.
    [{"name", "title", "cells": int (images, each once), "done": int, "failed": int, "changed": seconds since 1970,
      "runs": [names of the runs in it]}, ...]

GET /lora_bootstrap/sweep?name=<sweep's name>
    A whole sweep, read from its folder. 404 if there is none; with &or=null the answer is null instead. {"name",
    "title", "revision": int (of the marks), "axes": [{"name", "choices": [label, ...]}, ...],
     "without": bool (whether there are cells without the LoRA), "sheet": {"rows", "columns"} (axes of the sheet
     where nobody has chosen; "" for none), "shared": {facts that all cells have in common},
     "cells": [{
        "key" (shared by cells whose images must be the same), "at": [int | null, ...] (its position on each axis; null
        on checkpoint and strength for a cell without the LoRA), "state": "done" | "failed" | "missing", "error": str
        (why it failed), "lora", "step", "epoch", "run", "strength", "prompt", "seed" (text if a browser would round
        it), "base" (null if the sweep does not record it), "more": {its other facts that differ from those in
        "shared"}, "full", "thumb" (addresses; null if there is no image)}, ...],
     "scores": null, also if other images were scored | what scores.json says: {"rows": [{"base", "checkpoint",
        "strength" (positions on these axes, 0 if there is none), "label", "likeness", "prompt", "diversity", "copies",
        "burn", "validation", "backgrounds", "artefacts", "by_eye", "score" (number | null), "faults": [str, ...],
        "gates": [str, ...], "verdict": "undertrained" | "good" | "overtrained" | "", "advice"}, ...],
        "recommended": index of a row | null, "why": str, "notes": [str, ...], ...},
     "marks": {"best": {"key"} | null, "hidden": [key, ...], "ratings": {key: {"anatomy" | "skin" | "light": 1 (good) |
        -1 (bad)}}}, "sheets": [address, ...]}

GET /lora_bootstrap/sweep/summary?name=<sweep's name>
    What a node shows of it: its entry in the archive, plus {"latest": [address of a thumbnail, ...] (the images
    drawn last), "sheets": [address of a small one, ...], "recommended": label | "", "why": str}. 404 and
    &or=null as above.

GET /lora_bootstrap/sweep/cell?name=<sweep's name>&key=<key>[&size=thumb]
    The PNG as it is on disk, with its settings inside, or a JPEG of at most 256 pixels a side.
GET /lora_bootstrap/sweep/sheet?name=<sweep's name>&file=grid.png[&size=thumb]
    A labelled sheet as it is on disk, or a JPEG of at most 768 pixels a side.
    The addresses above end in a version (&v=…), the time of the file's last change, so browsers may cache them.

POST /lora_bootstrap/sweep/marks {"name", "revision": int, "best": key | null, "hidden": [key, ...],
    "ratings": as above (left out: those saved stay)}
    → {"revision": int}. 409 if `revision` is not the latest: the answer of GET, plus "error"; nothing is saved.
    400 for any other body, 404 for an unknown sweep or cell.

POST /lora_bootstrap/sweep/promote {"name", "key", "as": str (a file's name; "" or left out: the run's)}
    → {"lora": str (as the host's loaders list it), "strength": float, "revision": int (of the marks), "message": str}
    Copies the cell's LoRA to the host's first LoRA folder that is not in its output folder. An existing file with the
    same content is used as it is, and any other is never overwritten: the copy gets a number. The cell is marked as the
    best, and recorded in the run's folder as picked.json: {"step", "strength", "lora" (file's name), "sweep", "cell",
    "at"}.
    400 for any other body, a cell without a LoRA, or an invalid name; 404 for an unknown sweep or cell; 409 if
    the LoRA is gone, or is no longer the file that the cell was drawn with.

Event `lora_bootstrap.sweep` {"name", "node": id of the user's node, "done": int, "failed": int, "total": int}, to every
open tab, when a cell was drawn (at most twice a second, and at the end).
Event `lora_bootstrap.sweep_marks` {"name", "revision"}, to every open tab, when cells were marked.

The nodes of sweeps send {"sweep": name, "done", "failed", "total"} as the first entry of "lora_bootstrap" in their
output's `ui`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from ...trainer.common.errors import UserError
from ...trainer.common.revisions import StaleRevision
from ...trainer.sweeps.marks import are_ratings
from ..events import tell_marks
from .answers import aside, get, post, refusal
from .views import sweep_view
from .views.sweep_view import LoraChanged

MARKS = 'the body must be {"name": "…", "revision": 0, "best": "…" or null, "hidden": ["…", …], "ratings": {…}}.'
PROMOTE = 'the body must be {"name": "…", "key": "…", "as": "…"}.'
ELSEWHERE = "somebody else has marked cells in the meantime; look at their marks first."
KEPT = {"Cache-Control": "private, max-age=86400"}


@get("/lora_bootstrap/sweeps")
async def get_sweeps(request: web.Request) -> web.Response:
    return web.json_response(await aside(sweep_view.archive))


@get("/lora_bootstrap/sweep")
async def get_sweep(request: web.Request) -> web.Response:
    return await _told(request, sweep_view.sweep_view)


@get("/lora_bootstrap/sweep/summary")
async def get_summary(request: web.Request) -> web.Response:
    return await _told(request, sweep_view.summary)


@get("/lora_bootstrap/sweep/cell")
async def get_cell(request: web.Request) -> web.Response:
    return await _picture(request, sweep_view.cell_image, "key")


@get("/lora_bootstrap/sweep/sheet")
async def get_sheet(request: web.Request) -> web.Response:
    return await _picture(request, sweep_view.sheet, "file")


@post("/lora_bootstrap/sweep/marks")
async def post_marks(body: dict[str, Any]) -> web.Response:
    if not _is_marks(body):
        return refusal(400, MARKS)
    name = body["name"]
    try:
        sweep = await aside(lambda: sweep_view.find_sweep(name))
        revision = await aside(lambda: sweep_view.save_marks(
            sweep, body["revision"], body["best"], body["hidden"], body.get("ratings")))
    except StaleRevision:
        return web.json_response({**await aside(lambda: sweep_view.sweep_view(name)), "error": ELSEWHERE}, status=409)
    except UserError as error:
        return refusal(404, str(error))
    tell_marks(sweep.folder.name, revision)
    return web.json_response({"revision": revision})


@post("/lora_bootstrap/sweep/promote")
async def post_promote(body: dict[str, Any]) -> web.Response:
    wanted = body.get("as", "")
    if not isinstance(wanted, str) or not all(isinstance(body.get(field), str) for field in ("name", "key")):
        return refusal(400, PROMOTE)
    try:
        sweep = await aside(lambda: sweep_view.find_sweep(body["name"]))
        cell = await aside(lambda: sweep_view.find_cell(sweep, body["key"]))
    except UserError as error:
        return refusal(404, str(error))
    try:
        told = await aside(lambda: sweep_view.promote(sweep, cell, wanted.strip()))
    except LoraChanged as error:
        return refusal(409, str(error))
    except UserError as error:
        return refusal(400, str(error))
    tell_marks(sweep.folder.name, told["revision"])
    return web.json_response(told)


async def _told(request: web.Request, view: Callable[[str], Any]) -> web.Response:
    name = request.query.get("name", "")
    try:
        return web.json_response(await aside(lambda: view(name)))
    except UserError as error:
        return web.json_response(None) if request.query.get("or") == "null" else refusal(404, str(error))


async def _picture(
    request: web.Request, read: Callable[[str, str, bool], tuple[bytes, str]], which: str
) -> web.Response:
    query = request.query
    asked = query.get("name", ""), query.get(which, ""), query.get("size") == "thumb"
    try:
        data, kind = await aside(lambda: read(*asked))
    except UserError as error:
        return refusal(404, str(error))
    return web.Response(body=data, content_type=kind, headers=KEPT)


def _is_marks(body: dict[str, Any]) -> bool:
    return (isinstance(body.get("name"), str) and type(body.get("revision")) is int
            and "best" in body and isinstance(body["best"], str | None) and isinstance(body.get("hidden"), list)
            and all(isinstance(key, str) for key in body["hidden"])
            and ("ratings" not in body or are_ratings(body["ratings"])))
