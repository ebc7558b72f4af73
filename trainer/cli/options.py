"""The options of `lora-bootstrap`'s commands, and how their texts are read."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.errors import UserError


def split(text: str) -> tuple[str, ...]:
    """Tags between commas."""
    return tuple(tag.strip() for tag in text.split(",") if tag.strip())


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`["adapter.rank=8", "data.flip=true"]` as values. A value is read as JSON if it is that, else as a text."""
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UserError(f"--set {pair!r} is not NAME=VALUE; write for example --set adapter.rank=8.")
        try:
            values[name.strip()] = json.loads(text)
        except ValueError:
            values[name.strip()] = text
    return values


def lora_and_strength(text: str) -> tuple[Path, float]:
    """`file.safetensors` or `file.safetensors:0.8`. Raises UserError if there is no such file."""
    path, colon, number = text.rpartition(":")
    try:
        found = (Path(path), float(number)) if colon and path else (Path(text), 1.0)
    except ValueError:
        found = Path(text), 1.0
    if not found[0].is_file():
        raise UserError(f"no LoRA file at {found[0]}; give FILE or FILE:STRENGTH.")
    return found


def slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text).split())[:60] or "picture"


def free_path(folder: Path, stem: str) -> Path:
    path, number = folder / f"{stem}.png", 2
    while path.exists():
        path, number = folder / f"{stem}-{number}.png", number + 1
    return path


def _shared_options(command: argparse.ArgumentParser, base: bool = True) -> None:
    if base:
        command.add_argument("--base", default="sandbox", metavar="MODEL",
                             help="sandbox, a diffusers folder, or an SD1.5 / SDXL .safetensors file (%(default)s)")
    command.add_argument("--output", type=Path, default=Path("output"), metavar="FOLDER",
                         help="where files go (%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="fixes everything random (%(default)s)")


def _sampler_options(command: argparse.ArgumentParser, size: bool = True) -> None:
    if size:
        command.add_argument("--width", type=int, help="of the pictures; the model's own if not given")
        command.add_argument("--height", type=int, help="of the pictures; the model's own if not given")
    command.add_argument("--sample-steps", type=int, help="denoising steps; the family's own if not given")
    command.add_argument("--cfg", type=float, help="guidance; the family's own if not given")


def demo_options(command: argparse.ArgumentParser) -> None:
    _shared_options(command, base=False)


def bootstrap_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--picture", type=Path, required=True, help="one picture of the character")
    command.add_argument("--tags", required=True, help="everything the picture shows, between commas")
    command.add_argument("--trigger", required=True, help="the word to call the character by, such as eiei21girl")
    command.add_argument("--name", default="", help="of the project; the trigger if not given")
    command.add_argument("--targets", type=int, nargs="+", default=[4, 16, 40], metavar="N",
                         help="pictures to train on: crops, then after each round (4 16 40)")
    command.add_argument("--candidates", type=int, nargs="+", default=[48, 96], metavar="N",
                         help="pictures to generate in each round (48 96)")
    command.add_argument("--strengths", type=float, nargs="+", default=[0.5, 0.7, 0.8, 0.9, 1.0], metavar="X",
                         help="columns of the strength grid (0.5 0.7 0.8 0.9 1.0)")
    command.add_argument("--likeness", default="", metavar="FOLDER",
                         help="a CLIP or DINOv2 folder to measure likeness with; the sandbox brings its own")
    command.add_argument("--set-style", action="append", default=[], metavar="NAME=VALUE",
                         help="a training setting of the style LoRAs, such as steps=400; may be repeated")
    command.add_argument("--set-character", action="append", default=[], metavar="NAME=VALUE",
                         help="a training setting of the character LoRA; may be repeated")
    _shared_options(command)
    _sampler_options(command, size=False)


def train_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", type=Path, required=True, metavar="FOLDER", help="pictures with .txt captions; "
                         "kohya folders such as 10_name are understood")
    command.add_argument("--name", default="", help="of the run and its LoRA; the folder's name if not given")
    command.add_argument("--kind", default="character",
                         help="style, character or concept: picks the family's preset (%(default)s)")
    command.add_argument("--trigger", default="", help="put first in every caption")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                         help="a setting by dotted name, such as adapter.rank=8 or steps=500; may be repeated")
    command.add_argument("--retrain", action="store_true", help="train again even if an identical run is there")
    command.add_argument("--tensorboard", action="store_true", help="also write a TensorBoard log beside the run")
    _shared_options(command)


