"""Events that every open tab gets about a training, a project or a sweep while the workflow runs. Their shapes are in
routes/runs.py, routes/gallery.py, routes/sweeps.py and routes/projects.py."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from server import PromptServer

from .session import current_session

PROJECT = "lora_bootstrap.project"
CANDIDATES = "lora_bootstrap.candidates"
SWEEP = "lora_bootstrap.sweep"
MARKS = "lora_bootstrap.sweep_marks"
PROGRESS = "lora_bootstrap.progress"
ARCHIVE = "lora_bootstrap.archive"
EVENTS = (PROJECT, CANDIDATES, SWEEP, MARKS, PROGRESS, ARCHIVE)
"""All events of the pack. web/common/host.js has the same names."""
CLEARED = "00000000-0000-0000-0000-000000000000"
"""The id of every workflow that a front end has cleared, until it is loaded again under one of its own."""
INTERVAL = 0.5
"""Seconds between two events, or two texts, about the same thing, unless its status changes."""


def _just_told(key: tuple[str, str | int]) -> bool:
    """Whether this was sent less than INTERVAL ago; if not, it counts as sent now."""
    now, told_at = time.monotonic(), current_session().told_at
    if now - told_at.get(key, -INTERVAL) < INTERVAL:
        return True
    told_at[key] = now
    return False


def note_last_run(node_id: str | None, **shown: Any) -> None:
    """Remember what a node shows, for a tab that is loaded again. Nothing is remembered of a prompt without a workflow,
    which no front end can open again.

    Args:
        shown: `text`, what the host shows in the node; `told`, the first entry of "lora_bootstrap" in its output's
            `ui`.
    """
    prompt, workflow = _running_prompt()
    node = prompt.get(node_id or "", {})
    if node and workflow:
        values = {name: value for name, value in node["inputs"].items() if not isinstance(value, list)}
        current_session().last_runs.note(_tab(), workflow, str(node_id), node["class_type"], values, **shown)


def note_text(node_id: str, text: str) -> None:
    """Remember that the host shows a text in a node; "" for none."""
    for owner in _owners():
        current_session().screens.note(owner, node_id, text)
    note_last_run(node_id, text=text)


def shows_text(node_id: str) -> bool:
    """Whether the host still shows a text in a node of the workflow that runs."""
    return any(current_session().screens.show(owner, node_id) for owner in _owners())


def _owners() -> list[str]:
    """The tab that queued and the workflow that runs, as far as they are known: a tab that was closed and opened again
    has another id."""
    return [owner for owner in (_tab(), _running_prompt()[1]) if owner]


def _tab() -> str:
    """The tab that queued; "" for another client without an id."""
    return str(PromptServer.instance.client_id or "")


def linked_value(node_id: str | None, input: str, name: str) -> Any:
    """The value of a widget of the node from which an input of a node comes, in the prompt that runs; None if it is not
    known before that node runs."""
    prompt = _running_prompt()[0]
    link = prompt.get(node_id or "", {}).get("inputs", {}).get(input)
    value = prompt.get(link[0], {}).get("inputs", {}).get(name) if isinstance(link, list) and len(link) == 2 else None
    return None if isinstance(value, list) else value


def is_linked(node_id: str | None, slots: Collection[int]) -> bool:
    """Whether the prompt that runs links one of these outputs of a node; True for a node that is not in it, as one that
    another node has added."""
    prompt = _running_prompt()[0]
    return node_id not in prompt or any(
        isinstance(value, list) and len(value) == 2 and value[0] == node_id and value[1] in slots
        for node in prompt.values() for value in node["inputs"].values())


def _running_prompt() -> tuple[Mapping[str, Any], str]:
    """(prompt, id of its workflow) of what the host runs now; "" for a prompt without a workflow."""
    server = PromptServer.instance
    for item in list(getattr(getattr(server, "prompt_queue", None), "currently_running", {}).values()):
        if item[1] == getattr(server, "last_prompt_id", None):
            known = item[3]
            for name in ("extra_pnginfo", "workflow", "id"):  # a client may send anything there
                known = known.get(name) if isinstance(known, Mapping) else None
            known = str(known or "")
            return item[2], "" if known == CLEARED else known
    return {}, ""


def current_run() -> Any:
    """An id of the Run in progress; None where the host does not say."""
    return getattr(PromptServer.instance, "last_prompt_id", None)


def tell_project(name: str) -> None:
    """Something of the project has changed."""
    PromptServer.instance.send_sync(PROJECT, {"name": name})


def tell_candidates(project: str, number: int, made: int, total: int) -> None:
    """A candidate was saved. Sent at most twice a second, and at the end."""
    if _just_told((project, number)) and made < total:
        return
    PromptServer.instance.send_sync(CANDIDATES, {
        "project": project, "round": number, "made": made, "total": total})


def tell_archive(name: str, done: int, total: int, problem: str = "") -> None:
    """A project is being packed for a download. Sent at most twice a second, and at the end."""
    if _just_told(("archive", name)) and done < total and not problem:
        return
    PromptServer.instance.send_sync(ARCHIVE, {"name": name, "done": done, "total": total, "problem": problem})


def tell_sweep(name: str, node: str, done: int, failed: int, total: int) -> None:
    """A cell was drawn, or failed; `node` is the id of the user's node. Sent at most twice a second, and at the end."""
    note_last_run(node, told={"sweep": name})
    if _just_told((name, node)) and done + failed < total:
        return
    PromptServer.instance.send_sync(SWEEP, {
        "name": name, "node": node, "done": done, "failed": failed, "total": total})


def tell_marks(name: str, revision: int) -> None:
    """Somebody marked cells of a sweep."""
    PromptServer.instance.send_sync(MARKS, {"name": name, "revision": revision})
