"""From the widgets of a node to the plan of a sweep."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths

from ...trainer.common.errors import UserError
from ...trainer.common.names import name_from
from ...trainer.lora.hashes import tensor_hash
from ...trainer.models.families import FAMILIES
from ...trainer.sweeps.axis_text import choose_checkpoints, choose_names, lines, parse_numbers, parse_seeds
from ...trainer.sweeps.cells import (
    Axis,
    checkpoint_axis,
    prompt_axis,
    recorded_captions,
    seed_axis,
    strength_axis,
)
from ...trainer.sweeps.log import refuse_name_of_the_log
from ...trainer.sweeps.prompt_sets import FROM_CAPTIONS, prompts as prompts_of
from ...trainer.training.runs import Run, read_run
from .. import paths
from .bases import named_bases

LoraEntry = tuple[str, float, float]
"""(name as the host's loaders list it, strength on the model, strength on the text encoder)."""
MOST_STRENGTH = 20.0


@dataclass(frozen=True)
class Loras:
    """What is swept, and the stack that is applied before it in every cell."""

    swept: tuple[tuple[str, Path], ...]
    """(name, file) of each."""
    below: tuple[LoraEntry, ...]

    @classmethod
    def of_name(cls, name: str) -> Loras:
        """One LoRA by its name, on nothing. Raises UserError if there is none of that name."""
        return cls(((name, paths.lora_file(name)),), ())

    @property
    def files(self) -> list[Path]:
        """The files of all that is applied."""
        return [*(path for _, path in self.swept), *(paths.lora_file(name) for name, *_ in self.below)]

    @property
    def axis(self) -> Axis:
        return checkpoint_axis([path for _, path in self.swept], [name for name, _ in self.swept])

    @property
    def stack(self) -> list[list[Any]]:
        """The stack as facts of a cell: with the hashes of the files' weights."""
        return [[name, tensor_hash(paths.lora_file(name)), model, clip] for name, model, clip in self.below]


def choose_loras(run: Run | None, checkpoints: str, stack: Sequence[LoraEntry], files: str,
                 compare: Sequence[LoraEntry] = ()) -> Loras:
    """The LoRAs to sweep: a run's checkpoints and named files, on top of the stack; without either, the stack's first
    LoRA, on top of its others.

    Args:
        compare: LoRAs that are swept as well, each by itself. Their strengths do not count.

    Raises UserError if there is none, or if a name matches none.
    """
    entries = list(stack)
    run = read_run(run.folder) if run else None
    swept = [(paths.lora_name(path), path)
             for _, path in choose_checkpoints(run.checkpoints(), checkpoints, run.averages())] if run else []
    swept += [(name, paths.lora_file(name)) for name in named_files(files)]
    if not swept and entries:
        name = entries.pop(0)[0]
        swept = [(name, paths.lora_file(name))]
    swept += [(name, paths.lora_file(name)) for name, *_ in compare]
    if not swept:
        raise UserError("there is no LoRA to sweep: link a run or a LORA_STACK, or write names into files.")
    return Loras(tuple(dict.fromkeys(swept)), tuple(entries))


def named_files(files: str) -> tuple[str, ...]:
    """LoRAs as the host's loaders list them, from a text with a name or pattern on each line."""
    return choose_names(folder_paths.get_filename_list("loras"), lines(files), "LoRA")


def listed_files(files: str, bases: str = "") -> list[list[Any]]:
    """Facts that change when one of the LoRAs or base models that two widgets name is replaced: name, size and time of
    change of each. Raises UserError for a name that matches none."""
    named = [(name, Path(folder_paths.get_full_path("loras", name))) for name in named_files(files)]
    stats = [(name, path.stat()) for name, path in (*named, *((base.name, base.path) for base in named_bases(bases)))]
    return [[name, status.st_size, status.st_mtime_ns] for name, status in stats]


def strengths_of(text: str) -> tuple[float, ...]:
    """The strengths that a text lists. Raises UserError for what is not a number, or too large a one."""
    values = parse_numbers(text, "strengths")
    if any(abs(value) > MOST_STRENGTH for value in values):
        raise UserError(f"strengths {text!r} must be between -{MOST_STRENGTH:g} and {MOST_STRENGTH:g}.")
    return values


def seeds_of(text: str) -> tuple[int, ...]:
    """The seeds that a text lists. Raises UserError for what is not a whole number, below 0, or too large."""
    seeds = parse_seeds(text)
    if min(seeds) < 0:
        raise UserError(f"seeds {text!r} must be 0 or more.")
    return seeds


def lora_axes(loras: Loras, strengths: str, prompts: str, prompt_set: str, seeds: str,
              family: str = "") -> tuple[Axis, ...]:
    """The axes of a sweep on one base model. Raises UserError for a text that cannot be read, or no prompt.

    Args:
        family: name of the linked model's family; without it, the one that the LoRA was trained on counts.
    """
    of_files = loras.axis
    if family not in FAMILIES:
        family = next((choice.facts["family"] for choice in of_files.choices), "")
    captions = recorded_captions([path for _, path in loras.swept]) if prompt_set == FROM_CAPTIONS else ()
    texts = prompts_of(lines(prompts), prompt_set, family, captions)
    if not texts:
        raise UserError("prompts is empty; write one per line, with the LoRA's trigger in it.")
    return (of_files, strength_axis(strengths_of(strengths)), prompt_axis(texts), seed_axis(seeds_of(seeds)))


def sweep_folder(name: str, loras: Loras, kind: str) -> Path:
    """The folder of a sweep of that name. If the name is empty, it is made from the first LoRA and the kind of sweep.

    Raises UserError for a name that cannot be a folder's.
    """
    stem = re.sub(r"-step\d{6}$", "", loras.swept[0][1].stem)
    return named_folder(name, f"{stem}-{kind}")


def named_folder(name: str, otherwise: str) -> Path:
    """The folder of a sweep of that name, or of the other name if it is empty. Raises UserError as `sweep_folder`
    does."""
    root = paths.sweeps_root()
    if not name.strip() and not (root / otherwise).is_dir():  # where an older version made it, it goes on
        otherwise = name_from(otherwise, "sweep")
    folder = paths.own_folder(root, name.strip() or otherwise)
    refuse_name_of_the_log(folder.name)
    return folder