def audit_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", type=Path, required=True, metavar="FOLDER", help="pictures with .txt captions; "
                         "kohya folders such as 10_name are understood")
    command.add_argument("--name", default="", help="of the audit; the folder's name if not given")
    command.add_argument("--family", default="sdxl", help="the family to train: sandbox, sd15, sdxl (%(default)s)")
    command.add_argument("--resolution", type=int, help="side of the square to train at; the family's own if not given")
    command.add_argument("--purpose", default="character", help="character, style or bootstrap (%(default)s)")
    command.add_argument("--trigger", default="", help="the word every caption should hold")
    command.add_argument("--workers", type=int, default=0, help="pictures measured at once; 0: one for each core")
    command.add_argument("--output", type=Path, default=Path("output"), metavar="FOLDER",
                         help="where the table, the contact sheet and what was measured go (%(default)s)")


def generate_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--prompt", required=True)
    command.add_argument("--lora", action="append", default=[], metavar="FILE[:STRENGTH]", help="may be repeated")
    command.add_argument("--count", type=_positive, default=1, help="pictures, each with the next seed")
    _shared_options(command)
    _sampler_options(command)


def grid_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--lora", type=Path, required=True, metavar="FILE")
    _axis_options(command, [0.5, 0.7, 0.8, 0.9, 1.0])


def sweep_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--run", type=Path, metavar="FOLDER", help="a run, such as output/loras/my_character")
    command.add_argument("--checkpoints", default="all", metavar="WHICH",
                         help="of the run: all, last 5, every 2, or steps: 400, 800-1600 (+400) (%(default)s)")
    command.add_argument("--lora", type=Path, action="append", default=[], metavar="FILE",
                         help="a LoRA besides, or instead; may be repeated")
    _axis_options(command, [0.8, 1.0])


def _axis_options(command: argparse.ArgumentParser, strengths: list[float]) -> None:
    from ..sweeps.prompt_sets import AS_WRITTEN, SETS

    command.add_argument("--prompt", action="append", required=True, help="may be repeated")
    command.add_argument("--prompt-set", default=AS_WRITTEN, choices=SETS, metavar="SET",
                         help=f"ready lines behind each prompt: {', '.join(SETS)} (%(default)s)")
    command.add_argument("--strengths", type=float, nargs="+", default=strengths, metavar="X",
                         help=f"({' '.join(f'{value:g}' for value in strengths)})")
    command.add_argument("--seeds", default="", metavar="SEEDS", help="such as 1, 2 or 1-4; --seed if not given")
    command.add_argument("--without", action="store_true", help="also draw each prompt and seed without the LoRA, to "
                         "compare with, and for the scores of burn and diversity")
    command.add_argument("--name", default="", help="of the sweep; the LoRA's name if not given")
    _shared_options(command)
    _sampler_options(command)


def score_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("sweep", type=Path, help="a sweep's folder, such as output/sweeps/my_character-checkpoints")
    command.add_argument("--dataset", type=Path, metavar="FOLDER", help="what the LoRA was trained on")
    command.add_argument("--run", type=Path, metavar="FOLDER", help="the run, for its validation loss")
    command.add_argument("--kind", default="", choices=["", "character", "style", "concept"], metavar="KIND",
                         help="character, style or concept; as it was trained if not given")
    command.add_argument("--likeness", default="", metavar="FOLDER",
                         help="a CLIP or DINOv2 folder to measure likeness with; the sandbox brings its own")


def conflict_options(command: argparse.ArgumentParser) -> None:
    _stack_options(command)
    command.add_argument("--tolerance", type=float, default=0.2, metavar="SHARE",
                         help="of a LoRA's output that another may write over (%(default)s)")


def merge_options(command: argparse.ArgumentParser) -> None:
    _stack_options(command)
    command.add_argument("--method", default="sum", help="sum, null_space, ties or even (%(default)s)")
    command.add_argument("--preset", default="balanced",
                         help="of null_space: balanced, identity_first or style_first (%(default)s)")
    command.add_argument("--mu", type=float, default=0.5, help="of null_space: how much gives way; 0 is the plain sum "
                         "(%(default)s)")
    command.add_argument("--density", type=float, default=0.6, help="of ties: the share of values kept (%(default)s)")
    command.add_argument("--rank", type=int, default=0, help="compress to this; 0 keeps all (%(default)s)")
    command.add_argument("--dtype", default="float32", help="float32, float16 or bfloat16 (%(default)s)")
    command.add_argument("--name", default="", help="of the merged LoRA; the names of all if not given")


def _stack_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("lora", nargs="+", metavar="FILE[:STRENGTH]", help="two or more; strength 1 if not given")
    command.add_argument("--output", type=Path, default=Path("output"), metavar="FOLDER",
                         help="where files go (%(default)s)")


def info_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("path", type=Path, help="a .safetensors LoRA, a run's folder, or a project's folder")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not 1 or more")
    return number
