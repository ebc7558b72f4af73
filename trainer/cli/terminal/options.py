"""The options that several commands of `lora-bootstrap` share, and how their values are read."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.names import checked_name, name_from
from ...stacks.lora_stack import read_strength

Options = argparse.ArgumentParser | argparse._ArgumentGroup
"""What options are added to: a command, or a group of its options."""


def add_background_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--background", default="white", metavar="COLOUR",
                         help="colour behind transparent parts of images, such as black or #808080 (%(default)s)")


def add_dataset_option(command: argparse.ArgumentParser) -> None:
    add_background_option(command)
    command.add_argument("--dataset", type=Path, required=True, metavar="FOLDER", help="images with .txt captions; "
                         "kohya folders such as 10_name are understood")


def add_base_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--base", default="sandbox", metavar="MODEL",
                         help="sandbox, a diffusers folder, or an SD1.5 / SDXL .safetensors file (%(default)s)")
    command.add_argument("--base-precision", default="auto", metavar="TYPE",
                         help="how the base's weights are held in memory: fp8, int8 or nf4 take a half to a quarter "
                              "of the memory (int8 and nf4 need bitsandbytes); auto: as they are loaded "
                              "(%(default)s)")


def add_output_option(command: argparse.ArgumentParser, what: str = "files") -> None:
    command.add_argument("--output", type=Path, default=Path("output"), metavar="FOLDER",
                         help=f"folder to write {what} to (%(default)s)")


def add_seed_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, help="seed of everything random (%(default)s)")


def add_run_options(command: argparse.ArgumentParser) -> None:
    """The options of every command that loads a base model and writes results."""
    add_base_option(command)
    add_output_option(command)
    add_seed_option(command)


def add_size_options(command: Options) -> None:
    command.add_argument("--width", type=int, help="width of the images, in pixels; default: the model's own")
    command.add_argument("--height", type=int, help="height of the images, in pixels; default: the model's own")


def add_sampler_options(command: Options) -> None:
    command.add_argument("--sample-steps", type=int, help="denoising steps; default: the family's")
    command.add_argument("--cfg", type=float, help="guidance scale; default: the family's")


def add_likeness_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--likeness", default="", metavar="FOLDER",
                         help="CLIP or DINOv2 folder to measure likeness with; the sandbox has its own")


def build_sampler(options: argparse.Namespace, backbone: Any) -> Any:
    """The Sampler with the size, steps and guidance of the options."""
    from ...models.sampler import Sampler

    return Sampler.of(backbone, width=options.width, height=options.height, steps=options.sample_steps,
                      cfg=options.cfg)


def chosen_name(name: str, otherwise: str, at_last: str) -> str:
    """What --name says, or else a valid name made from another text, such as a folder's name; `at_last` if that leaves
    nothing. Raises UserError if --name cannot be a folder's."""
    return checked_name(name, "--name") if name else name_from(otherwise, at_last)


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """`["adapter.rank=8", "data.flip=true"]` as values by name. A value that is not JSON is read as text.

    Raises UserError for anything that is not NAME=VALUE.
    """
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise UserError(f"--set {pair!r} is not NAME=VALUE; write, for example, --set adapter.rank=8.")
        try:
            values[name.strip()] = json.loads(text)
        except (ValueError, RecursionError):
            values[name.strip()] = text
    return values


def parse_lora(text: str) -> tuple[Path, float]:
    """`file.safetensors` or `file.safetensors:0.8` as file and strength. Raises UserError if there is no such file, or
    for a strength that is not a finite number."""
    path, colon, number = text.rpartition(":")
    try:
        found = (Path(path), float(number)) if colon and path else (Path(text), 1.0)
    except ValueError:
        found = Path(text), 1.0
    if not found[0].is_file():
        raise UserError(f"there is no LoRA file at {found[0]}; give FILE or FILE:STRENGTH.")
    return found[0], read_strength(found[1], found[0].name)
