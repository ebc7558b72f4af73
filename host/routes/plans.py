"""HTTP route that says what a node will do with values that are left to a preset or to the model, before it is run. The
answer is JSON; a refusal is {"error": "one line"}.

POST /lora_bootstrap/plan {"node": class, "values": {input: value, ...}, "model": {"node": class, "values": {...}} |
                           null, "settings": {input: value, ...} | null}
    One line, worked out by the code that will do it. `values` leaves out what comes over a link and is not known;
    `model` is the loader of the linked model, with its widgets; `settings` are the widgets of a linked Train Settings.
    {"text": "will train: rank 8 · alpha 8 · …", or "" if the node has no such line or its values are not valid}
    400 for any other body, 404 for a class that is not the pack's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ...trainer.common.errors import UserError
from ..drawing.file_family import loaded_model
from ..drawing.runner import node_class
from .answers import aside, post, refusal

UNKNOWN: Mapping[str, Any] = {"node": "", "values": {}}
OURS = "LoraBootstrap_"
SETTINGS = "LoraBootstrap_TrainSettings"
BODY = 'the body must be {"node": "…", "values": {…}, "model": {"node": "…", "values": {…}} or null, "settings": …}.'


@post("/lora_bootstrap/plan")
async def post_plan(body: dict[str, Any]) -> web.Response:
    node, values = body.get("node"), body.get("values")
    model, settings = body.get("model"), body.get("settings")
    model = UNKNOWN if model is None else model
    if not (isinstance(node, str) and isinstance(values, dict) and isinstance(model, Mapping)
            and isinstance(model.get("node"), str) and isinstance(model.get("values"), dict)
            and isinstance(settings, dict | None)):
        return refusal(400, BODY)
    try:
        kind = node_class(node if node.startswith(OURS) else "")
    except KeyError:
        return refusal(404, f"there is no node {node!r} of LoRA Bootstrap.")
    try:
        return web.json_response({"text": await aside(lambda: describe_plan(kind, values, model, settings))})
    except (TypeError, AttributeError, ValueError):  # values of other types, which the host would convert or refuse
        return refusal(400, BODY)


def describe_plan(node: Any, values: Mapping[str, Any], model: Mapping[str, Any],
                  settings: Mapping[str, Any] | None) -> str:
    """What the node will do, in one line."""
    describe = getattr(node, "describe_plan", None)
    if describe is None:
        return ""
    drawn = loaded_model(model["node"], model["values"])
    try:
        linked = node_class(SETTINGS).execute(**settings).args[0] if settings else None
        return describe(values, drawn, linked)
    except UserError:  # which the route `check` says
        return ""
