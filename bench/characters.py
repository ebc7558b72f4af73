"""Characters for the tables of bench/bootstrap.py, on which nothing was tuned.

They are drawn by a seed that was committed before anyone had looked at them. Neither the base nor the judge was trained
on one of them: each shares five of its six identity tags with a held-out character, and whatever is that near to one is
in no training set of the sandbox. Its mark is another one than that character's. Every kind of mark and every colour
falls to as many characters as any other.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from ..sandbox.world import (
    ATTRIBUTES,
    HELD_OUT,
    IDENTITY,
    SIGNATURE_COLORS,
    SIGNATURE_KINDS,
    Character,
    Signature,
    differences,
)

SEED = "bootstrap, new characters 1"
NAMES = ("haru", "ibuki", "kaede", "natsu", "rin", "shiori", "tsubaki", "yuki")
FAR = 3
"""Least number of identity tags in which two of them differ."""


def draw_characters(names: Sequence[str] = NAMES, seed: str = SEED) -> dict[str, Character]:
    """A character with a mark for each name; the same ones for the same seed."""
    rng, drawn = random.Random(seed), dict[str, Character]()
    marks = zip(_deal(rng, SIGNATURE_KINDS, len(names)), _deal(rng, SIGNATURE_COLORS, len(names)), strict=True)
    for name, mark in zip(names, marks, strict=True):
        while not _is_new(character := _sample(rng), Signature(*mark), list(drawn.values())):
            pass
        drawn[name] = replace(character, signature=Signature(*mark))
    return drawn


def _deal(rng: random.Random, values: Sequence[str], count: int) -> list[str]:
    """`count` values in random order, each as often as any other, or once more."""
    dealt = [values[index % len(values)] for index in range(count)]
    rng.shuffle(dealt)
    return dealt


def _sample(rng: random.Random) -> Character:
    """Random identity tags, also of those that `world.sample_character` leaves out."""
    return Character(**{name: rng.choice(ATTRIBUTES[name]) for name in IDENTITY})


def _is_new(character: Character, mark: Signature, drawn: Sequence[Character]) -> bool:
    if mark.kind == "two-coloured tail" and character.tail == "no tail":
        return False
    near = [held for held in HELD_OUT.values() if differences(held, character) <= 1]
    return (bool(near) and character.identity not in [held.identity for held in near]
            and all(held.signature != mark for held in near)
            and all(differences(other, character) >= FAR for other in drawn))


NEW = draw_characters()
