"""What the routes have in common: bodies in, refusals out, and work aside of the thread that answers everyone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import web


async def aside(work: Callable[[], Any]) -> Any:
    """In another thread than the one that answers everyone: there may be ten thousand pictures."""
    return await asyncio.get_running_loop().run_in_executor(None, work)


async def body_of(request: web.Request) -> Any:
    """The body's JSON, None if it is none."""
    try:
        return await request.json()
    except ValueError:
        return None


def refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)
