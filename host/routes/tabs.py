"""HTTP routes that concern a whole browser tab. All answers are JSON; a refusal is {"error": "one line"}.

POST /lora_bootstrap/panels {"tab": id}
    → {"known": true}: the tab of that id (the host's client id) shows the pack's panels. In nodes that have one, the
    host's own texts and previews of what it queues are left out. 400 for any other body.

GET /lora_bootstrap/last_runs?workflow=<id>&tab=<id>
    {"nodes": [{"node": id (as in events), "kind": class, "values": {input: value, ...} (those that are not linked),
     "text": str (that the host showed in the node; absent if none), "told": {...} (the first entry of "lora_bootstrap"
     in its output's `ui`, or of a sweep {"sweep": name}; absent if none)}, ...]}
    What nodes of a workflow last showed, since the start of the server, for a tab that is loaded again. What other tabs
    queued is left out, because all workflows that were opened from one template have the same id.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..session import current_session
from .answers import get, post, refusal

LONGEST_ID = 200


@post("/lora_bootstrap/panels")
async def post_panels(body: dict[str, Any]) -> web.Response:
    tab = body.get("tab")
    if not isinstance(tab, str) or not 0 < len(tab) <= LONGEST_ID:
        return refusal(400, 'the body must be {"tab": "…"}, with the id of the browser tab.')
    current_session().tabs.add(tab)
    return web.json_response({"known": True})


@get("/lora_bootstrap/last_runs")
async def get_last_runs(request: web.Request) -> web.Response:
    tab, workflow = (request.query.get(name, "") for name in ("tab", "workflow"))
    return web.json_response({"nodes": current_session().last_runs.of(tab, workflow)})
