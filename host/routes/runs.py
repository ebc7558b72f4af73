"""HTTP routes of the pack. All answers are JSON; a refusal is {"error": "one line"} with status 400, 404 or 409.

GET /lora_bootstrap/run?name=<name>
    The most recently changed run of that name (its folder's name, or its config's). If there is none: 404, or with
    &or=null the answer null (for a page that only checks, because browsers log every 404 as an error).
    {"name", "run" (the folder's name), "status": "preparing" | "training" | "finished" | "stopped" | "cancelled" |
     "failed" | "interrupted", "node_id": str | null, "message": str, "step", "steps",
     "seconds_left": float | null, "seconds_per_step": float | null, "memory": bytes | null, "learning_rate",
     "rank", "alpha", "figures": "rank 8 · alpha 8 · …" (what it is trained with; "" if not known yet),
     "losses": [[step, loss], ...] and "smoothed": [[step, loss], ...] (at most 2000 points each, evenly thinned),
     "validation": [[step, loss, ratio to the base model's own loss], ...],
     "samples": [{"step", "filename", "subfolder", "type"}, ...] (oldest first; for the host's /view route),
     "checkpoints": [{"step", "filename"}, ...],
     "proofs": [{"name": "coverage" | "same text" | "file works", "passed": bool, "words", "figure": float | null}, ...]
     (what the run has proved so far, none for runs of earlier versions),
     "notes": [str, ...] (memory of a step and the latest warnings, as long as the server runs),
     "outliers": [str, ...] (a line for each image whose loss is unlike the others', at most 12),
     "resumes_from": int | null (the step of its saved state, from which it goes on if it was stopped or interrupted)}
    It is read from the run's folder, so it survives a reload and a restart of the server. "interrupted": unfinished,
    and not being trained.

POST /lora_bootstrap/stop {"run": "<folder's name>"}
    → {"stopping": true}: the training ends after the current step, saves its LoRA and its state, and the workflow
    continues with that LoRA. 409 if the run is not being trained, 404 if there is none of that name.

POST /lora_bootstrap/resume {"run": "<name>"}
    → {"resuming": true}: the next queueing of the workflow continues the training of a stopped run. (An unchanged
    workflow uses the stopped run's LoRA as it is.)

GET /lora_bootstrap/run/others?name=<folder's name>
    {"runs": [folder, ...]}: the runs that it can be compared with, those of its project first, at most 100.

GET /lora_bootstrap/run/differences?first=<folder's name>&second=<folder's name>
    {"lines": [str, ...]}: what differs between two runs, as text: settings, images and captions, figures. 404 if there
    is no such run.

Event `lora_bootstrap.progress`, to every open tab, at most twice a second and at every change of status:
    {"name", "run", "node_id", "status", "message", "step", "steps", "seconds_left", "seconds_per_step", "memory",
     "loss", "smoothed", "learning_rate", "validation": [step, loss, ratio] | null, "sample": {...} | null,
     "proofs": [...], "notes": [...] as above}
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ...trainer.common.errors import UserError
from .. import paths
from ..session import current_session
from .answers import aside, get, post, refusal
from .views.run_view import other_runs, run_differences, run_status


@get("/lora_bootstrap/run")
async def get_run(request: web.Request) -> web.Response:
    name = request.query.get("name", "").strip()
    if not name:
        return refusal(400, "give the run's name, as in ?name=my_lora.")
    # a run may have logged a hundred thousand steps, so not in the thread that serves all requests
    status = await aside(lambda: run_status(paths.loras_root(), name))
    if status is None and request.query.get("or") != "null":
        return refusal(404, f"there is no run {name!r}.")
    return web.json_response(status)


@get("/lora_bootstrap/run/others")
async def get_others(request: web.Request) -> web.Response:
    name = request.query.get("name", "")
    return web.json_response({"runs": await aside(lambda: other_runs(paths.loras_root(), name))})


@get("/lora_bootstrap/run/differences")
async def get_differences(request: web.Request) -> web.Response:
    first, second = request.query.get("first", ""), request.query.get("second", "")
    try:
        return web.json_response({"lines": await aside(lambda: run_differences(paths.loras_root(), first, second))})
    except UserError as error:
        return refusal(404, str(error))


@post("/lora_bootstrap/stop")
async def stop_run(body: dict[str, Any]) -> web.Response:
    name = _run_name(body)
    if name is None:
        return refusal(400, 'the body must be {"run": "<folder\'s name>"}.')
    try:
        current_session().trainings.stop(name)
    except UserError as error:
        known = current_session().trainings.find(name) is not None or (
            await aside(lambda: run_status(paths.loras_root(), name))) is not None
        return refusal(409 if known else 404, str(error))
    return web.json_response({"stopping": True})


@post("/lora_bootstrap/resume")
async def resume_run(body: dict[str, Any]) -> web.Response:
    name = _run_name(body)
    if name is None:
        return refusal(400, 'the body must be {"run": "<name>"}.')
    status = await aside(lambda: run_status(paths.loras_root(), name))
    if status is None:
        return refusal(404, f"there is no run {name!r}.")
    if status["status"] != "stopped":
        return refusal(409, f"run {name!r} is {status['status']}, not stopped; queue the workflow.")
    current_session().trainings.resume(status["name"])
    return web.json_response({"resuming": True})


def _run_name(body: dict[str, Any]) -> str | None:
    """The body's "run", or None if it is not a name."""
    name = body.get("run")
    return name.strip() if isinstance(name, str) and name.strip() else None
