"""The drawn world of the sandbox: its attributes, their booru-like tags, characters, scenes and captions.

`drawing.draw` paints a `Scene`; this module defines what a scene can contain and what of it is visible.
"""
from __future__ import annotations

import random
from dataclasses import astuple, dataclass, replace
from typing import Any

SUBJECT = "1girl"

#: attribute -> its tags; every tag belongs to exactly one attribute.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "hair_color": ("black hair", "blonde hair", "red hair", "pink hair", "purple hair", "blue hair", "green hair"),
    "hair_style": ("short hair", "long hair", "twintails"),
    "eyes": ("blue eyes", "green eyes", "red eyes", "purple eyes", "yellow eyes"),
    "ears": ("human ears", "fox ears", "cat ears", "bunny ears"),
    "tail": ("no tail", "fox tail", "cat tail"),
    "outfit": ("red dress", "blue dress", "green dress", "yellow dress", "white dress", "black dress"),
    "angle": ("front view", "from side", "from behind", "from above", "from below"),
    "framing": ("full body", "upper body", "close-up"),
    "expression": ("smile", "expressionless", "open mouth"),
    "background": ("white background", "blue sky", "grass", "night sky", "sunset"),
    "style": ("flat color", "lineart", "pastel", "dark", "pixel art"),
}
IDENTITY = ("hair_color", "hair_style", "eyes", "ears", "tail", "outfit")
CONTEXT = ("angle", "framing", "expression", "background", "style")

SIGNATURE_KINDS = ("mark", "odd eyes", "hair-pin", "two-coloured tail")
SIGNATURE_COLORS = ("cyan", "orange", "magenta", "lime")

_ATTRIBUTE_OF = {tag: name for name, tags in ATTRIBUTES.items() for tag in tags}
#: the angles at which a face looks at the viewer with both eyes
_FACING = ("front view", "from above", "from below")


def _check(value, attributes: tuple[str, ...]) -> None:
    for name in attributes:
        tag = getattr(value, name)
        if tag not in ATTRIBUTES[name]:
            raise ValueError(f"{tag!r} is not a tag of {name}; valid tags are {', '.join(ATTRIBUTES[name])}")


@dataclass(frozen=True)
class Signature:
    """A trait that no tag names: one of `SIGNATURE_KINDS` in one of `SIGNATURE_COLORS`."""
    kind: str
    color_name: str

    def __post_init__(self):
        for value, valid in ((self.kind, SIGNATURE_KINDS), (self.color_name, SIGNATURE_COLORS)):
            if value not in valid:
                raise ValueError(f"{value!r} is not one of {', '.join(valid)}")


@dataclass(frozen=True)
class Character:
    """Who is drawn: one tag per attribute of `IDENTITY`, and perhaps a signature."""
    hair_color: str
    hair_style: str
    eyes: str
    ears: str
    tail: str
    outfit: str
    signature: Signature | None = None

    def __post_init__(self):
        _check(self, IDENTITY)
        if self.signature and self.signature.kind == "two-coloured tail" and self.tail == "no tail":
            raise ValueError("a two-coloured tail needs a tail; choose 'fox tail' or 'cat tail'")

    @property
    def identity(self) -> tuple[str, ...]:
        """The six identity tags, in the order of `IDENTITY`."""
        return astuple(self)[:6]


@dataclass(frozen=True)
class Scene:
    """A character and how it is shown: one tag per attribute of `CONTEXT`."""
    character: Character
    angle: str = "front view"
    framing: str = "full body"
    expression: str = "smile"
    background: str = "white background"
    style: str = "flat color"

    def __post_init__(self):
        _check(self, CONTEXT)

    def tag(self, attribute: str) -> str:
        """The tag this scene has for `attribute`, whether it can be seen or not."""
        return getattr(self if attribute in CONTEXT else self.character, attribute)


