"""What decides a training, for the commands that run one and the one that packs it for another machine."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...captions.kinds import KINDS
from .console import Console
from .options import chosen_name, parse_lora, parse_settings


def add_training_options(command: argparse.ArgumentParser) -> None:
    """What decides a training, but for its images."""
    command.add_argument("--name", default="", help="name of the run and its LoRA; default: the folder's name")
    command.add_argument("--kind", default="character",
                         help=f"{', '.join(KINDS)}; selects the family's preset (%(default)s)")
    command.add_argument("--trigger", default="", help="word to put first in every caption")
    command.add_argument("--epochs", type=int, default=0,
                         help="passes over the images, instead of --set steps=...; default: the preset's steps for so "
                              "many images")
    command.add_argument("--config", type=Path, metavar="FILE",
                         help="JSON or TOML of settings by their dotted names, as `lora-bootstrap import-config` "
                              "writes it; --set and the other options come after it")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                         help="setting by its dotted name, such as adapter.rank=8 or steps=500; may be repeated")
    command.add_argument("--regularisation", type=Path, default=None, metavar="FOLDER",
                         help="images of the class with captions of their own; every second batch is of them")


def add_beside_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--beside", action="append", default=[], metavar="FILE[:STRENGTH]",
                         help="LoRA that is on in the training, frozen and not saved, so that both work together; may "
                              "be repeated")


def read_training(options: argparse.Namespace, console: Console,
                  method: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings that the options give, by dotted name, over those of --config and under those of `method`."""
    from ...imports.reading import read_settings

    given = read_settings(options.config) if options.config else {}
    if method:
        given = _without_loras(given, console)
    name = chosen_name(options.name or str(given.get("name", "")), options.dataset.resolve().name, "run")
    return combine_settings(given, {"name": name, "seed": options.seed, "epochs": options.epochs,
                             "data.trigger": options.trigger}, {**(method or {}), **parse_settings(options.set)})


def read_beside(options: argparse.Namespace) -> list[Any]:
    """The LoRAs beside the training, as StackEntry."""
    from ...stacks.stack import StackEntry

    return [StackEntry(path=path, strength=strength) for path, strength in map(parse_lora, options.beside)]


def _without_loras(given: Mapping[str, Any], console: Console) -> dict[str, Any]:
    """The settings of --config for a fine-tune: those of a LoRA are left out with a note, as configurations of other
    trainers hold both."""
    from ...training.config import is_of_loras

    if left := sorted(filter(is_of_loras, given)):
        console.say(f"note: {', '.join(left)} of --config are for a LoRA, and are left out.")
    return {name: value for name, value in given.items() if not is_of_loras(name)}


def combine_settings(given: Mapping[str, Any], named: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of --config, the options' own, and those of --set, each over what stands before it. An option that
    is left at nothing leaves what --config says, and a length takes the place of the other kind of length there."""
    over = {name: value for name, value in named.items() if value or name not in given} | dict(chosen)
    if over.get("steps") or over.get("epochs"):
        given = {name: value for name, value in given.items() if name not in ("steps", "epochs")}
    return {**given, **over}
