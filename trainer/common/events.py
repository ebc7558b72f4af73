"""What a training run tells while it runs. The loop yields these; progress bars, files, and nodes subscribe."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Base of all events."""


Events = Generator[Event, None, None]
"""What a task yields while it runs; closing it ends the task."""


@dataclass(frozen=True)
class Warned(Event):
    message: str


@dataclass(frozen=True)
class Progress(Event):
    """So many of `total` are done: pictures generated, read, tagged or saved, as `what` says."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Interrupted(Event):
    """Asked to stop. What was made is kept; the same command goes on from here."""

    stage: str
