"""The options that several of `lora-bootstrap`'s commands share, and how their texts are read."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..common.errors import UserError


def add_dataset_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--dataset", type=Path, required=True, metavar="FOLDER", help="pictures with .txt captions; "
                         "kohya folders such as 10_name are understood")


def add_base_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--base", default="sandbox", metavar="MODEL",
                         help="sandbox, a diffusers folder, or an SD1.5 / SDXL .safetensors file (%(default)s)")


def add_output_option(command: argparse.ArgumentParser, what: str = "files") -> None:
    command.add_argument("--output", type=Path, default=Path("output"), metavar="FOLDER",
                         help=f"where {what} go (%(default)s)")


def add_seed_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, help="fixes everything random (%(default)s)")


def add_run_options(command: argparse.ArgumentParser) -> None:
    """What all need that load a base model and write what it makes."""
    add_base_option(command)
    add_output_option(command)
    add_seed_option(command)


def add_size_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--width", type=int, help="of the pictures; the model's own if not given")
    command.add_argument("--height", type=int, help="of the pictures; the model's own if not given")


def add_sampler_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--sample-steps", type=int, help="denoising steps; the family's own if not given")
    command.add_argument("--cfg", type=float, help="guidance; the family's own if not given")


def add_likeness_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--likeness", default="", metavar="FOLDER",
                         help="a CLIP or DINOv2 folder to measure likeness with; the sandbox brings its own")


def build_sampler(options: argparse.Namespace, backbone: Any) -> Any:
    """The Sampler that the options of size, steps and guidance ask for."""
    from ..models.sampler import Sampler

    return Sampler.of(backbone, width=options.width, height=options.height, steps=options.sample_steps,
                      cfg=options.cfg)


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`["adapter.rank=8", "data.flip=true"]` as values. A value is read as JSON if it is that, else as a text.

    Raises UserError for what is not NAME=VALUE.
    """
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


def parse_lora(text: str) -> tuple[Path, float]:
    """`file.safetensors` or `file.safetensors:0.8` as file and strength. Raises UserError if there is no such file."""
    path, colon, number = text.rpartition(":")
    try:
        found = (Path(path), float(number)) if colon and path else (Path(text), 1.0)
    except ValueError:
        found = Path(text), 1.0
    if not found[0].is_file():
        raise UserError(f"no LoRA file at {found[0]}; give FILE or FILE:STRENGTH.")
    return found
