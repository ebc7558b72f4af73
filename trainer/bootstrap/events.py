"""The events of a bootstrap, besides those of its training runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..common.events import Event


@dataclass(frozen=True)
class StageStarted(Event):
    name: str
    title: str
    number: int
    """Counts from 1."""
    total: int


@dataclass(frozen=True)
class StageFinished(Event):
    name: str
    summary: str
    seconds: float
    reused: bool
    """True if an earlier run had already made everything."""


@dataclass(frozen=True)
class BootstrapFinished(Event):
    folder: Path
    lora: Path
    report: Path
    grid: Path
    stopped_because: str
    """Why the loop ended before its last round, "" if it did not."""
