"""What to change when a sweep shows a fault, beside the checkpoint: the learning rate, the images, the steps or the
strength.

Sources: guide 001 (a rate of 5e-5 instead of 1e-4 if results are distorted; 20-30 % fewer steps if it overfits), 004
(an earlier checkpoint, then fewer epochs, a lower rate, more images) and 002 (lower strengths).
"""

from __future__ import annotations

from collections.abc import Iterable

from ..common.counts import format_rate

FEWER_STEPS = "20-30 % fewer steps"
_CURES = {
    "copies": "it copies: add images that show something new, or train {fewer}",
    "burn": "it burns: use a strength below {strength:g}, or train at {half}",
    "diversity": "it repeats itself: add more varied images, or train at {half}",
    "validation": "it learns by heart: add images, or train {fewer}",
    "backgrounds": "it repeats backgrounds: add images with others, or train with masks or with plain backgrounds",
    "artefacts": "it leaves artefacts: use a strength below {strength:g}, or train at {half}",
    "by eye": "you rated more of it bad than good: use a strength below {strength:g}, or an earlier checkpoint",
}
"""By the gate that fails."""
_TOO_LONG = "to train again, take {fewer} or {half}"


def half_rate(rate: float | None) -> str:
    """`half the learning rate (1e-4 → 5e-5)`; without figures if the rate is not known."""
    return "half the learning rate" + _figures(rate, 0.5)


def double_rate(rate: float | None) -> str:
    return "twice the learning rate" + _figures(rate, 2)


def _figures(rate: float | None, factor: float) -> str:
    return "" if not rate else f" ({format_rate(rate)} → {format_rate(rate * factor)})"


def describe_cures(gates: Iterable[str], strength: float, rate: float | None) -> str:
    """What cures the faults that these gates found, or a training that was merely too long."""
    values = {"fewer": FEWER_STEPS, "half": half_rate(rate), "strength": strength}
    return "; ".join(_CURES[gate].format(**values) for gate in gates) or _TOO_LONG.format(**values)
