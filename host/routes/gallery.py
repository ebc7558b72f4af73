"""HTTP routes of the gallery and of a project. All answers but images are JSON; a refusal is {"error": "one line"}.

GET /lora_bootstrap/project?name=<project's name>
    Where a project stands, read from its folder. 404 if there is none; with &or=null the answer is null instead (for a
    page that only checks, because browsers log every 404 as an error).
    {"name", "trigger", "tags": [str, ...], "base": str, "targets": [int, ...], "stopped_because": str,
     "stages": [{"name", "title", "state": "done" | "next" | "later", "text": str}, ...], "next": str (what the next Run
     will do, one line), "warnings": [str, ...] (tags that may have the wrong role),
     "roles": {"identity": [tag, ...] (the character's), "view": [tag, ...] (only this image's), "dropped": [...]},
     "goal": str, "round_notes": {number: str}, "notes_revision": int (what a person wrote down: projects.py),
     "crops": [{"name", "caption", "thumb"}, ...],
     "rounds": [{"round", "kept", "candidates", "drift", "diversity", "base_diversity", "burn", "likeness",
      "tag_recall", "mark", "real_share"}, ...] (figures; null where not measured)}

GET /lora_bootstrap/candidates?project=<name>&round=<number from 1>
    The images to choose from in a round, and what is known about them. 404 if there is no such project or round; with
    &or=null the answer is null instead.
    {"project", "round", "revision": int, "target": int (images to train on, including the crops), "eye": str (what
     measured likeness; "" if it was not measured), "notes": [str, ...], "figures": {as in "rounds" above} | null,
     "measured": [name, ...] (the candidates that the figures are of),
     "again": [{"id", "name", "candidate", "seed", "prompt": str ("" for the same), "strength": float | null}, ...]
      (the images that the next Run draws again: what each is called, and of which candidate it is),
     "crops": [{"name", "caption", "thumb", "full"}, ...] (of the original; they count as kept),
     "quotas": {axis: {tag: int, ...}, ...} (how many of the kept images should show it),
     "candidates": [{
        "name", "round" (the round it was drawn in), "carried": bool (kept in an earlier round), "proposed": bool,
        "reason": str (why it is proposed or not), "scores": {name: number, ...} (only what was measured: likeness,
        tag_recall, mark, novelty, sharpness_z, burn_z, trait_colours), "twins": int | null (near copies share one),
        "view": {axis: tag}, "prompt": str, "tags": [str, ...] (its caption's, before changes by hand), "seed",
        "lora": str, "strength": float, "curve": str (how the strength changes over the steps; "" if it does not),
        "generator": str (what drew it, for people; "" where that is not known),
        "reference": str (name of the image that was edited; "" for none), "again_of", "repaired_from":
        str (names of the candidates that it was drawn again of, and repaired from; "" for none),
        "width", "height" (pixels), "thumb", "full" (addresses),
        "pick": {"state": "" | "keep" | "reject", "tags": [str, ...] | null, "crop": [left, top, right, bottom] | null
         (pixels of the image, before the flip), "flip": bool, "note": str}}, ...],
     "history": [{"at": str (ISO time), "label": str, "changes": [{"candidate", "before": pick, "after": pick}, ...]},
      ...] (the latest 100 changes by hand, oldest first)}
    A candidate counts as kept if its state is "keep". If its state is "", it counts as kept if it is carried while the
    node's mode is manual, or if it is proposed in another mode. With &packed=1, "packed" stands in place of
    "candidates": the same in fewer bytes (views/packed.py), with "version" in place of "thumb" and "full", which end in
    it.

POST /lora_bootstrap/candidates/picks {"project", "round", "revision", "label": str, "changes": [{"candidate",
     "pick": {any of state, tags, crop, flip, note; anything absent is left unchanged}}, ...]}
    → {"revision": int}: the changes are saved, and are used by the next Run of Curate Images.
    409 if `revision` is not the latest, because somebody else has saved: the answer of GET, plus "error", and nothing
    is saved. 400 for any other body, 404 for an unknown project, round or candidate.

POST /lora_bootstrap/candidates/again {"project", "round", "add": [{"candidate", "seed": int, "prompt": str,
     "strength": float | null}, ...], "remove": [id, ...]}
    → {"again": as above}: what the next Run of Save Candidates draws besides its plan. 400 for any other body or value,
    404 for an unknown project or round.

GET /lora_bootstrap/candidate?project=<name>&round=<number>&name=<candidate or crop>[&size=thumb]
    The image as PNG, or as a JPEG of at most 256 pixels a side. The addresses above end in a version (&v=…) of the
    image's content, so browsers may cache them.

Event `lora_bootstrap.candidates` {"project", "round", "made": int, "total": int}, to every open tab, when a candidate
was saved (at most twice a second, and at the end).
Event `lora_bootstrap.project` {"name"}, to every open tab, when something in the project has changed.

Curate Images sends {"project", "round", "revision", "kept": int, "target": int, "held": bool, "message": str} as the
first entry of "lora_bootstrap" in its output's `ui`; `held`: everything downstream waits for more picks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from ...trainer.common.errors import UserError
from ...trainer.common.revisions import StaleRevision
from ..events import tell_project
from .answers import aside, get, post, refusal
from .views import gallery_view as gallery

BODY = ('the body must be {"project": "…", "round": 1, "revision": 0, "label": "…", "changes": [{"candidate": "…", '
        '"pick": {…}}, …]}.')
AGAIN = ('the body must be {"project": "…", "round": 1, "add": [{"candidate": "…", "seed": 0, "prompt": "", '
         '"strength": null}, …], "remove": ["…", …]}.')
ELSEWHERE = "somebody else has changed picks in this round in the meantime; look at them first."


@get("/lora_bootstrap/project")
async def get_project(request: web.Request) -> web.Response:
    name = request.query.get("name", "")
    return await _told(request, lambda: gallery.project_view(name))


@get("/lora_bootstrap/candidates")
async def get_candidates(request: web.Request) -> web.Response:
    project, number = request.query.get("project", ""), _number(request.query.get("round", ""))
    packed = request.query.get("packed") == "1"
    return await _told(request, lambda: gallery.round_view(gallery.find_round(project, number), packed))


@post("/lora_bootstrap/candidates/picks")
async def post_picks(body: dict[str, Any]) -> web.Response:
    if not _is_change(body):
        return refusal(400, BODY)
    changes = [(change["candidate"], change["pick"]) for change in body["changes"]]
    try:
        round_ = await aside(lambda: gallery.find_round(body["project"], body["round"]))
    except UserError as error:
        return refusal(404, str(error))
    try:
        revision = await aside(lambda: gallery.save_picks(round_, body["revision"], body["label"], changes))
    except StaleRevision:
        newer = await aside(lambda: gallery.round_view(gallery.find_round(body["project"], body["round"])))
        return web.json_response({**newer, "error": ELSEWHERE}, status=409)
    except UserError as error:
        names = {name for name, _ in changes}
        known = await aside(lambda: round_.collect_facts(names))
        return refusal(400 if names <= set(known) else 404, str(error))
    tell_project(round_.project.name)
    return web.json_response({"revision": revision})


@post("/lora_bootstrap/candidates/again")
async def post_again(body: dict[str, Any]) -> web.Response:
    if not _is_wish(body):
        return refusal(400, AGAIN)
    try:
        round_ = await aside(lambda: gallery.find_round(body["project"], body["round"]))
    except UserError as error:
        return refusal(404, str(error))
    wishes = await aside(lambda: gallery.save_wishes(round_, body["add"], body["remove"]))
    tell_project(round_.project.name)
    return web.json_response({"again": wishes})


@get("/lora_bootstrap/candidate")
async def get_candidate(request: web.Request) -> web.Response:
    query = request.query
    project, number, name = query.get("project", ""), _number(query.get("round", "")), query.get("name", "")
    try:
        data, kind = await aside(lambda: gallery.candidate_image(gallery.find_round(project, number), name,
                                                         query.get("size") == "thumb"))
    except UserError as error:
        return refusal(404, str(error))
    return web.Response(body=data, content_type=kind, headers={"Cache-Control": "private, max-age=86400"})


async def _told(request: web.Request, view: Callable[[], Any]) -> web.Response:
    try:
        return web.json_response(text=await aside(lambda: json.dumps(view())))
    except UserError as error:
        if request.query.get("or") == "null":
            return web.json_response(None)
        return refusal(404, str(error))


def _number(text: str) -> int:
    """A round's number; -1, which no round has, if the text is not a number."""
    return int(text) if text.isdecimal() and len(text) < 4 else -1


def _is_wish(body: dict[str, Any]) -> bool:
    lists = {"add": Mapping, "remove": str}
    return isinstance(body.get("project"), str) and type(body.get("round")) is int and all(
        isinstance(body.get(name), list) and all(isinstance(item, kind) for item in body[name])
        for name, kind in lists.items())


def _is_change(body: dict[str, Any]) -> bool:
    if not isinstance(body.get("changes"), list):
        return False
    whole = all(isinstance(body.get(name), kind) for name, kind in (("project", str), ("label", str)))
    return whole and all(type(body.get(name)) is int for name in ("round", "revision")) and all(
        isinstance(change, Mapping) and isinstance(change.get("candidate"), str)
        and isinstance(change.get("pick"), Mapping) for change in body["changes"])
