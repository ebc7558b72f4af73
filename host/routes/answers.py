"""What the routes have in common: each is registered here, so a request that no route can use is refused here, and
whatever goes wrong in a route is answered here.

A refusal is {"error": "one line"}. Its status is 400, 404 or 409 if the route says so; 403 for a page of another
origin; 413 for a body that is too large; 415 for one that is not JSON in UTF-8, or not a file where one is due; 500 if
the route failed, which the log notes in one line, and in full at level DEBUG.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from aiohttp import web
from comfy.cli_args import args
from server import PromptServer

from ...trainer.common.errors import UserError
from ...trainer.common.revisions import StaleRevision

MOST_BYTES = 16 * 2**20
MOST_NESTED = 16
MOST_DIGITS = 20
"""Of a whole number; as many as the host's largest seed has."""
FILE_TYPE = "application/octet-stream"
_HALF = re.compile("[\ud800-\udfff]")
"""Half a character, which no file can hold."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
BodyAnswer = Callable[[dict[str, Any]], Awaitable[web.Response]]
log = logging.getLogger(__name__)


class Refusal(Exception):
    """What is asked cannot be done."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


def get(path: str) -> Callable[[Answer], Answer]:
    """Register a function that answers GET requests."""
    def register(handler: Answer) -> Answer:
        PromptServer.instance.routes.get(path)(_guarded(handler, f"GET {path}"))
        return handler
    return register


def post(path: str) -> Callable[[BodyAnswer], BodyAnswer]:
    """Register a function that answers POST requests. It is given the body, a JSON object."""
    def register(handler: BodyAnswer) -> BodyAnswer:
        async def answer(request: web.Request) -> web.Response:
            _check_origin(request)
            return await handler(await _read_body(request))

        PromptServer.instance.routes.post(path)(_guarded(answer, f"POST {path}"))
        return handler
    return register


def post_file(path: str) -> Callable[[Answer], Answer]:
    """Register a function that answers POST requests whose body is a file. It is given the request, to read that."""
    def register(handler: Answer) -> Answer:
        async def answer(request: web.Request) -> web.StreamResponse:
            _check_origin(request)
            if request.content_type != FILE_TYPE:  # which a page of another origin may not send unasked
                raise Refusal(415, f"the body must be a file; send it with Content-Type: {FILE_TYPE}.")
            return await handler(request)

        PromptServer.instance.routes.post(path)(_guarded(answer, f"POST {path}"))
        return handler
    return register


async def aside(work: Callable[[], Any]) -> Any:
    """Run work outside the thread that serves all requests, because there may be ten thousand images."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def receive_file(request: web.Request, place: Path, name: str, remedy: str) -> None:
    """Write the body of a request into a file. Raises Refusal if it is larger than the host takes.

    Args:
        name, remedy: what the person calls the file, and what to do about its size, for the error.
    """
    size, most = 0, round(args.max_upload_size * 2**20)
    with place.open("wb") as sent:
        async for part in request.content.iter_chunked(2**18):
            if (size := size + len(part)) <= most:  # all is read, because a browser reads no answer before
                await aside(partial(sent.write, part))
    if size > most:
        raise Refusal(413, f"{name} is larger than {args.max_upload_size:g} MB; {remedy}")


def refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": " ".join(message.splitlines())}, status=status)


def _guarded(answer: Answer, route: str) -> Answer:
    """The function, with an answer to every error."""
    async def guarded(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(request)
        except Refusal as error:
            return refusal(error.status, str(error))
        except StaleRevision:
            return refusal(409, "somebody else has saved in the meantime; look at that first.")
        except UserError as error:
            return refusal(400, str(error))
        except Exception as error:
            what = " ".join(f"{type(error).__name__}: {error}".splitlines())[:500]
            log.error("LoRA Bootstrap: %s failed: %s", route, what)
            log.debug("LoRA Bootstrap: %s failed", route, exc_info=True)
            return refusal(500, f"this failed: {what}. Please report it, with the server's log at level DEBUG.")
    return guarded


# -- what is asked -----------------------------------------------------------------------------------------------------


def _check_origin(request: web.Request) -> None:
    """Refuse a page of another origin. The host itself does so only at addresses of this machine.

    A browser says which page asks; what is not a browser says nothing. Behind a proxy that replaces the name of the
    server, the browser's own word that both are of one origin counts.
    """
    origin, headers = request.headers.get("Origin"), request.headers
    if origin is None or args.enable_cors_header or headers.get("Sec-Fetch-Site") == "same-origin":
        return
    server = headers.get("X-Forwarded-Host", request.host).split(",")[0].strip()
    if not _is_same_place(origin, server):
        raise Refusal(403, f"a page of {origin!r} may not change anything on {server!r}. If both are yours, let the "
                           "proxy between them pass on the header Host, or start ComfyUI with --enable-cors-header.")


def _is_same_place(origin: str, server: str) -> bool:
    try:
        page, here = urlsplit(origin.lower()), urlsplit(f"//{server.lower()}")
        same_port = None in (page.port, here.port) or page.port == here.port
        return page.hostname is not None and page.hostname == here.hostname and same_port
    except ValueError:  # not an address
        return False


async def _read_body(request: web.Request) -> dict[str, Any]:
    if request.content_type != "application/json" or (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise Refusal(415, "the body must be JSON in UTF-8; send it with Content-Type: application/json.")
    try:
        text = (await _read_bytes(request)).decode("utf-8")
        body = json.loads(text, parse_constant=_no_number, parse_float=_to_float, parse_int=_to_int)
    except RecursionError:
        raise Refusal(400, f"the body's values are nested more than {MOST_NESTED} deep.") from None
    except (ValueError, web.RequestPayloadError) as error:
        raise Refusal(400, f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, "the body must be a JSON object.")
    _check_values(body)
    return body


async def _read_bytes(request: web.Request) -> bytes:
    read = bytearray()
    async for part in request.content.iter_chunked(2**16):
        read += part
        if len(read) > MOST_BYTES:
            raise Refusal(413, f"the body is larger than {MOST_BYTES // 2**20} MB; save fewer changes at once.")
    return bytes(read)


def _check_values(body: Any) -> None:
    """Refuse values that no file can hold, or that are nested too deep to be read again."""
    waiting = [(body, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str) and _HALF.search(value):
            raise Refusal(400, "a text in the body holds half a character (a lone surrogate), which no file can hold.")
        if isinstance(value, dict | list):
            if depth == MOST_NESTED:
                raise Refusal(400, f"the body's values are nested more than {MOST_NESTED} deep.")
            inner = [*value, *value.values()] if isinstance(value, dict) else value
            waiting += [(one, depth + 1) for one in inner]


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number that can be used")


def _to_float(text: str) -> float:
    number = float(text)
    return number if abs(number) < float("inf") else _no_number(text[:20])


def _to_int(text: str) -> int:
    return int(text) if len(text) <= MOST_DIGITS else _no_number(f"{text[:MOST_DIGITS]}…")
