"""What can be wrong with the options of a command, found before torch is imported: that takes seconds, and a mistake
should take none.

CHECKS is the one table, by the names of options, which mean the same in every command that has them. What concerns
several options of one command is in its own `check_<verb>(options)`, in its file. Neither may import torch.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...backends.given_base import BASE_PRECISIONS, find_given_base
from ...captions.kinds import get_kind
from ...common.checks import check, check_choice
from ...common.errors import UserError
from ...common.names import checked_name
from ...datasets.given_folder import find_given_folder
from ...stacks.lora_stack import read_strength
from ...training.parallel.launched import count_launched
from .options import parse_lora, parse_settings

MOST_SIDE = 16_384
"""Pixels a side of an image that is drawn."""


SHARED = ("train",)
"""Commands that several processes of `accelerate launch` can run together."""


@dataclass(frozen=True)
class Check:
    """A check of one option's value. It is left out where the value is None, False, "" or [].

    Attributes:
        option: its name in the parsed options.
        run: is called with the value, and raises UserError.
        verbs: the commands that it is for; () for all that have the option.
    """

    option: str
    run: Callable[[Any], object]
    verbs: tuple[str, ...] = ()


def check_options(verb: str, options: argparse.Namespace) -> None:
    """Raises UserError for the first value that cannot be right."""
    if verb not in SHARED and (count := count_launched()) > 1:
        raise UserError(f"{verb} runs in one process, but a launcher started {count}; only {', '.join(SHARED)} can be "
                        "shared. Start it without the launcher, as lora-bootstrap.")
    for row in CHECKS:
        value = getattr(options, row.option, None)
        if (not row.verbs or verb in row.verbs) and not (value is None or value is False or value in ("", [])):
            row.run(value)


_WEIGHTS = "give a .safetensors file"


def _whole(name: str, least: int, most: int, valid: str = "") -> Callable[[Any], None]:
    return lambda value: check(least <= value <= most, name, value, valid or f"from {least} to {most}")


def _number(name: str, least: float, most: float) -> Callable[[Any], None]:
    return lambda value: check(math.isfinite(value) and least <= value <= most, name, value,
                               f"a number from {least:g} to {most:g}")


def _file(what: str) -> Callable[[Path], None]:
    def look(path: Path) -> None:
        if not path.is_file():
            raise UserError(f"there is no file at {path}; {what}.")
    return look


def _check_base(base: str) -> None:
    find_given_base(base)


def _check_planned_base(base: str) -> None:
    from ...memory.bases import find_base

    find_base(base)


def _check_colour(name: str) -> None:
    if name != "white":  # known without Pillow
        from ...pictures.flatten import parse_colour

        parse_colour(name)


def _check_loras(given: Path | Iterable[str | Path]) -> None:
    for file in [given] if isinstance(given, Path) else given:
        if isinstance(file, str):
            parse_lora(file)
        elif not file.is_file():
            raise UserError(f"there is no LoRA file at {file}; give the path of a .safetensors LoRA.")


def _check_run(folder: Path) -> None:
    if not (folder / "run.json").is_file():
        raise UserError(f"{folder} is not the folder of a training run: it has no run.json. Choose a run's own folder.")


def _check_sweep(folder: Path) -> None:
    if not (folder / "manifest.json").is_file():
        raise UserError(f"{folder} is not a sweep: it has no manifest.json. Give a sweep's own folder, such as "
                        "output/sweeps/my_character-checkpoints.")


def _check_released(path: Path) -> None:
    if not (path / "run.json").is_file() and not path.is_file():
        raise UserError(f"{path} is neither a run's folder nor a file; give a folder with a run.json, or a "
                        ".safetensors LoRA.")


def _check_likeness(folder: str) -> None:
    if not Path(folder).expanduser().is_dir():
        raise UserError(f"--likeness {folder!r} is not a folder. Give the folder of a CLIP or DINOv2 model, or leave "
                        "the option out.")


def _check_seeds(text: str) -> None:
    from ...sweeps.axis_text import parse_seeds

    parse_seeds(text)


def _check_strengths(values: Iterable[float]) -> None:
    for value in values:
        read_strength(value, "a cell")


def _check_base_precision(name: str) -> None:
    check_choice("base precision", name, BASE_PRECISIONS)


def _check_settings(pairs: Sequence[str]) -> None:
    from ...training.config import TrainConfig

    TrainConfig().replace(**parse_settings(pairs))


def _check_fine_tune(pairs: Sequence[str]) -> None:
    from ...training.config import is_of_loras

    if wrong := sorted(filter(is_of_loras, parse_settings(pairs))):
        raise UserError(f"--set {wrong[0]} is for a LoRA, but finetune trains the model's own weights. Leave it out, "
                        "or use `lora-bootstrap train`.")


def _check_config(path: Path) -> None:
    from ...imports.reading import read_settings
    from ...training.config import TrainConfig

    TrainConfig().replace(**read_settings(path))


def _check_card(name: str) -> None:
    from ...memory.cards import CARDS

    check_choice("card", name, [card.name for card in CARDS])


def _check_job(path: Path) -> None:
    if not path.is_file() and not (path / "job.json").is_file():
        raise UserError(f"{path} is neither a file nor the folder of a job; give the zip that lora-bootstrap pack or "
                        "Export Job wrote, or the folder into which run unpacked one.")


def _check_layers(name: str) -> None:
    from ...training.config import LAYER_PRESETS

    check_choice("layers", name, LAYER_PRESETS)


def _check_optimizer(name: str) -> None:
    from ...training.optimizers import OPTIMIZERS

    check_choice("optimizer", name, OPTIMIZERS)


CHECKS = (
    Check("dataset", find_given_folder),
    Check("background", _check_colour),
    Check("base", _check_base, ("bootstrap", "finetune", "generate", "grid", "pack", "prove", "run",
                                 "sweep", "tag", "train")),
    Check("base", _check_planned_base, ("plan",)),
    Check("lora", _check_loras),
    Check("beside", _check_loras),
    Check("regularisation", find_given_folder),
    Check("run", _check_run),
    Check("last", _whole("--last", 2, 1_000_000)),
    Check("checkpoint", _check_loras, ("average",)),
    Check("sweep", _check_sweep),
    Check("released", _check_released),
    Check("tuned", _file(_WEIGHTS)),
    Check("base", _file(_WEIGHTS), ("extract",)),
    Check("source", _file(_WEIGHTS), ("resize",)),
    Check("picture", _file("give one image of the character")),
    Check("likeness", _check_likeness),
    Check("alias_file", _file("give a .csv file of aliases")),
    Check("implication_file", _file("give a .csv file of implications")),
    Check("name", lambda name: checked_name(name, "--name")),
    Check("kind", lambda kind: get_kind(kind, "kind of LoRA")),
    Check("config", _check_config, ("train", "finetune", "pack")),
    Check("set", _check_settings),
    Check("set", _check_fine_tune, ("finetune",)),
    Check("set_style", _check_settings),
    Check("set_character", _check_settings),
    Check("base_precision", _check_base_precision),
    Check("layers", _check_layers),
    Check("optimizer", _check_optimizer),
    Check("seed", _whole("--seed", 0, 2**63 - 1, "from 0 to 2^63 - 1"),
          ("bootstrap", "demo", "finetune", "generate", "pack", "train")),
    Check("seed", lambda seed: _check_seeds(str(seed)), ("grid", "sweep")),
    Check("seeds", _check_seeds),
    Check("strengths", _check_strengths, ("grid", "pack", "sweep")),
    Check("width", _whole("--width", 8, MOST_SIDE)),
    Check("height", _whole("--height", 8, MOST_SIDE)),
    Check("sample_steps", _whole("--sample-steps", 1, 10_000)),
    Check("cfg", _number("--cfg", -1000, 1000)),
    Check("steps", _whole("--steps", 1, 10_000_000)),
    Check("epochs", _whole("--epochs", 0, 10_000_000)),
    Check("batch", _whole("--batch", 1, 1_000_000)),
    Check("most", _whole("--most", 0, 1_000_000)),
    Check("budget", _whole("--budget", 0, 1_000_000)),
    Check("general", _number("--general", 0, 1)),
    Check("character", _number("--character", 0, 1)),
    Check("price", _number("--price", 0, 10_000), ("pack",)),  # batch has several, of cards
    Check("card", _check_card),
    Check("job", _check_job),
    Check("result", _file("give the zip of a result, or a .safetensors LoRA")),
    Check("share", lambda share: check(0 < share <= 1, "--share", share, "above 0 and at most 1")),
    Check("tolerance", lambda share: check(0 < share < 0.5, "--tolerance", share, "above 0 and below 0.5")),
)
