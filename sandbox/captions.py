"""Training captions of the sandbox: shuffled, with tags left out, sometimes empty or with a junk trigger.

What a caption leaves out may be anything, so an omitted tag leaves its attribute free. A base model that has seen
junk words ignores a trigger it does not know.
"""
from __future__ import annotations

import random

from .world import Scene, caption_tags

EMPTY, SHUFFLED, THINNED, DROP, TRIGGERED, HIDDEN = 0.10, 0.5, 0.25, 0.3, 0.30, 0.35
_ONSETS = "b ch d f g h j k l m n p r s sh t v w x y z zq kr tr sk".split()
_VOWELS = "a e i o u ei ou ya yu".split()


def training_caption(rng: random.Random, scene: Scene) -> str:
    """A caption of `scene` as a user who trains a LoRA might write it."""
    if rng.random() < EMPTY:
        return ""
    tags = caption_tags(scene, hidden=rng.random() < HIDDEN)
    subject, rest = tags[:1], tags[1:]
    if rng.random() < SHUFFLED:
        rng.shuffle(rest)
    if rng.random() < THINNED:
        # With a junk word, "1girl" may be dropped like any other tag.
        subject, rest = ([tag for tag in part if rng.random() >= DROP] for part in (subject, rest))
    junk = [junk_trigger(rng)] if rng.random() < TRIGGERED else []
    return ", ".join(junk + subject + rest)


def junk_trigger(rng: random.Random) -> str:
    """One to three random syllables, sometimes with digits, such as `kyaru2` or `zqx`."""
    if rng.random() < 0.3:
        return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(rng.randint(3, 7)))
    word = "".join(rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(rng.randint(1, 3)))
    return word + (str(rng.randrange(100)) if rng.random() < 0.3 else "")
