"""The axes on which an image can be described, the many words for one view, and which words contradict each other.

`front view`, `straight-on` and `facing viewer` are one angle; `portrait` and `headshot` are one framing. Whoever asks
for another view must leave all of them out, not only the word of a vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations

from .classes import known_class, plain_form
from .names import is_character

Names = Mapping[str, tuple[str, ...]]
"""The usual tag -> other words for the same."""

ANGLES: Names = {
    "front view": ("straight on", "head on", "facing viewer", "facing the viewer", "facing forward", "facing front",
                   "facing camera", "facing the camera", "frontal", "frontal view", "from the front", "from front",
                   "front facing", "front angle", "en face", "seen from the front", "view from the front"),
    "three-quarter view": ("three quarter view", "three quarters view", "three quarter profile", "three quarter angle",
                           "three quarter", "3/4 view", "3/4 angle", "3 4 view", "quarter view"),
    "from side": ("profile", "side view", "in profile", "side profile", "profile view", "from the side", "sideways",
                  "facing to the side", "facing side", "lateral view", "view from the side", "seen from the side",
                  "side angle"),
    "from behind": ("back view", "rear view", "facing away", "back turned", "back to viewer", "seen from behind",
                    "seen from the back", "view from behind", "from the back", "from back", "back to camera",
                    "rear angle", "behind view"),
}
"""From which side she is seen."""
HEIGHTS: Names = {
    "from above": ("high angle", "bird's eye view", "birds eye view", "view from above", "top down", "top view",
                   "overhead", "overhead shot", "overhead view", "high angle shot", "aerial view", "seen from above"),
    "from below": ("low angle", "worm's eye view", "worms eye view", "view from below", "low angle shot",
                   "seen from below"),
}
"""The height of the camera, beside any of the ANGLES."""
TURNS: Names = {
    "facing left": ("from left", "from the left", "left side view", "left profile", "left side", "turned left",
                    "facing to the left", "left view"),
    "facing right": ("from right", "from the right", "right side view", "right profile", "right side", "turned right",
                     "facing to the right", "right view"),
}
"""Which of her sides is seen; it needs a view from the side."""
FRAMINGS: Names = {
    "close-up": ("close up", "closeup", "extreme close up", "close up shot", "portrait", "portrait shot", "headshot",
                 "head shot", "head and shoulders", "face focus", "face close up", "facial close up", "macro"),
    "upper body": ("half body", "half length", "waist up", "waist shot", "bust", "bust shot", "chest up", "torso shot",
                   "medium shot", "mid shot", "medium close up", "upper body shot", "half body shot"),
    "cowboy shot": ("american shot", "thigh up", "thighs up", "knee up shot", "knees up shot", "from thighs up",
                    "medium full shot", "medium long shot", "three quarter shot"),
    "full body": ("full length", "full body shot", "full shot", "whole body", "head to toe", "wide shot",
                  "very wide shot", "long shot", "extreme long shot", "full figure", "entire body"),
    "lower body": ("lower body shot", "legs only"),
}
AXES_OF_VIEW: Mapping[str, tuple[Names, ...]] = {"angle": (ANGLES, HEIGHTS, TURNS), "framing": (FRAMINGS,)}
OWN_AXES = ("expression", "outfit", "pose", "object", "background", "lighting", "style")
"""Classes of tags that are axes as well."""
_ANGLE = re.compile(r"\b(?:from|facing|view|angle|pov|perspective|fisheye)\b")
_FRAMING = re.compile(r"\b(?:shot|body|frame|length|cropped|close)\b")

EXPRESSIONS: Mapping[str, tuple[str, ...]] = {
    "smile": ("smile", "grin", "smirk", "laugh", "happy", "smiling", "laughing", "grinning"),
    "no smile": ("frown", "angry", "sad", "crying", "scowl", "pout", "annoyed", "expressionless", "serious", "tears",
                 "frowning", "scared"),
    "open mouth": ("open mouth", ":d", ":o", "shouting", "yawning", "screaming", "tongue out"),
    "closed mouth": ("closed mouth",),
    "closed eyes": ("closed eyes", "eyes closed", "sleeping"),
    "open eyes": ("looking at viewer", "wide-eyed", "eye contact", "looking at the viewer"),
}
PLACES: Mapping[str, tuple[str, ...]] = {
    "plain": ("background", "backdrop", "studio"),
    "inside": ("indoors", "indoor", "inside", "room", "bedroom", "kitchen", "classroom", "office", "cafe", "bathroom",
               "library", "living room", "hallway"),
    "outside": ("outdoors", "outdoor", "outside", "street", "city street", "beach", "ocean", "forest", "park", "field",
                "garden", "mountain", "rooftop", "grass", "alley", "sky", "cityscape"),
}
HOURS: Mapping[str, tuple[str, ...]] = {
    "sun": ("sunlight", "sunbeam", "sunbeams"),
    "day": ("day", "daytime", "blue sky", "daylight", "midday", "noon"),
    "sunset": ("sunset", "sunrise", "dusk", "dawn", "twilight", "golden hour", "evening sky", "orange sky"),
    "night": ("night", "night sky", "starry sky", "moonlight", "midnight"),
}
_GAZES = ("looking at viewer", "looking at the viewer", "eye contact", "looking ahead")
_OPPOSED = (("smile", "no smile"), ("open mouth", "closed mouth"), ("closed eyes", "open eyes"), ("plain", "inside"),
            ("plain", "outside"), ("inside", "outside"), ("day", "sunset"), ("day", "night"), ("sunset", "night"),
            ("sun", "night"),
            ("front view", "facing left"), ("front view", "facing right"), ("from behind", "face"))


_BODY_ONLY = re.compile(r"\b(?:standing|sitting|walking|running|kneeling|lying|squatting|crouching|jumping|reclining|"
                        r"dancing|seiza|wariza|holding|carrying|legs?|knees?|feet|foot|thighs?|toes|tiptoes|hips?)\b")


def _spelled(tag: str) -> str:
    return plain_form(tag).replace("-", " ")


_ALIASES = {_spelled(word): name for names in (ANGLES, HEIGHTS, TURNS, FRAMINGS)
            for name, others in names.items() for word in (name, *others)}
_PLACE = {name: axis for axis, tables in AXES_OF_VIEW.items() for names in tables for name in names}


def usual_view(tag: str) -> str | None:
    """The usual tag for an angle or a framing: `from behind` for `rear view`; None for anything else."""
    return _ALIASES.get(_spelled(tag))


@lru_cache(maxsize=65536)
def axis_of(tag: str) -> str | None:
    """The axis that the tag describes (angle, framing, or one of OWN_AXES), or None."""
    if (usual := usual_view(tag)) is not None:
        return _PLACE[usual]
    name = None if is_character(tag) else known_class(tag)
    if name != "view":
        return name if name in OWN_AXES else None
    text = _spelled(tag)
    return "framing" if _FRAMING.search(text) else "angle" if _ANGLE.search(text) else None


def find_contradictions(tags: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of tags that no one image can show: `front view` beside `from behind`, `day` beside `night`.

    Words about the face contradict a view from behind. An image can be both from the side and from above.
    """
    kinds = [(tag, set(_kinds(tag))) for tag in dict.fromkeys(tags)]
    back = {tag for tag, found in kinds if _spelled(tag) == "looking back"}
    return [(one, other) for (one, ours), (other, theirs) in combinations(kinds, 2)
            if _oppose(ours, theirs) and not (back and "face" in ours | theirs)]


