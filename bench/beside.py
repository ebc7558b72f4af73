"""What training beside a frozen style LoRA does to a character LoRA (sandbox judge).

`python -m lora_bootstrap.bench.beside` trains each of 2 characters in several ways, reads each LoRA alone, with the
style LoRA that it may have been trained beside, and with another one, and writes bench/results/beside.md and .json;
what is there already is not made again.

Images, prompts and the judge's figures are those of bench/conflict.py: the images of the character are all in one style
(flat color), and what a style LoRA mostly loses there is its style, as the character's LoRA has learnt that of its
images too. Trained are: alone; beside the style LoRA "lineart" at the strength at which the two are stacked later, in
each step or in half of them; and beside a LoRA of the images' own style, which is left out later.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..sandbox import world
from ..sandbox.judge import load_judge
from ..trainer.backends.diffusers import load_backbone
from ..trainer.stacks.stack import CHARACTER, StackEntry
from ..trainer.stacks.time_split import STYLE
from . import conflict
from .conflict import BOTH, CHARACTERS, GUIDES, PICTURES, SETTINGS, STEPS, TRIGGER, VIEWS, harmonic
from .report import write_result

BESIDE, OTHER, OWN = "lineart", "pixel art", "flat color"
"""Style LoRAs: the one beside the training, another one, and one of the style of the character's images."""
WAYS: Mapping[str, tuple[str, float, float]] = {
    # the style beside the training, its strength, and the chance of a step to have it
    "alone": ("", 0.0, 1.0),
    f"beside {BESIDE}": (BESIDE, GUIDES[1], 1.0),
    f"beside the images' own style ({OWN})": (OWN, 1.0, 1.0),
    f"beside {BESIDE} in half of the steps": (BESIDE, GUIDES[1], 0.5),
}
USES = {"used alone": "", f"with {BESIDE}": BESIDE, f"with {OTHER}": OTHER}
FIGURES = ("identity", "style", "prompt")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--characters", type=int, default=2)
    parser.add_argument("--steps", type=int, default=SETTINGS["steps"], help="steps of each training")
    parser.add_argument("--views", type=int, default=VIEWS, help="images that are read of a character and use")
    parser.add_argument("--work", type=Path, default=Path("output/bench-beside"), help=(
        "LoRAs and what was read; a folder for each choice of steps and views"))
    options = parser.parse_args(argv)
    bench = BesideBench(options.work, load_backbone("sandbox"), load_judge())
    bench.steps, bench.views = options.steps, options.views
    found: dict[str, list[dict[str, Any]]] = {}
    for way in WAYS:
        found[way] = []
        for name in CHARACTERS[: options.characters]:
            started = time.monotonic()
            found[way].append(bench.figures(name, way))
            print(f"{way}, {name}: {time.monotonic() - started:.0f} s", flush=True)
        write_table(found, bench)


class BesideBench(conflict.Bench):
    """Also trains characters beside a style, and styles that conflict.py has not."""

    steps, views = SETTINGS["steps"], VIEWS

    def trained(self, *args: Any, settings: Mapping[str, Any] | None = None, **options: Any) -> Path:
        return super().trained(*args, settings={"steps": self.steps, **(settings or {})}, **options)

    def style(self, name: str) -> Path:
        if name != OWN:
            return super().style(name)
        rng = random.Random(OWN)
        scenes = [world.sample_scene(rng, world.sample_character(rng), style=OWN) for _ in range(PICTURES)]
        return self.trained(OWN, STYLE, scenes, [conflict.style_caption(scene, narrow=False) for scene in scenes])

    def character_by(self, name: str, way: str) -> Path:
        style, strength, chance = WAYS[way]
        scenes = conflict.character_scenes(name, varied=False)
        captions = [conflict.character_caption(scene, varied=False) for scene in scenes]
        beside = [StackEntry(path=self.style(style), strength=strength)] if style else []
        return self.trained(f"{name} {list(WAYS).index(way)}", CHARACTER, scenes, captions,
                            settings={"beside_chance": chance}, beside=beside)

    def figures(self, name: str, way: str) -> dict[str, Any]:
        """What the judge reads of the character's LoRA in each of USES, by use."""
        return {use: self.measured(f"{way} {use}", lambda _bench, pair, style=style: self._read(pair, way, style),
                                   (name, style or BESIDE)) for use, style in USES.items()}

    def _read(self, pair: conflict.Pair, way: str, style: str) -> dict[str, float]:
        entries = [StackEntry(path=self.character_by(pair[0], way), strength=GUIDES[0], role=CHARACTER)]
        if style:
            entries.append(StackEntry(path=self.style(style), strength=GUIDES[1], role=STYLE))
        with self.applied(entries):
            return self.read(pair, BOTH if style else [TRIGGER], count=self.views)


def write_table(found: Mapping[str, Sequence[Mapping[str, Any]]], bench: BesideBench) -> None:
    rows = []
    for way, characters in found.items():
        for use, style in USES.items():
            means = {name: statistics.mean(row[use][name] for row in characters) for name in FIGURES}
            rows.append({"trained": way, "used": use, "characters": len(characters),
                         **{name: "" if name == "style" and not style else round(means[name], 3) for name in FIGURES},
                         "harmonic": round(statistics.mean(harmonic(row[use]) for row in characters), 3)
                         if style else ""})
    notes = [__doc__.split("is not made again.")[1].strip(), "",
             f"{bench.steps} steps a training; {bench.views} views a character and use, drawn in {STEPS} steps; the "
             f"character at {GUIDES[0]:g}, a style at {GUIDES[1]:g}. Identity, style and prompt are shares of what the "
             "judge reads right; harmonic is their harmonic mean, averaged over the characters.",
             *(f"Not measured yet: trained {way}." for way in WAYS if way not in found), "", *_each(found)]
    write_result("beside", "A character's LoRA trained beside a frozen style LoRA", rows, "\n".join(notes))


def _each(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    lines = ["## Every character", "", "| trained | used | character | identity | style | prompt |",
             "| --- | --- | --- | --- | --- | --- |"]
    for way, characters in found.items():
        for use, style in USES.items():
            for name, row in zip(CHARACTERS, characters, strict=False):
                shown = [f"{row[use][figure]:.2f}" if figure != "style" or style else "" for figure in FIGURES]
                lines.append(f"| {way} | {use} | {name} | {' | '.join(shown)} |")
    return lines


if __name__ == "__main__":
    main()
