"""How far somebody is turned from the viewer, and how high the camera is, as the tags of an image say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..captions.axes import usual_tags
from ..captions.views import OWN, ViewPrompt
from ..captions.vocabulary import normal

DEGREES: dict[str, int] = {"from behind": 180, "from side": 90, "three-quarter view": 45, "front view": 0}
"""How far she is turned from the viewer in a view of that tag."""
SIDES: dict[str, int] = {"facing left": -1, "facing right": 1}
BACK_QUARTER = 135
"""How far she is turned in a view from behind that faces a side."""
FACING = "looking at viewer"
"""The front in the booru words for views."""
ELEVATIONS: dict[str, float] = {"from below": -1, "from above": 1}
"""Height of the camera in a view of that tag; without any, it is at eye level."""
SLIGHTLY = "slightly from above"
"""A word of a view whose caption says `from above`, though the camera is only half as high."""


@dataclass(frozen=True)
class Turn:
    """How far somebody is turned from the viewer: 0 to 180 degrees, to the left (-1), to the right (1), or to a side
    that is not known (0)."""

    degrees: int
    side: int = 0

    @classmethod
    def of(cls, tags: Sequence[str]) -> Turn:
        """The turn that these tags say; without any, she faces the viewer."""
        usual = usual_tags(tags)
        side = next((sign for tag, sign in SIDES.items() if tag in usual), 0)
        degrees = next((angle for tag, angle in DEGREES.items() if tag in usual), 90 if side else 0)
        return cls(BACK_QUARTER if degrees == 180 and side else degrees, side)

    def away(self, other: Turn) -> int:
        """Degrees from this turn to another; a side that is not known counts as the nearer one."""
        if self.side * other.side >= 0:
            return abs(self.degrees - other.degrees)
        both = self.degrees + other.degrees
        return min(both, 360 - both)


def asks_to_turn(asked: ViewPrompt, shown: ViewPrompt) -> bool:
    """Whether a view asks for another angle or another height of the camera than an image shows. What a view does not
    name, it does not ask for. Half a height counts as none."""
    if _names_angle(asked) and Turn.of(asked.tags).away(Turn.of(shown.tags)):
        return FACING not in map(normal, asked.tags) or FACING not in map(normal, shown.tags)
    return _names_height(asked) and abs(_height(asked) - _height(shown)) >= 1


def _names_angle(prompt: ViewPrompt) -> bool:
    return prompt.view.get("angle", OWN) != OWN and (
        not usual_tags(prompt.tags).isdisjoint({*DEGREES, *SIDES}) or FACING in map(normal, prompt.tags))


def _names_height(prompt: ViewPrompt) -> bool:
    return prompt.view.get("height", OWN) != OWN or (
        prompt.view.get("angle", OWN) != OWN and not usual_tags(prompt.tags).isdisjoint(ELEVATIONS))


def _height(prompt: ViewPrompt) -> float:
    if normal(prompt.view.get("height", "")) == SLIGHTLY:
        return 0.5
    return next((height for tag, height in ELEVATIONS.items() if tag in usual_tags(prompt.tags)), 0)
