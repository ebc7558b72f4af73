"""Requests to the pack's routes, without a host."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from server import PromptServer

from lora_bootstrap.host.routes import gallery as gallery_routes, runs as routes, tags as tag_routes  # noqa: F401 (register themselves)


def ask(*requests: tuple[str, str, dict[str, Any]], headers: list[Any] | None = None) -> list[tuple[int, Any]]:
    """[(status, JSON or bytes)] of (method, path, keywords) requests, one after the other.

    Args:
        headers: a list to which the headers of each answer are added.
    """

    async def go():
        app = web.Application()
        app.add_routes(PromptServer.instance.routes)
        answers = []
        async with TestClient(TestServer(app)) as client:
            for method, path, keywords in requests:
                response = await client.request(method, path, **keywords)
                told = await (response.json() if response.content_type == "application/json" else response.read())
                answers.append((response.status, told))
                if headers is not None:
                    headers.append(response.headers)
        return answers

    return asyncio.run(go())


def sent_as_json(text: str | bytes) -> dict[str, Any]:
    """The keywords of a request with that body, valid or not."""
    return {"data": text, "headers": {"Content-Type": "application/json"}}
