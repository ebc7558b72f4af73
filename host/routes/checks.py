"""HTTP route that says what is wrong with a node's values, before the workflow is queued. The answer is JSON; a refusal
is {"error": "one line"}.

POST /lora_bootstrap/check {"node": class, "values": {input: value, ...}}
    What the node would refuse of these values; what comes over a link is left out. Nothing is changed.
    {"problems": [{"input": name of the one that is wrong, "" if only several together are, "text": one line}, ...]}
    400 for any other body, 404 for a class that is not the pack's.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from ..drawing.runner import node_class
from .answers import aside, post, refusal

OURS = "LoraBootstrap_"
BODY = 'the body must be {"node": "…", "values": {"input": value, …}}.'


@post("/lora_bootstrap/check")
async def post_check(body: dict[str, Any]) -> web.Response:
    node, values = body.get("node"), body.get("values")
    if not isinstance(node, str) or not isinstance(values, dict):
        return refusal(400, BODY)
    try:
        kind = node_class(node if node.startswith(OURS) else "")
        return web.json_response({"problems": await aside(lambda: find_problems(kind, values))})
    except KeyError:
        return refusal(404, f"there is no node {node!r} of LoRA Bootstrap.")
    except (TypeError, AttributeError):  # values of other types, which the host would convert or refuse first
        return refusal(400, BODY)


def find_problems(node: Any, values: Mapping[str, Any]) -> list[dict[str, str]]:
    """What the node's own check says of each value alone, or, if each alone is right, of all together."""
    own = getattr(node, "validate_inputs", None)
    names = [name for name in inspect.getfullargspec(own).args if name != "cls"] if own else []
    listed = node.define_schema().is_input_list
    given = {name: [values[name]] if listed else values[name] for name in names if name in values}
    nothing: dict[str, Any] = dict.fromkeys(names)

    def check(some: Mapping[str, Any]) -> str:
        found = node.validate_inputs(**{**nothing, **some})
        return "" if found is True else str(found)

    alone = [{"input": name, "text": text} for name, value in given.items() if (text := check({name: value}))]
    together = check(given) if given and not alone else ""
    return alone or ([{"input": "", "text": together}] if together else [])