#: characters that no base model was ever trained on, nor on anyone like them
HELD_OUT: dict[str, Character] = {
    "akane": Character("red hair", "short hair", "green eyes", "fox ears", "fox tail", "white dress",
                       Signature("two-coloured tail", "cyan")),
    "mizuki": Character("blue hair", "twintails", "yellow eyes", "bunny ears", "no tail", "black dress",
                        Signature("mark", "magenta")),
    "hinata": Character("blonde hair", "long hair", "purple eyes", "cat ears", "cat tail", "red dress",
                        Signature("odd eyes", "cyan")),
    "momo": Character("pink hair", "short hair", "blue eyes", "human ears", "no tail", "yellow dress",
                      Signature("hair-pin", "lime")),
    "kuro": Character("black hair", "long hair", "red eyes", "cat ears", "cat tail", "blue dress",
                      Signature("two-coloured tail", "orange")),
    "midori": Character("green hair", "twintails", "red eyes", "human ears", "fox tail", "yellow dress",
                        Signature("mark", "cyan")),
    "sumire": Character("purple hair", "short hair", "yellow eyes", "bunny ears", "no tail", "green dress",
                        Signature("hair-pin", "orange")),
    "aoi": Character("blue hair", "long hair", "green eyes", "fox ears", "fox tail", "red dress",
                     Signature("odd eyes", "orange")),
}


def attribute_of(tag: str) -> str | None:
    """The attribute that `tag` names, or None if the world does not know the tag."""
    return _ATTRIBUTE_OF.get(tag)


def visible(scene: Scene, attribute: str) -> bool:
    """Whether the drawing of `scene` shows `attribute` (a name in `ATTRIBUTES`, or "signature")."""
    if attribute == "signature":
        return _signature_visible(scene)
    if attribute in ("eyes", "expression"):
        return scene.angle != "from behind"
    if attribute == "tail":
        return scene.framing != "close-up"
    if attribute == "outfit":
        # From above, the shoulders are seen beside the face even in a close-up.
        return scene.framing != "close-up" or scene.angle == "from above"
    if attribute not in ATTRIBUTES:
        raise ValueError(f"{attribute!r} is not an attribute; valid ones are {', '.join(ATTRIBUTES)}, signature")
    return True


def _signature_visible(scene: Scene) -> bool:
    if scene.character.signature is None:
        return False
    return {
        "mark": scene.angle != "from behind",
        "odd eyes": scene.angle in _FACING,
        "hair-pin": scene.angle != "from behind",
        "two-coloured tail": scene.framing != "close-up",
    }[scene.character.signature.kind]


def caption_tags(scene: Scene, hidden: bool = False) -> list[str]:
    """`1girl`, then the tag of every visible attribute (with `hidden`, of every attribute) in table order."""
    return [SUBJECT] + [scene.tag(name) for name in ATTRIBUTES if hidden or visible(scene, name)]


def differences(a: Character, b: Character) -> int:
    """The number of identity attributes in which two characters differ (0..6)."""
    return sum(x != y for x, y in zip(a.identity, b.identity, strict=True))


def is_held_out(character: Character) -> bool:
    """Whether `character` shares all, or all but one, of its identity tags with a held-out one."""
    return any(differences(character, held) <= 1 for held in HELD_OUT.values())


def sample_character(rng: random.Random, signature: bool = False) -> Character:
    """A random character that is not `is_held_out`; with `signature`, one of the signatures it can have."""
    while True:
        tags: dict[str, Any] = {name: rng.choice(ATTRIBUTES[name]) for name in IDENTITY}
        character = Character(**tags)
        if not is_held_out(character):
            break
    return with_signature(rng, character) if signature else character


def with_signature(rng: random.Random, character: Character) -> Character:
    """`character` with a random signature that its tail allows."""
    kinds = SIGNATURE_KINDS if character.tail != "no tail" else SIGNATURE_KINDS[:3]
    return replace(character, signature=Signature(rng.choice(kinds), rng.choice(SIGNATURE_COLORS)))


def sample_scene(rng: random.Random, character: Character | None = None, **fixed: str) -> Scene:
    """A random scene of `character` (or of a random one); `fixed` context attributes are kept."""
    unknown = set(fixed) - set(CONTEXT)
    if unknown:
        raise ValueError(f"not a context attribute: {', '.join(sorted(unknown))}; valid ones are {', '.join(CONTEXT)}")
    context = {name: rng.choice(ATTRIBUTES[name]) for name in CONTEXT}
    return Scene(character or sample_character(rng), **{**context, **fixed})


def draw(scene: Scene, size: int = 64):
    """The drawing of `scene`, a square RGB `PIL.Image`; see `drawing.draw`."""
    from .drawing import draw as paint
    return paint(scene, size)
