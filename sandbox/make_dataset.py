"""Draws the example datasets in `dataset/`: `python -m lora_bootstrap.sandbox.make_dataset`.

Each is what a user would have gathered of one held-out character: views from every side, near and far, in changing
moods, places and styles, each with its tags beside it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path

from . import SANDBOX_DIR
from .drawing import draw
from .world import ATTRIBUTES, HELD_OUT, Scene, caption_tags

CHARACTERS = ("akane",)
COUNT = 20
SIDE = 128
STYLES = {"flat color": 8, "lineart": 3, "pastel": 3, "dark": 3, "pixel art": 3}
"""How many of the pictures are in each style: what stays the same over several styles is the character."""


def views(name: str) -> list[Scene]:
    """COUNT scenes of a held-out character: each angle in each framing, the other attributes evenly dealt."""
    rng = random.Random(name)
    # The 15 pairs once, then the full body from each angle again: it alone shows everything.
    framings = [*ATTRIBUTES["framing"], "full body"]
    pairs = [(angle, framing) for framing, angle in itertools.product(framings, ATTRIBUTES["angle"])]
    decks = [_dealt(rng, ATTRIBUTES[attribute]) for attribute in ("expression", "background")]
    styles = _dealt(rng, [style for style, count in STYLES.items() for _ in range(count)])
    return [Scene(HELD_OUT[name], *row[0], *row[1:]) for row in zip(pairs, *decks, styles, strict=True)]


def _dealt(rng: random.Random, tags: Sequence[str]) -> list[str]:
    """COUNT tags, each as often as any other (or once more): the first, the plainest, and the rest in random order."""
    first, *rest = itertools.islice(itertools.cycle(tags), COUNT)
    rng.shuffle(rest)
    return [first, *rest]


def make_dataset(folder: Path, name: str) -> None:
    """Write the views of a character as numbered PNG files with tags, SIDE pixels a side."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"{name}, framing")
    for number, scene in enumerate(views(name), start=1):
        stem = folder / "_".join((f"{number:02d}", *f"{scene.angle} {scene.framing}".replace("-", " ").split()))
        # No two photographers stand in the same place.
        jitter = (rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04), rng.uniform(0.94, 1.1))
        draw(scene, SIDE, jitter).save(stem.with_suffix(".png"), optimize=True)
        stem.with_suffix(".txt").write_text(", ".join(caption_tags(scene)) + "\n", encoding="utf-8")


def main() -> None:
    for name in CHARACTERS:
        make_dataset(SANDBOX_DIR / "dataset" / name, name)


if __name__ == "__main__":
    main()
