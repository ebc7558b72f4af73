"""The settings of the preservation; `preservation.py` reads them."""

from __future__ import annotations

from dataclasses import dataclass

from ...common.checks import check


@dataclass(frozen=True, kw_only=True)
class PreservationConfig:
    """How the network is held to the base's own prediction where the trigger word is missing."""

    weight: float = 0.0
    """Weight of the distance to the base's prediction in the loss; 0 turns it off."""
    prompt: str = ""
    """Prompt for which the base is kept; empty: the blank prompt, and the captions without the trigger, by turns."""
    every: int = 1
    """Steps from one that preserves to the next. Such a step takes a second prediction with its backward pass, and one
    of the base."""

    def __post_init__(self) -> None:
        check(0 <= self.weight <= 1000, "preservation.weight", self.weight, "from 0 (off) to 1000")
        check(self.every >= 1, "preservation.every", self.every, "1 (each step) or more")
