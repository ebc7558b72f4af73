"""Views as instructions for an edit model, such as Qwen-Image-Edit, Flux Kontext, or one behind an API.

    Show the same character from behind, full body, running, on a beach.

"The same character" stands for all that the reference image shows of her.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..captions.roles import TagRoles
from ..captions.sentences import say_tag
from ..captions.tags import escape_brackets
from ..captions.views import OWN, ViewPrompt
from ..captions.vocabulary import Vocabulary, normal
from .shown import shown_words

START = "Show the same character"
INSTRUCTIONS: Mapping[str, str] = {
    "front view": "from the front", "looking at viewer": "looking at the viewer",
    "three-quarter view": "in three-quarter view", "from side": "in profile", "from behind": "from behind",
    "three-quarter left": "in three-quarter view, turned towards the left edge of the image",
    "three-quarter right": "in three-quarter view, turned towards the right edge of the image",
    "facing left": "in profile, facing the left edge of the image",
    "facing right": "in profile, facing the right edge of the image",
    "back quarter left": "from behind, turned slightly towards the left edge of the image",
    "back quarter right": "from behind, turned slightly towards the right edge of the image",
    "eye level": "at eye level", "from above": "with the camera above, looking down",
    "from below": "with the camera low, looking up",
    "close-up": "in a close-up", "upper body": "from the waist up", "cowboy shot": "from the thighs up",
    "full body": "full body",
    "flat color": "redrawn in flat colours", "watercolor": "redrawn as a watercolour painting",
    "lineart": "redrawn as line art", "oil painting": "redrawn as an oil painting",
    "pixel art": "redrawn as pixel art", "pastel": "redrawn in pastel colours", "dark": "redrawn in dark colours",
}
"""Word of a view -> how an instruction says it, where that is not how a sentence says it (`captions.phrases`)."""
ANGLES: Mapping[str, float] = {
    "front view": 2, "three-quarter left": 1, "three-quarter right": 1, "facing left": 0.75, "facing right": 0.75,
    "from behind": 1, "back quarter left": 0.5, "back quarter right": 0.5}
HEIGHTS: Mapping[str, float] = {"eye level": 4, "from above": 1, "from below": 1}
POSES: Mapping[str, float] = {"standing": 3, "sitting": 1, "walking": 1, "running": 0.5, "hand on own hip": 0.5}
SAID: Mapping[str, tuple[str, ...]] = {
    "three-quarter left": ("three-quarter view", "facing left"),
    "three-quarter right": ("three-quarter view", "facing right"),
    "back quarter left": ("from behind", "facing left"), "back quarter right": ("from behind", "facing right"),
    "eye level": (),
}
"""Word of a view -> the tags that say it in a caption."""
OWN_STYLE = 2
"""Images in the style of the reference, for each one that is redrawn in another."""


def say_instruction(prompt: ViewPrompt, roles: TagRoles, vocabulary: Vocabulary) -> str:
    """The view as an instruction without a full stop. What has no phrase is said as in a sentence."""
    phrases = [INSTRUCTIONS.get(normal(word)) or say_tag(word, axis)
               for axis, word in shown_words(prompt, roles, vocabulary)]
    return escape_brackets(f"{START} {', '.join(phrases)}" if phrases else START)


def instruction_vocabulary(base: Vocabulary) -> Vocabulary:
    """The views that an instruction can ask for: the base's words, with left and right, the height of the camera and
    poses as axes of their own. The sandbox keeps its own words, because its encoder knows no others."""
    if base.name == "sandbox":
        return base
    style = base.axes["style"]
    axes = {"angle": ANGLES, "height": HEIGHTS, "framing": base.axes["framing"], "pose": POSES,
            **{axis: tags for axis, tags in base.axes.items() if axis not in ("angle", "framing", "style")},
            "style": {OWN: OWN_STYLE * sum(style.values()), **style}}
    return replace(base, axes=axes, said=SAID)
