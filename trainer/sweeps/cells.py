"""A sweep on disk: its axes, its cells, and which of them are there.

    output/sweeps/<sweep>/manifest.json       title, axes, and what all cells share; written once, before the first cell
                          cells/<key>.png     a cell's picture, with its settings inside
                          cells/<key>.json    its settings; without a picture beside it: why the cell failed
                          grid.png            the labelled sheet (grid-2.png, ... where there are more)
                          scores.json         the scoring matrix
                          marks.json          what a person marked
                          strengths.json      the strengths of a pair, of a sweep that refines them

A cell's key is a hash of all that decides its picture. So a picture that is there is never made again, whatever was
queued before, and neither Cancel nor a crash can leave the manifest and the pictures at odds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors import safe_open

from ..common.errors import UserError, unknown_name
from ..common.files import atomic_path, file_hash, read_json, write_json

VERSION = 1
BASE, STACK, CHECKPOINT, STRENGTH, PROMPT, SEED = "base", "stack", "checkpoint", "strength", "prompt", "seed"
AXES = (BASE, STACK, CHECKPOINT, STRENGTH, PROMPT, SEED)
"""In the order in which cells are made: what is dear to change comes first."""
OF_THE_LORA = (CHECKPOINT, STRENGTH)
TOLD = ("lora", "step", "epoch", "run", "trigger", "family", "kind")
"""Facts of a cell that say what its LoRA is, but do not decide the picture; its hash does."""
NO_LORA = {"lora": "", "lora_sha256": "", "step": None, "epoch": None, "run": "", "trigger": "", "family": "",
           "kind": "", "strength": 0.0}
MOST_CELLS = 20_000


@dataclass(frozen=True)
class Choice:
    """One value of an axis: what it is called on a sheet, and the facts it sets in a cell."""

    label: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    name: str
    """One of AXES."""
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Cell:
    """One picture of a sweep.

    Attributes:
        key: 16 hexadecimal digits by all that decides the picture.
        at: its place on each axis; None on the axes of the LoRA for a picture made without it.
        facts: lora, lora_sha256, step, epoch, run, strength, prompt, seed, base, and what all cells share.
    """

    key: str
    at: tuple[int | None, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Sweep:
    """The plan of a sweep, and its folder.

    Attributes:
        title: stands above its sheets.
        axes: in the order of AXES; those that are not there have one value, which is among the shared facts.
        shared: facts that all cells have in common, such as steps and cfg.
        without: also each base, prompt and seed without the LoRA, to compare with.
        alone: the last choices of the axes of the stack and of the strength are without that LoRA. They are made with
            each other and with the last but one of the other axis: neither LoRA, and each alone.
    """

    folder: Path
    title: str
    axes: tuple[Axis, ...]
    shared: Mapping[str, Any] = field(default_factory=dict)
    without: bool = False
    alone: bool = False

    def __post_init__(self) -> None:
        empty = [axis.name for axis in self.axes if not axis.choices]
        if empty:
            raise UserError(f"the sweep has no {' and no '.join(empty)}; give at least one of each.")
        if len(self) > MOST_CELLS:
            raise UserError(f"the sweep has {len(self)} cells; at most {MOST_CELLS}. Take fewer values on an axis.")

    def __len__(self) -> int:
        """How many cells, those without the LoRA not counted."""
        count = prod(len(axis.choices) for axis in self.axes)
        if self.alone:
            pair = [len(axis.choices) for axis in self.axes if axis.name in (STACK, STRENGTH)]
            count = count // prod(pair) * sum(self._has_cell(at) for at in product(*map(range, pair)))
        return count

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All cells in the order in which they are made."""
        def places(at: tuple[int, ...]) -> list[int]:
            return [place for axis, place in zip(self.axes, at, strict=True) if axis.name in (STACK, STRENGTH)]

        every = product(*(range(len(axis.choices)) for axis in self.axes))
        return tuple(self._cell(at) for at in every if self._has_cell(places(at)))

    def _has_cell(self, places: Sequence[int]) -> bool:
        """Whether there is a cell at these places on the axes of the stack and of the strength."""
        if not self.alone:
            return True
        lengths = [len(axis.choices) for axis in self.axes if axis.name in (STACK, STRENGTH)]
        from_end = [length - 1 - place for length, place in zip(lengths, places, strict=True)]
        return 0 not in from_end or max(from_end) <= 1

    @cached_property
    def references(self) -> tuple[Cell, ...]:
        """The cells without the LoRA, if there are any."""
        if not self.without or not any(axis.name in OF_THE_LORA for axis in self.axes):
            return ()
        ranges = ([None] if axis.name in OF_THE_LORA else range(len(axis.choices)) for axis in self.axes)
        return tuple(self._cell(at) for at in product(*ranges))

    @cached_property
    def everything(self) -> tuple[Cell, ...]:
        """References and cells, base by base, in the order in which they are made."""
        names = [axis.name for axis in self.axes]
        base = names.index(BASE) if BASE in names else None
        return tuple(sorted((*self.references, *self.cells),
                            key=lambda cell: 0 if base is None else cell.at[base] or 0))

    @cached_property
    def _by_place(self) -> dict[tuple[int | None, ...], Cell]:
        return {cell.at: cell for cell in self.everything}

    def _cell(self, at: tuple[int | None, ...]) -> Cell:
        facts = dict(self.shared)
        for axis, index in zip(self.axes, at, strict=True):
            facts |= {} if index is None else axis.choices[index].facts
        if facts.get("strength", 0) == 0 or None in at:
            facts |= NO_LORA
        return Cell(cell_key(facts), at, facts)

    def cell(self, **places: int | None) -> Cell | None:
        """The cell at these places by the axes' names; 0 on the axes that are not named. None if there is none."""
        return self._by_place.get(tuple(places.get(axis.name, 0) for axis in self.axes))

    def reference(self, cell: Cell) -> Cell | None:
        """The same picture without the LoRA, if it is part of the sweep."""
        at = (None if axis.name in OF_THE_LORA else place for axis, place in zip(self.axes, cell.at, strict=True))
        return self._by_place.get(tuple(at))

    def axis(self, name: str) -> Axis | None:
        return next((axis for axis in self.axes if axis.name == name), None)

    def choices(self, name: str) -> tuple[Choice, ...]:
        """What is on an axis. Raises UserError if the sweep does not have it."""
        axis = self.axis(name)
        if axis is None:
            raise unknown_name(f"axis of sweep {self.folder.name!r}", name, [axis.name for axis in self.axes])
        return axis.choices

    # -- on disk ---------------------------------------------------------------------------------------------------

    @property
    def cells_folder(self) -> Path:
        return self.folder / "cells"

    @property
    def sheet(self) -> Path:
        return self.folder / "grid.png"

    def picture(self, cell: Cell) -> Path:
        return self.cells_folder / f"{cell.key}.png"

    def record(self, cell: Cell) -> Path:
        return self.cells_folder / f"{cell.key}.json"

    def states(self) -> dict[str, str]:
        """By key: "done", "failed" or "missing"."""
        names = {path.name for path in self.cells_folder.glob("*")}

        def state(key: str) -> str:
            if f"{key}.json" not in names:
                return "missing"
            return "done" if f"{key}.png" in names else "failed"

        return {cell.key: state(cell.key) for cell in self.everything}

    def missing(self) -> list[Cell]:
        """The cells to be made, each once, in order; those that failed are tried again, after the others."""
        states = self.states()
        wanted = {cell.key: cell for cell in self.everything if states[cell.key] != "done"}
        return sorted(wanted.values(), key=lambda cell: states[cell.key] == "failed")

    def problem(self, cell: Cell) -> str:
        """Why a cell failed; "" if nothing is known of it."""
        path = self.record(cell)
        return str(read_json(path).get("error", "")) if path.is_file() and not self.picture(cell).is_file() else ""

    def write(self) -> None:
        """Write the manifest."""
        write_json(self.folder / "manifest.json", {
            "version": VERSION, "title": self.title, "without": self.without, "shared": self.shared,
            **({"alone": True} if self.alone else {}),
            "axes": [{"name": axis.name, "choices": [vars(choice) for choice in axis.choices]} for axis in self.axes],
            "cells": [{"key": cell.key, "at": cell.at} for cell in self.everything]})

    def save(self, cell: Cell, image: Image.Image, texts: Mapping[str, str] | None = None) -> Path:
        """Write a cell's picture and what it is; `texts` also go into the PNG (prompt, parameters)."""
        info = PngInfo()
        for name, text in ({"lora_bootstrap": json.dumps(dict(cell.facts), ensure_ascii=False)} | dict(texts or {})
                           ).items():
            info.add_text(name, text)
        path = self.picture(cell)
        self.record(cell).unlink(missing_ok=True)  # an old one must not vouch for a new picture
        with atomic_path(path) as temp:
            image.save(temp, format="PNG", pnginfo=info, compress_level=4)
        write_json(self.record(cell), cell.facts)
        return path

    def fail(self, cell: Cell, why: str) -> None:
        """Mark a cell that could not be made."""
        self.picture(cell).unlink(missing_ok=True)
        write_json(self.record(cell), {**cell.facts, "error": why})

    @classmethod
    def load(cls, folder: Path) -> Sweep:
        """The sweep in a folder. Raises UserError if its manifest is none."""
        values = read_json(folder / "manifest.json")
        try:
            if values["version"] != VERSION:
                raise UserError(f"{folder} was written by another version; sweep again under another name.")
            axes = tuple(Axis(axis["name"], tuple(Choice(**choice) for choice in axis["choices"]))
                         for axis in values["axes"])
            return cls(folder, values["title"], axes, values["shared"], values["without"],
                       bool(values.get("alone")))
        except (KeyError, TypeError) as error:
            raise UserError(f"{folder / 'manifest.json'} is no sweep ({error}); sweep again under another name.") \
                from error


