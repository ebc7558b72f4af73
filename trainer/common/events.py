"""The events of long work. Loops yield them; progress bars, files, and nodes subscribe."""

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
    """`done` of `total` are finished. `what` says of what, such as images generated, read, tagged or saved."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Interrupted(Event):
    """The user asked to stop. Nothing is lost; the same command continues from here."""

    stage: str
