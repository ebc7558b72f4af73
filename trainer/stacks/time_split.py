"""Two LoRAs split in time: the character acts while the composition forms, the style while the look forms.

Subjects act in the early steps and styles in the late ones: K-LoRA, arXiv:2502.18461.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..common.errors import UserError

STYLE = "style"
KEYFRAMES = 6
"""Number of strengths in a curve, including its ends. Each change makes the sampler patch the weights again."""


@dataclass(frozen=True)
class Curve:
    """Factor on a LoRA's strength: `start` until `begin`, then in equal steps to `end` at `until`.

    `begin` and `until` are shares of the sampling steps. Raises UserError for a value that is not a finite number.
    """

    start: float
    end: float
    until: float = 0.5
    begin: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not math.isfinite(value):
                raise UserError(f"{name} of a curve is {value}; it must be a number, such as 0.7.")

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
