"""The smallest share of a network's blocks that must be recomputed, or be in RAM, so that a step fits a card."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from .counter import TookTooLong

STEPS, VERIFIED = 20, 2
"""The share is chosen in twentieths, and counted so many times before all blocks are taken."""

Needed = Callable[[float], int]
"""Share of the blocks that are recomputed → bytes that a step takes."""


@dataclass(frozen=True)
class Fit:
    """Attributes:
        share: of the blocks to recompute: the smallest that fits, or 1.
        needed: bytes that a step takes then.
        fits: whether that is no more than there is.
        offload: share of the blocks that a fine-tune holds in RAM for it.
    """

    share: float
    needed: int
    fits: bool
    offload: float = 0.0


def smallest_share(needed: Needed, room: int, from_share: float = 0.0) -> Fit:
    """What fits in `room` bytes, recomputing at least `from_share` of the blocks.

    What a step takes falls about evenly with the share, so that from counts at both ends follows where it fits; that is
    counted too. Where counting takes too long, what follows stands.
    """
    least = needed(from_share)
    if least <= room or from_share == 1:
        return Fit(from_share, least, least <= room)
    most = needed(1.0)
    if most > room:
        return Fit(1.0, most, False)

    def between(share: float) -> int:
        return round(least + (most - least) * (share - from_share) / (1 - from_share))

    share = from_share
    for _ in range(VERIFIED):
        share = _next_share(share, (least - room) / max(least - most, 1) * (1 - from_share) + from_share)
        if share >= 1:
            break
        try:
            found = needed(share)
        except TookTooLong:
            return Fit(share, between(share), True)
        if found <= room:
            return Fit(share, found, True)
        least, from_share = found, share
    return Fit(1.0, most, True)


def smallest_offload(fit: Fit, needed: Needed, room: int, from_share: float) -> Fit:
    """`fit`, if it fits, else with the smallest share of blocks in RAM, in twentieths, with which it does; all of them
    if none does.

    Args:
        needed: share of the blocks that are in RAM → bytes that a step takes.
        from_share: which is in RAM already.
    """
    if fit.fits:
        return replace(fit, offload=from_share)
    shares = sorted({max(number / STEPS, from_share) for number in range(1, STEPS + 1)})
    share = next((share for share in shares if needed(share) <= room), 1.0)
    return replace(fit, needed=needed(share), fits=needed(share) <= room, offload=share)


def _next_share(before: float, wanted: float) -> float:
    """The twentieth that is no less than wanted, and more than before."""
    return min(max(math.ceil(wanted * STEPS - 1e-9), math.floor(before * STEPS) + 1) / STEPS, 1.0)
