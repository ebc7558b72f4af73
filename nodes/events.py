"""What every open tab is told of a project while the graph works; the shapes are in gallery_routes.py."""

from __future__ import annotations

import time

from server import PromptServer

from .progress import INTERVAL

_told_at: dict[tuple[str, int], float] = {}


def tell_project(name: str) -> None:
    """Something of the project has changed."""
    PromptServer.instance.send_sync("lora_bootstrap.project", {"name": name})


def tell_candidates(project: str, number: int, made: int, total: int) -> None:
    """A candidate was saved. Told at most twice a second, and at the end."""
    key, now = (project, number), time.monotonic()
    if made < total and now - _told_at.get(key, 0.0) < INTERVAL:
        return
    _told_at[key] = now
    PromptServer.instance.send_sync("lora_bootstrap.candidates", {
        "project": project, "round": number, "made": made, "total": total})
