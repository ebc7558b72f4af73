"""Ready-made prompt sets that test a LoRA in other settings, outfits and poses, and on other bases.

The guides' tests (seed articles 001, 003): a good LoRA preserves its character in any context, and works on bases other
than the one it was trained on. A set's lines are appended to the user's own prompt, which calls the character.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..common.errors import unknown_name

AS_WRITTEN = "as written"
_TAGS: Mapping[str, tuple[str, ...]] = {
    "settings": (
        "indoors, living room, lamp light", "cafe, sitting, warm light", "city street at night, neon lights",
        "forest, sunlight through trees", "beach, blue sky, noon", "snow, winter, overcast"),
    "outfits": (
        "white t-shirt, jeans", "black suit, necktie", "red evening dress", "school uniform", "raincoat, hood down",
        "knight armor"),
    "poses": (
        "close-up, front view, smile", "upper body, from side", "full body, standing, from behind",
        "full body, sitting on a chair", "running, dynamic angle", "lying on back, from above"),
    "expressions": (
        "neutral expression", "laughing, open mouth", "angry, frown", "crying, tears", "surprised, wide eyes",
        "closed eyes, gentle smile"),
}
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
SETS = (AS_WRITTEN, "context test", "other-base test", *_TAGS)
"""The sets that a node offers. The context test is settings, outfits and poses. The other-base test is the first two
lines of each kind, since it is drawn once for every base."""


def prompts(written: Sequence[str], name: str, family: str = "") -> tuple[str, ...]:
    """The user's prompts, each combined with every line of the set.

    Raises UserError for an unknown set.
    """
    if name not in SETS:
        raise unknown_name("set of prompts", name, SETS)
    if name == AS_WRITTEN:
        return tuple(written)
    lines = _lines(name, _SANDBOX if family == "sandbox" else _TAGS)
    return tuple(dict.fromkeys(f"{text}, {line}" if text else line for text in (written or ("",)) for line in lines))


def _lines(name: str, table: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    parts = {
        "context test": [table[part] for part in ("settings", "outfits", "poses")],
        "other-base test": [part[:2] for part in table.values()],
    }.get(name) or [table[name]]
    return tuple(line for part in parts for line in part)
