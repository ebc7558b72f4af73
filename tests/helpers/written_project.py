"""A bootstrap project written by hand: crops and coloured candidates, as the nodes leave them, without any training."""

from __future__ import annotations

import colorsys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from lora_bootstrap.trainer.bootstrap.candidates import Lineage
from lora_bootstrap.trainer.bootstrap.config import BootstrapConfig
from lora_bootstrap.trainer.bootstrap.project import ProjectRecord
from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.common.folders import fill_folder
from lora_bootstrap.trainer.pictures.images import pixel_hash

ANGLES = ("front view", "from side", "from behind", "from above")
FRAMINGS = ("full body", "upper body", "close-up")
SIDE = 64
CROPS = 4
FIGURES = {"round": 1, "kept": 8, "drift": 0.1234, "diversity": 0.51, "base_diversity": 0.62, "burn": None,
           "likeness": 0.71, "tag_recall": None, "real_share": 0.33}


def draw(number: int, side: int = SIDE) -> Image.Image:
    """A picture of its own for each number, that does not look the same mirrored."""
    hue = (number * 0.382) % 1
    colour = tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.35, 0.95))
    ink = tuple(round(255 * part) for part in colorsys.hsv_to_rgb((hue + 0.5) % 1, 0.8, 0.55))
    image = Image.new("RGB", (side, side), colour)
    pen, unit = ImageDraw.Draw(image), side / 16
    pen.ellipse((2 * unit, 2 * unit, (8 + number % 5) * unit, 9 * unit), fill=ink)
    pen.rectangle((4 * unit, 9 * unit, 6 * unit, (12 + number % 4) * unit), fill=ink)
    pen.text((side - 7 * len(str(number)), side - 12), str(number), fill="black")
    return image


def name_of(number: int, round: int = 1) -> str:
    return f"r{round}-{number:03d}"


def tags_of(number: int) -> list[str]:
    return ["akane", "1girl", "red hair", *_view(number).values()]


def _view(number: int) -> dict[str, str]:
    return {"angle": ANGLES[number % 4], "framing": FRAMINGS[number % 3]}


def write_project(output: Path, name: str, *, candidates: int, proposed: int = 8, target: int = 16,
                  twins: tuple[tuple[int, ...], ...] = (), generators: tuple[str, ...] = ("",)) -> Path:
    """A project below the host's output folder, with a round of candidates of which the first are proposed.

    Every fourth was not measured for likeness.

    Args:
        generators: which drew the candidates, in turn; the first is shown the original, if there are several.
    """
    folder = output / "bootstrap" / name
    config = BootstrapConfig(
        picture=str(folder / "picture.png"), tags=("1girl", "red hair"), trigger="akane", name=name, base="other",
        targets=(CROPS, target), candidates=(max(candidates, target),))
    folder.mkdir(parents=True)
    picture = draw(0)
    picture.save(folder / "picture.png")
    with fill_folder(folder / "crops", "by hand") as crops:
        for number in range(CROPS):
            draw(number, 48).save(crops / f"{number}-crop.png")
            (crops / f"{number}-crop.txt").write_text("akane, red hair", encoding="utf-8")
    made = folder / "round_1" / "candidates"
    made.mkdir(parents=True)
    for number in range(candidates):
        write_candidate(made, number, generators[number % len(generators)],
                        "original" if len(generators) > 1 and number % len(generators) == 0 else "")
    write_json(folder / "round_1" / "decisions.json", {
        "key": "", "round": 1, "wanted": target - CROPS, "mode": "manual", "eye": "an eye", "notes": ["A note."],
        "figures": {**FIGURES, "candidates": candidates},
        "decisions": [_decision(number, proposed) for number in range(candidates)],
        "twins": [[name_of(number) for number in group] for group in twins]})
    ProjectRecord(folder, config.to_dict(), pixel_hash(picture)).save()
    return folder


def write_candidate(folder: Path, number: int, generator: str = "", reference: str = "") -> None:
    """A picture and its lineage, as they are saved when it is made."""
    tags, view = tags_of(number), _view(number)
    draw(number).save(folder / f"{name_of(number)}.png")
    write_json(folder / f"{name_of(number)}.json", asdict(Lineage(
        name=name_of(number), prompt=", ".join(tags), tags=tags, view=view, seed=1000 + number, round=1,
        parent_lora="akane-style-1", parent_lora_sha256="", strength=0.6, base="other", width=SIDE, height=SIDE,
        steps=8, cfg=4.0, generator=generator, reference=reference)))


def _decision(number: int, proposed: int) -> dict[str, Any]:
    kept = number < proposed
    reason = f"pick {proposed - number} of {proposed}" if kept else "passed, but others fit better"
    scores = {"novelty": round(number / 1000, 3), "sharpness_z": 0.1}
    return {"candidate": name_of(number), "kept": kept, "reason": reason,
            "scores": scores if number % 4 == 3 else {"likeness": round(0.9 - number / 1000, 3), **scores}}