def cell_key(facts: Mapping[str, Any]) -> str:
    """16 hexadecimal digits by all facts but those that only tell where the LoRA comes from."""
    deciding = {name: value for name, value in facts.items() if name not in TOLD}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


# -- axes --------------------------------------------------------------------------------------------------------------


def checkpoint_axis(files: Sequence[Path], names: Sequence[str] = ()) -> Axis:
    """LoRA files as an axis, each labelled by step and epoch as its metadata tells, else by its name.

    Args:
        names: what the host's loaders call the files; their paths if not given.

    Raises UserError if a file cannot be read as safetensors.
    """
    choices = []
    for path, name in zip(files, names or map(str, files), strict=True):
        told = _read_facts(path)
        facts = {"lora": name, "lora_sha256": file_hash(path), **told, "run": told["run"] or path.stem}
        choices.append(Choice(_checkpoint_label(facts, path), facts))
    twice = {choice.label for choice in choices if sum(other.label == choice.label for other in choices) > 1}
    return Axis(CHECKPOINT, tuple(
        Choice(f"{choice.facts['run']} {choice.label}", choice.facts) if choice.label in twice else choice
        for choice in choices))


def _read_facts(path: Path) -> dict[str, Any]:
    """What a LoRA file's metadata says of it; None or "" where it is silent."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except Exception as error:  # safetensors raises its own, unexported error type
        raise UserError(f"{path} cannot be read as a LoRA ({error}). Choose a .safetensors LoRA file.") from error
    numbers = {name: int(text) if (text := metadata.get(key, "")).isdecimal() else None
               for name, key in (("step", "ss_steps"), ("epoch", "ss_epoch"))}
    texts = {name: metadata.get(key, "") for name, key in (
        ("run", "ss_output_name"), ("trigger", "modelspec.trigger_phrase"), ("family", "lora_bootstrap.family"))}
    try:
        kind = json.loads(metadata["lora_bootstrap.config"])["kind"]
    except (KeyError, ValueError, TypeError):
        kind = ""
    return {**numbers, **texts, "kind": kind}


def _checkpoint_label(facts: Mapping[str, Any], path: Path) -> str:
    if facts["step"] is None:
        return path.stem
    return f"step {facts['step']}" + (f" (epoch {facts['epoch']})" if facts["epoch"] else "")


def strength_axis(strengths: Iterable[float]) -> Axis:
    return Axis(STRENGTH, tuple(Choice(f"{value:g}", {"strength": float(value)})
                                for value in dict.fromkeys(strengths)))


def stack_axis(label: str, below: Sequence[Sequence[Any]], name: str, digest: str, strengths: Iterable[float]) -> Axis:
    """A LoRA below the one that is swept at several strengths, the last choice without it, as `Sweep.alone` has it.

    Args:
        below: the other LoRAs that every cell has: [name, hash, strength on the model, on the text encoder] each.
        name, digest: what the host's loaders call the file, and its hash.
    """
    others = [list(entry) for entry in below]
    with_it = [Choice(f"{label} {value:g}", {"stack": [*others, [name, digest, float(value), float(value)]]})
               for value in dict.fromkeys(strengths)]
    return Axis(STACK, (*with_it, Choice(f"no {label}", {"stack": others})))


def prompt_axis(prompts: Iterable[str]) -> Axis:
    return Axis(PROMPT, tuple(Choice(text, {"prompt": text}) for text in dict.fromkeys(prompts)))


def seed_axis(seeds: Iterable[int]) -> Axis:
    return Axis(SEED, tuple(Choice(str(seed), {"seed": seed}) for seed in dict.fromkeys(seeds)))


def base_axis(bases: Mapping[str, str]) -> Axis:
    """Base checkpoints by what they are called: a hash of each."""
    return Axis(BASE, tuple(Choice(name, {"base": base}) for name, base in bases.items()))
