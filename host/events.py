"""Events that every open tab gets about a project or a sweep while the workflow runs. Their shapes are in
routes/gallery.py and routes/sweeps.py."""

from __future__ import annotations

import time

from server import PromptServer

from .progress import INTERVAL
from .session import current_session


def _just_told(key: tuple[str, str | int]) -> bool:
    """Whether this was sent less than INTERVAL ago; if not, it counts as sent now."""
    now, told_at = time.monotonic(), current_session().told_at
    if now - told_at.get(key, -INTERVAL) < INTERVAL:
        return True
    told_at[key] = now
    return False


def tell_project(name: str) -> None:
    """Something of the project has changed."""
    PromptServer.instance.send_sync("lora_bootstrap.project", {"name": name})


def tell_candidates(project: str, number: int, made: int, total: int) -> None:
    """A candidate was saved. Sent at most twice a second, and at the end."""
    if _just_told((project, number)) and made < total:
        return
    PromptServer.instance.send_sync("lora_bootstrap.candidates", {
        "project": project, "round": number, "made": made, "total": total})


def tell_sweep(name: str, node: str, done: int, failed: int, total: int) -> None:
    """A cell was drawn, or failed; `node` is the id of the user's node. Sent at most twice a second, and at the end."""
    if _just_told((name, node)) and done + failed < total:
        return
    PromptServer.instance.send_sync("lora_bootstrap.sweep", {
        "name": name, "node": node, "done": done, "failed": failed, "total": total})


def tell_marks(name: str, revision: int) -> None:
    """Somebody marked cells of a sweep."""
    PromptServer.instance.send_sync("lora_bootstrap.sweep_marks", {"name": name, "revision": revision})
