"""What the routes have in common: reading bodies, refusing requests, and working outside the thread that serves all
requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web


async def aside(work: Callable[[], Any]) -> Any:
    """Run work outside the thread that serves all requests, because there may be ten thousand images."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def body_of(request: web.Request) -> Any:
    """The body as JSON; None if it is not JSON."""
    try:
        return await request.json()
    except ValueError:
        return None


def refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
