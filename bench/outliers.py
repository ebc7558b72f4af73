"""How many planted images the loss by image and the look find, and how often they cry wolf, on the sandbox.

`python -m lora_bootstrap.bench.outliers` trains the preset on true drawings of a character, among them some with the
caption of another scene of the same character, and some that show another character under the right caption. It writes
bench/results/outliers.md and .json. Runs that are there already are not trained again.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..sandbox import world
from ..trainer.backends.diffusers import load_backbone
from ..trainer.captions.tags import absorb, join_tags
from ..trainer.datasets.dataset import Dataset, load_folder, save_samples
from ..trainer.training.loop import train
from ..trainer.training.presets import plan_training
from .bootstrap import CHARACTERS, TRIGGER

CAPTION, CHARACTER = "caption", "character"
STEPS = 200


class Case(NamedTuple):
    """A character, its number of images, and how many of these have a wrong caption or show someone else."""

    name: str
    images: int
    captions: int
    characters: int

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.images}-{self.captions}-{self.characters}"


CASES = (
    Case("mizuki", 16, 1, 1), Case("hinata", 40, 2, 2), Case("momo", 16, 0, 1), Case("kuro", 16, 1, 0),
    Case("midori", 40, 0, 1), Case("sumire", 16, 2, 2), Case("aoi", 40, 4, 4), Case("akane", 40, 1, 0),
    Case("mizuki", 16, 0, 0), Case("hinata", 16, 1, 1),
)


def make_dataset(case: Case, work: Path) -> Dataset:
    """True drawings in random scenes; a planted file's name begins with what is wrong with it."""
    folder = work / "drawings" / case.folder
    if not folder.is_dir():
        rng, character = random.Random(case.folder), CHARACTERS[case.name]
        others = [other for name, other in CHARACTERS.items() if name != case.name]
        wrong = [CAPTION] * case.captions + [CHARACTER] * case.characters
        wrong += ["right"] * (case.images - len(wrong))
        samples = []
        for number, kind in enumerate(wrong):
            scene = world.sample_scene(rng, character)
            shown = dataclasses.replace(scene, character=rng.choice(others)) if kind == CHARACTER else scene
            told = world.sample_scene(rng, character) if kind == CAPTION else scene
            caption = join_tags(absorb(world.caption_tags(told), character.identity))
            samples.append((world.draw(shown, 64), caption, {"name": f"{kind}-{number:03d}"}))
        save_samples(folder, samples)
    return load_folder(folder)


def train_case(case: Case, backbone: Any, work: Path) -> None:
    dataset = make_dataset(case, work)
    planned = plan_training(backbone.family, "character", {
        "name": case.folder, "data.trigger": TRIGGER, "data.upscale": True, "steps": STEPS}, dataset)
    for _ in train(backbone, dataset, planned.config, work / "loras"):
        pass


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, default=Path("output/bench-outliers"), help="drawings and runs")
    parser.add_argument("--cases", type=int, default=len(CASES), help="how many of them, from the first")
    options = parser.parse_args(argv)
    backbone = load_backbone("sandbox")
    for case in CASES[:options.cases]:
        train_case(case, backbone, options.work)
        print(case, flush=True)


if __name__ == "__main__":
    main()
