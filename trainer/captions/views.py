"""View prompts: the angles, framings, expressions, backgrounds and styles in which a character is generated.

Vocabularies are data: one of general booru words, one of the sandbox's own. Named styles vary on purpose: what
stays the same in several styles is the character, so other style LoRAs override it less (seed guide 000).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from .classes import tag_class
from .roles import TagRoles, caption_for
from .sentences import worded
from .tags import escape_brackets
from .vocabulary import Vocabulary, ends_in, normal

AXES = ("angle", "framing", "expression", "outfit", "object", "background", "lighting", "style")
"""In the order of a prompt. A vocabulary need not have them all."""
VIEW_AXES = ("angle", "height", "framing", "pose", *AXES[2:])
"""The same with the axes that only some wordings and the user's own lines have."""
OWN = "own"
"""On any axis: what the original image shows there."""


@dataclass(frozen=True)
class ViewPrompt:
    """One image to generate.

    Attributes:
        tags: the prompt: first the trigger, then the subject and its identity, then the view.
        view: the view's tag on each axis; curation picks a quota of each.
    """

    tags: tuple[str, ...]
    view: Mapping[str, str]

    @property
    def text(self) -> str:
        return ", ".join(self.tags)

    def caption(self, wording: str, trigger: str = "") -> str:
        """The image's caption in this wording (`sentences.worded`)."""
        return worded(self.tags, wording, trigger, self.view)

    def prompt(self, wording: str, trigger: str = "") -> str:
        """What the image is drawn with: its caption, in which no bracket is a weight."""
        return escape_brackets(self.caption(wording, trigger))


_EXPRESSIONS = ("smile", "expressionless", "open mouth", "closed eyes", "frown", "blush")
_BODY = ("tail", "dress", "skirt", "pants", "shorts", "shoes", "boots", "socks", "thighhighs", "footwear", "full body")
_CLOTHES = ("sundress", "miniskirt", "shirt", "t-shirt", "blouse", "vest", "cape", "cardigan", "top", "overalls",
            "hoodie", "sweater", "jacket", "coat", "kimono", "uniform", "suit", "bodysuit", "jeans", "apron",
            "swimsuit", "bikini", "leotard", "armor", "sleeves", "gloves", "belt", "pantyhose", "legwear")
_SHOES = ("shoes", "boots", "socks", "footwear", "sneakers", "sandals", "heels", "loafers", "slippers")
_HELD = ("holding cup", "holding book", "holding phone", "holding flower")
_HEADGEAR = ("glasses", "eyewear", "eyepatch", "earrings", "earring", "hairclip", "hairpin", "hairband",
             "hair ornament", "hair ribbon", "hair bow", "hair flower", "scrunchie", "piercing")
"""Last words of what is worn with any clothes."""
_SUN = ("sunlight", "sunbeam", "golden hour")
IMPLIED = {"facing left": ("from side",), "facing right": ("from side",)}
"""Tag of a view -> tags that are asked for with it."""
MIRRORED = {"facing left": "facing right", "facing right": "facing left"}
"""Tag -> the tag of the mirror image."""

VOCABULARIES = {
    vocabulary.name: vocabulary
    for vocabulary in (
        Vocabulary(
            "booru",
            {
                "angle": {"looking at viewer": 3, "from side": 1, "facing left": 0.5, "facing right": 0.5,
                          "three-quarter view": 2, "from behind": 1.5, "from above": 1, "from below": 1},
                "framing": {"full body": 2, "upper body": 2, "cowboy shot": 1, "close-up": 1.5},
                "expression": {"smile": 2, "expressionless": 2, "open mouth": 1, "closed eyes": 0.5, "frown": 0.5},
                "outfit": {OWN: 6, "school uniform": 1, "t-shirt": 1, "hoodie": 1, "kimono": 0.5, "suit": 0.5},
                "object": {OWN: 8, "holding cup": 0.5, "holding book": 0.5, "holding phone": 0.5,
                           "holding umbrella": 0.5},
                "background": {"white background": 2, "outdoors": 1, "city street": 1, "indoors": 1, "beach": 1,
                               "night sky": 1, "sunset": 1},
                "lighting": {OWN: 6, "soft lighting": 1, "backlighting": 1, "sunlight": 1, "dramatic lighting": 1},
                "style": {"flat color": 2, "watercolor": 1, "lineart": 1, "oil painting": 1, "pixel art": 0.5},
            },
            {"from behind": ("eyes", "looking at viewer", "glasses", "eyewear", "eyepatch", *_EXPRESSIONS, *_HELD),
             "close-up": (*_BODY, *_CLOTHES, "holding umbrella", *_HELD),
             "upper body": ("pants", "jeans", "shorts", "kneehighs", "thighhighs", *_SHOES), "cowboy shot": _SHOES,
             "closed eyes": ("looking at viewer",),
             "from above": ("sky",), "night sky": _SUN, "white background": _SUN, "indoors": ("holding umbrella",)},
        ),
        Vocabulary(
            "sandbox",
            {
                "angle": {"front view": 3, "from side": 2, "from behind": 2, "from above": 1.5, "from below": 1.5},
                "framing": {"full body": 2, "upper body": 2, "close-up": 1.5},
                "expression": {"smile": 1, "expressionless": 1, "open mouth": 1},
                "background": {"white background": 1, "blue sky": 1, "grass": 1, "night sky": 1, "sunset": 1},
                "style": {"flat color": 2, "lineart": 1, "pastel": 1, "dark": 1, "pixel art": 1},
            },
            {"from behind": ("eyes", "smile", "expressionless", "open mouth"), "close-up": ("tail", "dress")},
            # in that view the sandbox draws the shoulders beside the face
            {("from above", "close-up"): ("dress",)},
        ),
    )
}


