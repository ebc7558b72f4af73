"""Two LoRAs split in time: the character where the composition is made, the style where the look is.

That a subject acts in the early steps and a style in the late ones: K-LoRA, arXiv:2502.18461.
"""

from __future__ import annotations

from dataclasses import dataclass

STYLE = "style"
KEYFRAMES = 6
"""Strengths of a curve, its ends included: each change costs the sampler a patch of the weights."""


@dataclass(frozen=True)
class Curve:
    """What a LoRA's strength is multiplied by: `start` up to `begin`, then in even stairs to `end` at `until`.

    Both are shares of the steps.
    """

    start: float
    end: float
    until: float = 0.5
    begin: float = 0.0

    @property
    def stairs(self) -> list[tuple[float, float]]:
        """(share of the steps from which it holds, factor)."""
        if self.start == self.end:
            return [(0.0, self.start)]
        parts = [index / (KEYFRAMES - 1) for index in range(KEYFRAMES)]
        found = [(self.begin + part * (self.until - self.begin), self.start + part * (self.end - self.start))
                 for part in parts]
        return found if not self.begin else [(0.0, self.start), *found]


PRESETS = {
    # preset → curves of the character and of the style
    "character first": (Curve(1.0, 0.7), Curve(0.4, 1.0)),
    "style first": (Curve(0.4, 1.0), Curve(1.0, 0.7)),
    "cross-fade at half": (Curve(1.0, 0.3, 0.6, 0.4), Curve(0.3, 1.0, 0.6, 0.4)),
    "style fades": (Curve(1.0, 1.0), Curve(1.0, 0.3)),
}
