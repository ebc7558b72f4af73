"""Views as places of the camera, in the words of the multiple-angles LoRAs of Qwen-Image-Edit and Flux.2.

    <sks> front-left quarter view elevated shot medium shot

8 directions, 4 heights and 3 distances: the 96 places of fal/Qwen-Image-Edit-2511-Multiple-Angles-LoRA.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..captions.axes import usual_view
from ..captions.roles import TagRoles
from ..captions.sentences import say_tag
from ..captions.tags import escape_brackets
from ..captions.views import ViewPrompt
from ..captions.vocabulary import Vocabulary, normal
from .shown import shown_words

CALL = "<sks>"
"""The word that calls the LoRA."""
DIRECTIONS: Mapping[str, str] = {
    "front view": "front view", "front-right quarter": "front-right quarter view", "right side": "right side view",
    "back-right quarter": "back-right quarter view", "from behind": "back view",
    "back-left quarter": "back-left quarter view", "left side": "left side view",
    "front-left quarter": "front-left quarter view",
    "looking at viewer": "front view", "three-quarter view": "front-right quarter view", "from side": "right side view",
}
ELEVATIONS: Mapping[str, str] = {
    "from below": "low-angle shot", "eye level": "eye-level shot", "slightly from above": "elevated shot",
    "from above": "high-angle shot",
}
DISTANCES: Mapping[str, str] = {
    "close-up": "close-up", "upper body": "medium shot", "cowboy shot": "medium shot", "full body": "wide shot",
}
PLACE: tuple[tuple[Mapping[str, str], str], ...] = (
    (DIRECTIONS, "front view"), (ELEVATIONS, "eye-level shot"), (DISTANCES, "medium shot"))
"""In the order of a prompt: word of a view -> the LoRA's word; and what is said where a view has no such word."""
SAID: Mapping[str, tuple[str, ...]] = {
    "front-right quarter": ("three-quarter view",), "front-left quarter": ("three-quarter view",),
    "right side": ("from side",), "left side": ("from side",),
    "back-right quarter": ("from behind",), "back-left quarter": ("from behind",),
    "eye level": (), "slightly from above": ("from above",),
}
"""Word of a view -> the tags that say it in a caption. Left and right are the camera's here, and which way the
character then looks is up to the model: no caption says it."""
AXES: Mapping[str, Mapping[str, float]] = {
    "angle": {"front view": 2, "front-right quarter": 1.5, "front-left quarter": 1.5, "right side": 1, "left side": 1,
              "from behind": 1, "back-right quarter": 0.5, "back-left quarter": 0.5},
    "height": {"eye level": 4, "slightly from above": 1.5, "from above": 0.75, "from below": 1},
    "framing": {"full body": 2, "upper body": 2, "close-up": 1.5},
}
"""What these LoRAs were taught, and nothing beside it: no mood, no ground, no style."""


def say_camera(prompt: ViewPrompt, roles: TagRoles, vocabulary: Vocabulary) -> str:
    """The view as a place of the camera. Words of other axes follow, said as in a sentence."""
    words = list(shown_words(prompt, roles, vocabulary))
    named = {axis_word: _known(axis_word[1]) for axis_word in words}
    place = [next((table[word] for word in named.values() if word in table), usual) for table, usual in PLACE]
    rest = [say_tag(word, axis) for (axis, word), known in named.items()
            if not any(known in table for table, _ in PLACE)]
    return escape_brackets(", ".join([" ".join((CALL, *place)), *rest]))


def _known(word: str) -> str:
    """The word as the tables have it: `from behind` for `rear view`."""
    text = normal(word)
    return text if any(text in table for table, _ in PLACE) else usual_view(text) or text


def camera_vocabulary(base: Vocabulary) -> Vocabulary:
    """The places that such a LoRA knows. The sandbox keeps its own words for them."""
    if base.name == "sandbox":
        return replace(base, axes={axis: tags for axis, tags in base.axes.items() if axis in AXES})
    return replace(base, axes=AXES, said=SAID)