def is_of_the_face(tag: str) -> bool:
    """Whether the tag names an expression, the eyes, or a gaze at the viewer, which nobody sees from behind."""
    text = _spelled(tag)
    return known_class(tag) == "expression" or text in _GAZES or text.endswith(" eyes")


def can_show(view: Collection[str], tag: str) -> bool:
    """Whether a view of these usual tags can show what the tag names: no face from behind, unless she looks back, and
    no stance in a close-up."""
    if "from behind" in view and "looking back" not in view and is_of_the_face(tag):
        return False
    if "closed eyes" in view and known_class(tag) == "identity" and _spelled(tag).endswith((" eyes", " pupils")):
        return False
    return not ("close-up" in view and known_class(tag) == "pose" and _BODY_ONLY.search(_spelled(tag)))


def _kinds(tag: str) -> Iterator[str]:
    text, usual = _spelled(tag), usual_view(tag)
    if usual is not None:
        yield usual
    for table in (EXPRESSIONS, PLACES, HOURS):
        for kind, words in table.items():
            if any(text == word or text.endswith(f" {word}") for word in words):
                yield kind
                break
    if is_of_the_face(tag):
        yield "face"


def _oppose(ours: set[str], theirs: set[str]) -> bool:
    same_axis = any(len(names.keys() & (ours | theirs)) > 1 for names in (ANGLES, HEIGHTS, TURNS, FRAMINGS))
    return same_axis or any({one, other} <= ours | theirs and not {one, other} <= ours and not {one, other} <= theirs
                            for one, other in _OPPOSED)


def usual_tags(tags: Sequence[str]) -> frozenset[str]:
    """The usual tags of these views."""
    return frozenset(usual for tag in tags if (usual := usual_view(tag)) is not None)
