"""What is known about a stack from images: the strengths that Refine Strengths measured, for each base model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..host import paths
from ..trainer.stacks.known_strengths import FILE, recall
from ..trainer.stacks.stack import StackEntry


def strengths_file() -> Path:
    return paths.output_root() / FILE


def measured_lines(entries: Sequence[StackEntry]) -> list[str]:
    """A line for each two of the entries whose best strengths were measured, and each base model; [] if none were."""
    return recall(strengths_file(), [(entry.name, entry.path) for entry in entries])
