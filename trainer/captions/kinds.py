"""The kinds of LoRA, one row each: what its trigger absorbs, which images it needs, how its training starts and how
strongly it is used. Whatever depends on the kind of a LoRA reads this table.

Sources are the seed guides, by number. 001: 1,500 to 3,000 steps for 20 to 30 images of a character, and the strengths
in a stack. 002: a light LoRA at 0.5, a single LoRA at most at 0.9. 003: 150 to 200 images of a real person. 004: 15 to
50 images, 15 to 25 for a character and 30 to 50 for a style; rank 16 for what is simple; the tags of the core concept
are left out of captions. What no guide says (strengths of an object, a background, a concept) is our own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..common.errors import unknown_name

THOROUGH = (150, 200)
"""Number of images that guide 003 asks for."""
PERSON_AXES = ("framing", "view", "expression", "background", "lighting", "outfit")


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of LoRA.

    Attributes:
        absorbed: classes of tags (`classes.ORDER`) that the trigger may come to mean.
        by_share: absorb only the tags that most images have; otherwise all of these classes, because a single mention
            would share what the trigger should learn.
        deleted: classes of tags that are noise for it.
        needs_trigger: whether a word must call it; a style can do without.
        least, most: number of images that most guides ask for.
        thorough: number that guide 003 asks for; None where it says nothing.
        axes: axes of `coverage_words.AXES` on which its images should vary.
        person: whether it has a face and a body that images must show.
        prompt_set: the ready-made prompts that test it, one of `prompt_sets.SETS`.
        preset: which of a family's presets it starts from.
        rank: factor on that preset's rank and alpha.
        images: number of images that the preset's steps are meant for.
        likeness: alpha of the score: likeness weighs alpha squared times as much as prompt accuracy.
        strength: where to start in a stack.
        leads: whether it should be the strongest of a stack.
    """

    absorbed: tuple[str, ...]
    by_share: bool = True
    deleted: tuple[str, ...] = ("quality",)
    needs_trigger: bool = True
    least: int = 15
    most: int = 50
    thorough: tuple[int, int] | None = None
    axes: tuple[str, ...] = ("background", "lighting")
    person: bool = False
    prompt_set: str = "context test"
    preset: str = "concept"
    rank: float = 1.0
    images: int = 25
    likeness: float = 1.0
    strength: float = 0.5
    leads: bool = False


KINDS: Mapping[str, Kind] = {
    "style": Kind(absorbed=("style",), by_share=False, needs_trigger=False, least=30, most=50, prompt_set="settings",
                  preset="style", images=40),
    "character": Kind(absorbed=("identity", "outfit"), most=25, thorough=THOROUGH, axes=PERSON_AXES, person=True,
                      preset="character", likeness=3.0, strength=0.8, leads=True),
    "concept": Kind(absorbed=("object", "other", "lighting", "background", "style"), prompt_set="settings"),
    # Clothes of a real person change; they are named in captions, so that others can be asked for.
    "real person": Kind(absorbed=("identity",), most=25, thorough=THOROUGH, axes=PERSON_AXES, person=True,
                        preset="character", rank=2.0, likeness=3.0, strength=0.8, leads=True),
    "object": Kind(absorbed=("object", "other"), axes=("view", "background", "lighting"), prompt_set="settings",
                   rank=0.5, likeness=3.0, strength=0.6),
    "clothing": Kind(absorbed=("outfit",), axes=("view", "background", "lighting"), prompt_set="poses", strength=0.6),
    "pose": Kind(absorbed=("pose",), axes=("background", "outfit"), prompt_set="outfits", rank=0.5),
    "background": Kind(absorbed=("background",), axes=("lighting",), prompt_set="poses", preset="style"),
    "lighting": Kind(absorbed=("lighting",), by_share=False, axes=("background",), prompt_set="poses",
                     preset="style"),
    "detail": Kind(absorbed=("quality",), by_share=False, deleted=(), prompt_set="settings", preset="style",
                   strength=0.4),
}
"""By name, in the order of Train LoRA's widget. Workflows hold the names, so new rows come last."""


def get_kind(name: str, what: str = "kind of LoRA") -> Kind:
    """The row of that name. Raises UserError with the nearest valid name."""
    if name not in KINDS:
        raise unknown_name(what, name, KINDS)
    return KINDS[name]


def order_kinds(*first: str) -> tuple[str, ...]:
    """Every kind's name, these before the others: a menu keeps the order in which older versions offered them."""
    return (*first, *(name for name in KINDS if name not in first))


def name_lora(kind: str) -> str:
    """`a style LoRA`, `an object LoRA`."""
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind} LoRA"
