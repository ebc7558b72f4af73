"""How many planted images the loss by image and the look find, and how often they cry wolf, on the sandbox.

`python -m lora_bootstrap.bench.outliers` trains the preset on true drawings of a character, among them some with the
caption of another scene of the same character, and some that show another character under the right caption. It writes
bench/results/outliers.md and .json after each. Runs that are there already are not trained again.
"""

from __future__ import annotations

import argparse
import dataclasses
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..sandbox import world
from ..trainer.audits.looks import look_findings
from ..trainer.backends.diffusers import load_backbone
from ..trainer.captions.tags import absorb, join_tags
from ..trainer.datasets.dataset import Dataset, load_folder, save_samples
from ..trainer.measures.eyes import SandboxEye
from ..trainer.pictures.images import to_tensor
from ..trainer.training.events import Finished
from ..trainer.training.loop import train
from ..trainer.training.presets import plan_training
from ..trainer.training.watched.image_losses import read_losses_by_image
from ..trainer.training.watched.outliers import find_outliers
from .bootstrap import CHARACTERS, TRIGGER
from .report import write_result

CAPTION, CHARACTER, RIGHT = "caption", "character", "right"


class Case(NamedTuple):
    """A character, its number of images, how many of these have a wrong caption or show someone else, and the steps."""

    name: str
    images: int
    captions: int
    characters: int
    steps: int = 120

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.images}-{self.captions}-{self.characters}"


TUNED = (Case("mizuki", 16, 1, 1, 200), Case("hinata", 40, 2, 2, 200), Case("momo", 16, 0, 1, 200))
"""The thresholds were chosen on these."""
CASES = (
    *TUNED, Case("sumire", 16, 2, 2), Case("aoi", 40, 4, 4), Case("kuro", 16, 1, 0), Case("midori", 40, 0, 1),
    Case("akane", 40, 1, 0), Case("kuro", 16, 0, 0), Case("hinata", 16, 1, 1),
)
LOOKS = ((16, 0), (16, 1), (16, 2), (16, 4), (40, 0), (40, 1), (40, 2), (40, 4))
"""Images, and how many of them show someone else, for each character."""


def make_dataset(case: Case, work: Path) -> Dataset:
    """True drawings in random scenes; a planted file's name begins with what is wrong with it."""
    folder = work / "drawings" / case.folder
    if not folder.is_dir():
        rng, character = random.Random(case.folder), CHARACTERS[case.name]
        wrong = [CAPTION] * case.captions + [CHARACTER] * case.characters
        wrong += [RIGHT] * (case.images - len(wrong))
        samples = []
        for number, kind in enumerate(wrong):
            scene = world.sample_scene(rng, character)
            shown = dataclasses.replace(scene, character=_other(rng, case.name)) if kind == CHARACTER else scene
            told = world.sample_scene(rng, character) if kind == CAPTION else scene
            caption = join_tags(absorb(world.caption_tags(told), character.identity))
            samples.append((world.draw(shown, 64), caption, {"name": f"{kind}-{number:03d}"}))
        save_samples(folder, samples)
    return load_folder(folder)


def _other(rng: random.Random, name: str) -> world.Character:
    return rng.choice([other for known, other in CHARACTERS.items() if known != name])


def train_case(case: Case, backbone: Any, work: Path) -> Path:
    """The folder of the case's run."""
    dataset = make_dataset(case, work)
    planned = plan_training(backbone.family, "character", {
        "name": case.folder, "data.trigger": TRIGGER, "data.upscale": True, "steps": case.steps}, dataset)
    for event in train(backbone, dataset, planned.config, work / "loras"):
        if isinstance(event, Finished):
            return event.path.parent
    raise RuntimeError("the training yielded no end")


def loss_row(case: Case, run: Path) -> dict[str, Any]:
    """What the losses of a run name, against what was planted."""
    names = [outlier.name for outlier in find_outliers(read_losses_by_image(run))]

    def found(kind: str) -> int:
        return sum(name.startswith(kind) for name in names)

    return {"set": f"{case.name}, {case.images} images, {case.steps} steps", "wrong captions": case.captions,
            "found": found(CAPTION), "other characters": case.characters, "found too": found(CHARACTER),
            "false alarms": found(RIGHT), "thresholds chosen on it": "yes" if case in TUNED else "no"}


def look_rows() -> Iterator[dict[str, Any]]:
    """For each size of set and number of strangers, over all characters: how many the look names."""
    eye = SandboxEye()
    for images, planted in LOOKS:
        hits = alarms = 0
        for name, character in CHARACTERS.items():
            rng = random.Random(f"look-{name}-{images}-{planted}")
            pictures = [world.draw(world.sample_scene(rng, _other(rng, name) if number < planted else character), 64)
                        for number in range(images)]
            findings = look_findings(list(eye.embed(torch.stack([to_tensor(picture) for picture in pictures]))))
            places = [place for place, finding in enumerate(findings) if finding]
            hits += sum(place < planted for place in places)
            alarms += sum(place >= planted for place in places)
        yield {"images": images, "strangers": planted, "sets": len(CHARACTERS), **rates(
            hits, alarms, planted * len(CHARACTERS))}


def rates(hits: int, alarms: int, planted: int) -> dict[str, Any]:
    return {"planted": planted, "found": hits, "false alarms": alarms,
            "recall": f"{hits / planted:.2f}" if planted else "-",
            "precision": f"{hits / (hits + alarms):.2f}" if hits + alarms else "-"}


def write_tables(rows: Sequence[dict[str, Any]], looks: Sequence[dict[str, Any]]) -> None:
    lines = ["## By loss, together", "", "| images | chosen on them | " + " | ".join(rates(0, 0, 0)) + " |",
             "|" + " --- |" * 7]
    for images in (16, 40):
        for chosen in ("yes", "no"):
            mine = [row for row in rows
                    if f" {images} images" in row["set"] and row["thresholds chosen on it"] == chosen]
            if mine:
                total = rates(sum(row["found"] + row["found too"] for row in mine),
                              sum(row["false alarms"] for row in mine),
                              sum(row["wrong captions"] + row["other characters"] for row in mine))
                lines.append(f"| {images} | {chosen} | {' | '.join(map(str, total.values()))} |")
    if looks:
        lines += ["", "## By look", "", "Drawings of someone else among those of a character, by the sandbox's judge. "
                  "The threshold was chosen on other drawings of the same characters.", "",
                  f"| {' | '.join(looks[0])} |", "|" + " --- |" * len(looks[0])]
        lines += [f"| {' | '.join(map(str, row.values()))} |" for row in looks]
    write_result("outliers", "Planted images that are named by their loss and by their look (sandbox)", rows,
                 "True drawings of a character in random scenes, trained as the preset does. Planted are captions of "
                 "another scene, and images of another character.\n\n" + "\n".join(lines))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, default=Path("output/bench-outliers"), help="drawings and runs")
    parser.add_argument("--cases", type=int, default=len(CASES), help="how many of them, from the first")
    options = parser.parse_args(argv)
    backbone, rows = load_backbone("sandbox"), list[dict[str, Any]]()
    looks = list(look_rows())
    for case in CASES[: options.cases]:
        rows.append(loss_row(case, train_case(case, backbone, options.work)))
        print(rows[-1], flush=True)
        write_tables(rows, looks)


if __name__ == "__main__":
    main()
