"""Draws the example datasets in `dataset/`: `python -m lora_bootstrap.sandbox.make_dataset`.

A character's dataset is what a user would collect of one held-out character: views from every side, near and far,
in changing moods, places and styles, each with its tags beside it. A style's is the other way round: one look that the
base model has never seen, and a different person in every image.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from . import SANDBOX_DIR
from .drawing import Color, draw, mix
from .world import ATTRIBUTES, CONTEXT, HELD_OUT, IDENTITY, Character, Scene, caption_tags, is_held_out

CHARACTERS = ("akane",)
COUNT = 20
SIDE = 128
STYLES = {"flat color": 8, "lineart": 3, "pastel": 3, "dark": 3, "pixel art": 3}
"""Number of images in each style. What stays the same over several styles is the character."""
STORYBOOK, STORYBOOK_COUNT, STORYBOOK_SIDE = "storybook", 16, 80
INK: Color = (112, 52, 24)
PAPER: Color = (255, 236, 188)
"""The storybook style: line drawings with a broad pen, printed in brown ink on yellowed paper."""


def views(name: str) -> list[Scene]:
    """COUNT scenes of a held-out character: each angle in each framing, the other attributes evenly distributed."""
    rng = random.Random(name)
    # The 15 pairs once, then the full body from each angle again, because only it shows everything.
    framings = [*ATTRIBUTES["framing"], "full body"]
    pairs = [(angle, framing) for framing, angle in itertools.product(framings, ATTRIBUTES["angle"])]
    decks = [_dealt(rng, ATTRIBUTES[attribute]) for attribute in ("expression", "background")]
    styles = _dealt(rng, [style for style, count in STYLES.items() for _ in range(count)])
    return [Scene(HELD_OUT[name], *row[0], *row[1:]) for row in zip(pairs, *decks, styles, strict=True)]


def storybook_scenes() -> list[Scene]:
    """STORYBOOK_COUNT scenes, none of them showing anybody like a held-out character; all attributes are evenly
    distributed."""
    rng = random.Random(STORYBOOK)
    context = [_dealt(rng, ATTRIBUTES[name], STORYBOOK_COUNT) for name in CONTEXT if name != "style"]
    while True:
        decks = [_dealt(rng, ATTRIBUTES[name], STORYBOOK_COUNT) for name in IDENTITY]
        girls = [Character(*row) for row in zip(*decks, strict=True)]
        if not any(map(is_held_out, girls)):
            return [Scene(girl, *row, "lineart") for girl, *row in zip(girls, *context, strict=True)]


def _dealt(rng: random.Random, tags: Sequence[str], count: int = COUNT) -> list[str]:
    """`count` tags, each as often as any other (or once more): the first, the plainest, the rest in random order."""
    first, *rest = itertools.islice(itertools.cycle(tags), count)
    rng.shuffle(rest)
    return [first, *rest]


def make_dataset(folder: Path, name: str) -> None:
    """Write the views of a character as numbered PNG files with tags, SIDE pixels per side."""
    rng = random.Random(f"{name}, framing")
    for number, scene in enumerate(views(name), start=1):
        # Each image is framed slightly differently, as by different photographers.
        jitter = (rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04), rng.uniform(0.94, 1.1))
        _write(folder, number, scene, draw(scene, SIDE, jitter), caption_tags(scene))


def make_storybook(folder: Path) -> None:
    """Write images in the storybook style as numbered PNG files, STORYBOOK_SIDE pixels per side. No tag names the
    style."""
    for number, scene in enumerate(storybook_scenes(), start=1):
        tags = [tag for tag in caption_tags(scene) if tag != scene.style]
        _write(folder, number, scene, printed(draw(scene, STORYBOOK_SIDE)), tags)


def printed(image: Image.Image) -> Image.Image:
    """An image as INK on PAPER: black becomes ink, white becomes paper, and colours lie in between."""
    table = [mix(INK, PAPER, value / 255) for value in range(256)]
    return image.point([color[channel] for channel in range(3) for color in table])


def _write(folder: Path, number: int, scene: Scene, image: Image.Image, tags: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / "_".join((f"{number:02d}", *f"{scene.angle} {scene.framing}".replace("-", " ").split()))
    image.save(stem.with_suffix(".png"), optimize=True)
    stem.with_suffix(".txt").write_text(", ".join(tags) + "\n", encoding="utf-8")


def main() -> None:
    for name in CHARACTERS:
        make_dataset(SANDBOX_DIR / "dataset" / name, name)
    make_storybook(SANDBOX_DIR / "dataset" / STORYBOOK)


if __name__ == "__main__":
    main()
