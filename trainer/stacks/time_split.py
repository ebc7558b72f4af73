"""A LoRA's strength over the sampling steps, and presets that split two LoRAs in time: the character acts while the
composition forms, the style while the look forms.

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
    """Factor on a LoRA's strength: `start` until `begin`, then in equal steps to `end` at `until`; all at once if both
    are the same.

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
        if self.is_sudden:
            return [(0.0, self.start), (self.until, self.end)]
        parts = [index / (KEYFRAMES - 1) for index in range(KEYFRAMES)]
        found = [(self.begin + part * (self.until - self.begin), self.start + part * (self.end - self.start))
                 for part in parts]
        return found if not self.begin else [(0.0, self.start), *found]

    @property
    def is_sudden(self) -> bool:
        return self.begin == self.until

    def at(self, done: float) -> float:
        """The factor where this share of the steps is done."""
        return [factor for share, factor in self.stairs if share <= done + 1e-6][-1]

    @property
    def text(self) -> str:
        """What a lineage records: every number that decides an image."""
        return f"x {self.start:g} until {self.begin:g}, x {self.end:g} from {self.until:g} of the steps"


WEAK_EARLY = Curve(0.7, 2.3, 0.4, 0.4)
"""Weak while the composition forms, so that the view follows the prompt; strong while details form. A candidate at the
usual 0.6 is drawn at 0.42, then at 1.38. Measured in the sandbox's drawn world only."""
PRESETS = {
    # preset → curves of the character and of the style
    "character first": (Curve(1.0, 0.7), Curve(0.4, 1.0)),
    "style first": (Curve(0.4, 1.0), Curve(1.0, 0.7)),
    "cross-fade at half": (Curve(1.0, 0.3, 0.6, 0.4), Curve(0.3, 1.0, 0.6, 0.4)),
    "style fades": (Curve(1.0, 1.0), Curve(1.0, 0.3)),
    "weak early, strong late": (Curve(1.0, 1.0), WEAK_EARLY),
}
CUSTOM = "custom"
"""The preset whose curves are given by numbers."""


def curves_of(preset: str, character_start: float, character_end: float, style_start: float, style_end: float,
              until: float) -> tuple[Curve, Curve]:
    """(the character's curve, the style's); the numbers count for `custom` alone. A LoRA alone follows the style's."""
    if preset == CUSTOM:
        return Curve(character_start, character_end, until), Curve(style_start, style_end, until)
    return PRESETS[preset]


def describe_curves(curves: tuple[Curve, Curve], alone: bool) -> str:
    """What a lineage records of a split of two LoRAs, or of one alone."""
    character, style = (curve.text for curve in curves)
    return style if alone else f"character {character}; style {style}"
