"""Ready-made prompt sets that test a LoRA in other settings, outfits and poses, and on other bases.

The guides' tests (seed articles 001, 003): a good LoRA preserves its character in any context, in any light, with
objects, when the same is asked for in other words, and on bases other than the one it was trained on. A set's lines are
appended to the user's own prompt, which calls the character. They are tags or sentences, as the base was taught.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..captions.sentences import SENTENCES
from ..captions.tags import escape_brackets
from ..common.errors import UserError, unknown_name
from ..models.families import FAMILIES

AS_WRITTEN, FROM_CAPTIONS = "as written", "from captions"
_LINES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "settings": (
        ("indoors, living room, lamp light", "in a living room, by lamplight"),
        ("cafe, sitting, warm light", "sitting in a cafe, in warm light"),
        ("city street at night, neon lights", "on a city street at night, in neon light"),
        ("forest, sunlight through trees", "in a forest, with sunlight falling through the trees"),
        ("beach, blue sky, noon", "on a beach, under a blue sky at noon"),
        ("snow, winter, overcast", "in the snow, on an overcast winter day")),
    "outfits": (
        ("white t-shirt, jeans", "wearing a white t-shirt and jeans"),
        ("black suit, necktie", "wearing a black suit and a necktie"),
        ("red evening dress", "wearing a red evening dress"),
        ("school uniform", "wearing a school uniform"),
        ("raincoat, hood down", "wearing a raincoat with the hood down"),
        ("knight armor", "wearing a knight's armor")),
    "poses": (
        ("close-up, front view, smile", "smiling, seen from the front, in a close-up"),
        ("upper body, from side", "seen from the side, shown from the waist up"),
        ("full body, standing, from behind", "standing, seen from behind, full body"),
        ("full body, sitting on a chair", "sitting on a chair, full body"),
        ("running, dynamic angle", "running, seen from a dynamic angle"),
        ("lying on back, from above", "lying on the back, seen from above")),
    "expressions": (
        ("neutral expression", "with a neutral expression"),
        ("laughing, open mouth", "laughing with an open mouth"),
        ("angry, frown", "looking angry, with a frown"),
        ("crying, tears", "crying, with tears in the eyes"),
        ("surprised, wide eyes", "looking surprised, with wide eyes"),
        ("closed eyes, gentle smile", "smiling gently, with closed eyes")),
    "lighting": (
        ("outdoors, noon, sunlight", "outdoors at noon, in bright sunlight"),
        ("outdoors, golden hour, backlighting", "outdoors in the golden hour, lit from behind"),
        ("outdoors, overcast, soft light", "outdoors on an overcast day, in soft light"),
        ("city street, night, neon lights", "on a city street at night, in neon light"),
        ("indoors, dark room, candlelight", "in a dark room, by candlelight"),
        ("grey background, studio lighting", "on a grey background, in studio light")),
    "objects": (
        ("holding cup", "holding a cup"),
        ("holding phone, looking at phone", "holding a phone and looking at it"),
        ("reading book, sitting", "sitting and reading a book"),
        ("holding umbrella, rain", "holding an umbrella in the rain"),
        ("riding bicycle", "riding a bicycle"),
        ("playing guitar", "playing the guitar")),
    "paraphrase": (
        ("sitting, cafe, smile, upper body", "sitting in a cafe with a smile, shown from the waist up"),
        ("standing, beach, sunset, from behind, full body", "standing on a beach at sunset, seen from behind, full "
                                                            "body"),
        ("holding umbrella, rain, city street, night", "holding an umbrella in the rain, on a city street at night")),
}
"""Set -> its lines, each in tags and in a sentence. The paraphrase is drawn both ways, whatever the base was taught."""
_SANDBOX: Mapping[str, tuple[str, ...]] = {
    "settings": ("front view, full body, grass", "front view, upper body, night sky", "from side, full body, sunset",
                 "front view, close-up, blue sky", "from above, full body, white background"),
    "outfits": ("front view, full body, red dress", "front view, full body, blue dress",
                "front view, full body, black dress", "front view, full body, white dress"),
    "poses": ("front view, close-up, smile", "from side, upper body", "from behind, full body", "from above, full body",
              "from below, upper body, open mouth"),
    "expressions": ("front view, close-up, smile", "front view, close-up, expressionless",
                    "front view, close-up, open mouth"),
}
_JOINED: Mapping[str, tuple[tuple[str, ...], int | None]] = {
    "context test": (("settings", "outfits", "poses"), None),
    "other-base test": (("settings", "outfits", "poses", "expressions"), 2),
}
"""Set -> the sets it is made of, and how many lines it takes of each; None: all."""
SETS = (AS_WRITTEN, "context test", "other-base test", *_LINES, FROM_CAPTIONS)
"""The sets that a node offers. The context test is settings, outfits and poses. The other-base test is the first two
lines of each kind, since it is drawn once for every base."""


def prompts(written: Sequence[str], name: str, family: str = "", captions: Sequence[str] = ()) -> tuple[str, ...]:
    """The user's prompts, each combined with every line of the set.

    Args:
        family: name of the base's family, which decides whether the lines are tags or sentences.
        captions: for FROM_CAPTIONS, which draws them after the user's prompts: they have a trigger of their own.

    Raises UserError for an unknown set, and for one that the base cannot draw.
    """
    if name not in SETS:
        raise unknown_name("set of prompts", name, SETS)
    if name == AS_WRITTEN:
        return tuple(written)
    if name == FROM_CAPTIONS:
        return tuple(dict.fromkeys((*written, *map(escape_brackets, captions))))
    lines = [line for part, most in _parts(name) for line in _lines(part, family)[:most]]
    return tuple(dict.fromkeys(f"{text}, {line}" if text else line for text in (written or ("",)) for line in lines))


def _parts(name: str) -> list[tuple[str, int | None]]:
    parts, most = _JOINED.get(name, ((name,), None))
    return [(part, most) for part in parts]


def _lines(name: str, family: str) -> tuple[str, ...]:
    if family == "sandbox":
        if name not in _SANDBOX:
            raise UserError(f"the sandbox has no prompts for {name}: its drawn world has none of it. Valid: "
                            f"{', '.join((*_JOINED, *_SANDBOX, FROM_CAPTIONS))}.")
        return _SANDBOX[name]
    if name == "paraphrase":
        return tuple(text for pair in _LINES[name] for text in pair)
    prose = family in FAMILIES and FAMILIES[family].wording == SENTENCES
    return tuple(pair[prose] for pair in _LINES[name])
