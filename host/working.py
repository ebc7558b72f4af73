"""Long work of the library in ComfyUI: its events as a progress bar, the text in the node, and Cancel."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import comfy.model_management
import comfy.utils

from ..trainer.common.errors import UserError
from ..trainer.common.events import Event, Events, Progress, Warned
from .events import INTERVAL
from .shown_text import show_text

MOST_LINES = 24
"""Lines of a report that are shown in the node; the rest is in its output."""

COLUMN = "\x1f"
"""What a report has between two columns where it goes to `show_report`; elsewhere blanks align them."""

_COLUMNS = re.compile(f" *{COLUMN} *")

log = logging.getLogger(__name__)


def follow(events: Events, work: Work) -> Any:
    """Pass every event through `work`, and return the last. On Cancel the events are closed."""
    last = None
    with closing(events):
        for last in events:
            work(last)
    return last


class Work:
    """Call it with every event of a task. Raises ComfyUI's own interruption if Cancel was pressed."""

    def __init__(self, node_id: str | None) -> None:
        self.notes: list[str] = []
        self._bar: Any = None
        self._node_id, self._what, self._told_at = node_id, "", 0.0

    def __call__(self, event: Event) -> None:
        # The bar checks for Cancel only when it redraws.
        comfy.model_management.throw_exception_if_processing_interrupted()
        if isinstance(event, Warned):
            self.notes.append(event.message)
            log.warning("LoRA Bootstrap: %s", event.message)
        elif isinstance(event, Progress) and event.total:
            self._progress(event)

    def _progress(self, event: Progress) -> None:
        if event.what != self._what:
            self._what, self._bar = event.what, comfy.utils.ProgressBar(event.total, node_id=self._node_id)
        self._bar.update_absolute(event.done, event.total)
        if time.monotonic() - self._told_at >= INTERVAL:
            self._told_at = time.monotonic()
            show_text(f"{event.what} {event.done}/{event.total}", self._node_id)


def show_report(text: str, node_id: str | None) -> None:
    """Show the first lines of a report in the node. Dots take the place of COLUMN, because blanks align nothing in the
    node's proportional font, nor in Markdown."""
    lines = [_COLUMNS.sub(" · ", line) for line in text.rstrip().splitlines()]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], f"… {len(lines) - MOST_LINES + 1} more lines are in the report output"]
    show_text("\n".join(lines), node_id)


def problem(check: Callable[..., object], *values: Any) -> bool | str:
    """For validate_inputs: True, or what is wrong. A value that is linked (None) is not known yet."""
    try:
        if not any(value is None for value in values):
            check(*values)
    except UserError as error:
        return str(error)
    return True


def progress_of(what: str, work: Work):
    """A `progress` function for the library. It shows the progress in the node, and raises ComfyUI's interruption on
    Cancel."""
    return lambda done, total: work(Progress(what, done, total))