def vocabulary_for(base: str) -> Vocabulary:
    """The sandbox's own words for the sandbox, the general ones for any other base."""
    return VOCABULARIES["sandbox" if base == "sandbox" else "booru"]


def view_prompt(view: Mapping[str, str], roles: TagRoles, vocabulary: Vocabulary, trigger: str = "") -> ViewPrompt:
    """The prompt for a view, given by axis; OWN means what the original image shows. Another outfit replaces the
    character's own."""
    if view.get("outfit", OWN) != OWN:
        roles = replace(roles, identity=tuple(tag for tag in roles.identity if _stays_on(tag)))
    tags: list[str] = []
    for axis, tag in view.items():
        if tag != OWN:
            tags += vocabulary.said.get(tag, (*IMPLIED.get(tag, ()), tag))
        elif axis != "outfit" and not _is_of_its_place(axis, view):
            tags += [each for each in roles.view if vocabulary.axis_of(each) == axis]
    return ViewPrompt(caption_for(roles, tags, vocabulary, trigger), view)


def _is_of_its_place(axis: str, view: Mapping[str, str]) -> bool:
    """Whether what the original image shows there went with its background: no sunlight under a night sky."""
    return axis == "lighting" and view.get("background", OWN) != OWN


def _stays_on(tag: str) -> bool:
    """Whether she keeps it when she wears other clothes."""
    return tag_class(tag) != "outfit" or ends_in(tag, _HEADGEAR)


def mirrored(tags: Sequence[str]) -> tuple[str, ...]:
    """The tags of the image when it is flipped: left and right change places."""
    return tuple(MIRRORED.get(normal(tag), tag) for tag in tags)


def view_prompts(count: int, roles: TagRoles, vocabulary: Vocabulary, *, trigger: str = "", seed: int = 0,
                 axes: Mapping[str, Mapping[str, float]] | None = None) -> tuple[ViewPrompt, ...]:
    """`count` views; on every axis each tag is asked for as often as its weight says (to within one), in a seeded
    order.

    The user's own style tag, if given, gets half of the style axis, so the set stays anchored in the original.

    Args:
        axes: axis → tag → weight, in the order of VIEW_AXES; None: the vocabulary's.
    """
    rng = random.Random(f"views-{seed}")
    axes, columns = axes or vocabulary.axes, []
    for axis in axes:
        weights = dict(axes[axis])
        if axis == "outfit" and OWN in weights:  # what she wears anyway is not another outfit
            weights = {tag: weight for tag, weight in weights.items() if tag not in map(normal, roles.identity)}
        own = next((normal(tag) for tag in roles.view if axis == "style" and normal(tag) in weights), "")
        if own and len(weights) > 1:
            weights[own] = sum(weight for tag, weight in weights.items() if tag != own)
        column = apportion(weights, count)
        rng.shuffle(column)
        columns.append(column)
    views = [dict(zip(axes, row, strict=True)) for row in zip(*columns, strict=True)]
    return tuple(view_prompt(view, roles, vocabulary, trigger) for view in views)


def apportion(weights: Mapping[str, float], count: int) -> list[str]:
    """`count` names, each as often as its share of the weights, rounded by largest remainder."""
    total = sum(weights.values())
    exact = {name: count * weight / total for name, weight in weights.items()}
    result = [name for name, share in exact.items() for _ in range(int(share))]
    rest = sorted(exact, key=lambda name: exact[name] - int(exact[name]), reverse=True)
    return result + rest[: count - len(result)]


def showcase(count: int, roles: TagRoles, vocabulary: Vocabulary, trigger: str) -> tuple[ViewPrompt, ...]:
    """`count` fixed views that differ on every axis, prompted by the trigger and subject alone, for a strength grid."""
    nameless = TagRoles(roles.subject, (), roles.view)
    views = [{axis: list(tags)[row % len(tags)] for axis, tags in vocabulary.axes.items()} for row in range(count)]
    return tuple(view_prompt(view, nameless, vocabulary, trigger) for view in views)
