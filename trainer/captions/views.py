"""View prompts: the angles, framings, expressions, backgrounds and styles in which a character is generated.

Vocabularies are data: one of general booru words, one of the sandbox's own. Named styles vary on purpose: what
stays the same in several styles is the character, so other style LoRAs override it less (seed guide 000).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from .classes import tag_class
from .roles import TagRoles, caption_for
from .vocabulary import Vocabulary, normal

AXES = ("angle", "framing", "expression", "outfit", "background", "style")
"""In the order of a prompt. A vocabulary need not have them all."""
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


_EXPRESSIONS = ("smile", "expressionless", "open mouth", "closed eyes", "frown", "blush")
_BODY = ("tail", "dress", "skirt", "pants", "shorts", "shoes", "boots", "socks", "thighhighs", "footwear", "full body")

VOCABULARIES = {
    vocabulary.name: vocabulary
    for vocabulary in (
        Vocabulary(
            "booru",
            {
                "angle": {"looking at viewer": 3, "from side": 2, "three-quarter view": 2, "from behind": 1.5,
                          "from above": 1, "from below": 1},
                "framing": {"full body": 2, "upper body": 2, "cowboy shot": 1, "close-up": 1.5},
                "expression": {"smile": 2, "expressionless": 2, "open mouth": 1, "closed eyes": 0.5, "frown": 0.5},
                "background": {"white background": 2, "outdoors": 1, "city street": 1, "indoors": 1, "beach": 1,
                               "night sky": 1, "sunset": 1},
                "style": {"flat color": 2, "watercolor": 1, "lineart": 1, "oil painting": 1, "pixel art": 0.5},
            },
            {"from behind": ("eyes", "looking at viewer", *_EXPRESSIONS), "close-up": _BODY,
             "upper body": ("shoes", "boots", "socks", "footwear")},
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
        roles = TagRoles(roles.subject, tuple(tag for tag in roles.identity if tag_class(tag) != "outfit"), roles.view)
    tags: list[str] = []
    for axis, tag in view.items():
        own = axis != "outfit" and tag == OWN
        tags += [each for each in roles.view if vocabulary.axis_of(each) == axis] if own else [tag] * (tag != OWN)
    return ViewPrompt(caption_for(roles, tags, vocabulary, trigger), view)


def view_prompts(count: int, roles: TagRoles, vocabulary: Vocabulary, *, trigger: str = "", seed: int = 0,
                 axes: Mapping[str, Mapping[str, float]] | None = None) -> tuple[ViewPrompt, ...]:
    """`count` views; on every axis each tag occurs as often as its weight says (to within one), in a seeded order.

    The user's own style tag, if given, gets half of the style axis, so the set stays anchored in the original.

    Args:
        axes: axis → tag → weight, in the order of AXES; None: the vocabulary's.
    """
    rng = random.Random(f"views-{seed}")
    axes, columns = axes or vocabulary.axes, []
    for axis in axes:
        weights = dict(axes[axis])
        own = [normal(tag) for tag in roles.view if vocabulary.axis_of(tag) == axis] if axis == "style" else []
        if own and own[0] in weights and len(weights) > 1:
            weights[own[0]] = sum(weight for tag, weight in weights.items() if tag != own[0])
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
    return tuple(ViewPrompt(caption_for(nameless, tuple(view.values()), vocabulary, trigger), view) for view in views)
