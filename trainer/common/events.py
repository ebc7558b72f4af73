"""The events of long work. Loops yield them; progress bars, files, and nodes subscribe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Base of all events."""


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
