"""HTTP route of the list in LoRA Stack. The answer is JSON; a refusal is {"error": "one line"}.

POST /lora_bootstrap/stack {"entries": str (the node's text)}
    What its lines name, and the guides' advice on them, before anything runs. Nothing is changed.
    {"lines": [{"off": bool, "error": str (why the node would not run with it; "" if it would), "loras": [{"name": as
      the host lists it | "", "near": [the names spelled most alike, if there is none]}, ...]}, ...] (one for each line,
      as Python splits lines; for a line that is off, the LoRAs it would name),
     "files": {name: {"role": "character" | "style" | … | "", "triggers": [str, ...], "blocks": [str, ...] (empty if
      the file's blocks cannot be read), "presets": {name: title} (the presets of blocks that it has)}},
     "total": float (sum of the strengths that are on, without signs), "start": float (a strength to begin with),
     "advice": [str, ...]}
    400 for any other body, or a text that is too long.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ...trainer.common.errors import UserError
from .answers import aside, post, refusal
from .views.stack_view import stack_view

BODY = "the body must be {\"entries\": \"…\"}, the text of a LoRA Stack."


@post("/lora_bootstrap/stack")
async def post_stack(body: dict[str, Any]) -> web.Response:
    entries = body.get("entries")
    if not isinstance(entries, str):
        return refusal(400, BODY)
    try:
        return web.json_response(await aside(lambda: stack_view(entries)))
    except UserError as error:
        return refusal(400, str(error))
