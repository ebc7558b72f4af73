"""A sweep on disk: its axes, its cells, and which of them exist.

    output/sweeps/<sweep>/manifest.json       title, axes, and facts that all cells share; written before the first cell
                          manifest-earlier.json  the plan of an earlier version, whose cells had other keys
                          cells/<key>.png     a cell's image, with its settings inside
                          cells/<key>-1.png   the second image of its batch, if there is one, and so on
                          cells/.small/<key>.jpg  a small copy of its image
                          cells/<key>.json    its settings, or, without an image beside it, why the cell failed
                          grid.png            the labelled sheet (grid-2.png, ... if there are more)
                          scores.json         the scoring matrix
                          marks.json          the user's marks
                          strengths.json      the best strengths of a pair, if the sweep refines them

A cell's key is a hash of everything that decides its image. So an existing image is never made again, whatever was
queued before, and neither Cancel nor a crash can make the manifest and the images disagree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors import safe_open

from ..common.errors import UserError, unknown_name
from ..common.files import atomic_path, atomic_write, file_hash, read_json, remove_file, write_json
from ..common.leftovers import remove_leftovers
from ..common.schema import convert, read_record
from ..lora.hashes import check_weights, tensor_hash
from ..lora.metadata import read_count, read_texts
from ..lora.tensors import TensorFile
from ..pictures.small_copies import remove_small, save_small
from ..stacks.lora_stack import read_strength
from ..stacks.stack import file_role
from .prompt_sets import FROM_CAPTIONS

VERSION, KEYS = 1, 2
"""Of the manifest's form, and of what the cells' keys are made of."""
MANIFEST, EARLIER = "manifest.json", "manifest-earlier.json"
"""The plan, and the last one of a version that made other keys."""
BASE, STACK, CHECKPOINT, STRENGTH, PROMPT, SEED = "base", "stack", "checkpoint", "strength", "prompt", "seed"
AXES = (BASE, STACK, CHECKPOINT, STRENGTH, PROMPT, SEED)
"""In the order in which cells are made: what is expensive to change comes first."""
OF_THE_LORA = (CHECKPOINT, STRENGTH)
TOLD = ("lora", "step", "epoch", "run", "trigger", "family", "kind")
"""Facts of a cell that describe its LoRA but do not decide the image; the LoRA's hash does."""
NO_LORA = {"lora": "", "lora_sha256": "", "lora_tensors": "", "step": None, "epoch": None, "run": "", "trigger": "",
           "family": "", "kind": "", "strength": 0.0}
MOST_CELLS = 20_000
NO_TEXTS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Choice:
    """One value of an axis: its label on a sheet, and the facts it sets in a cell."""

    label: str
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    name: str
    """One of AXES."""
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Cell:
    """One image of a sweep.

    Attributes:
        key: 16 hexadecimal digits, a hash of everything that decides the image.
        at: its position on each axis; None on the LoRA's axes for an image made without the LoRA.
        facts: lora, lora_sha256, lora_tensors, step, epoch, run, strength, prompt, seed, base, and the shared facts.
    """

    key: str
    at: tuple[int | None, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Sweep:
    """The plan of a sweep, and its folder.

    Attributes:
        title: the title above its sheets.
        axes: in the order of AXES. Axes left out have a single value, which is among the shared facts.
        shared: facts that are the same for all cells, such as steps and cfg.
        without: whether each base, prompt and seed is also made without the LoRA, for comparison.
        alone: the last choice on the axes of the stack and of the strength is the one without that LoRA. It is combined
            only with the last two choices of the other axis, which gives neither LoRA and each LoRA alone.
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
            raise UserError(f"the sweep has no {' and no '.join(empty)}; give at least one.")
        if len(self) > MOST_CELLS:
            raise UserError(f"the sweep has {len(self)} cells; at most {MOST_CELLS} are possible. Use fewer values on "
                            "an axis.")

    def __len__(self) -> int:
        """The number of cells, not counting those without the LoRA."""
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
        """Whether there is a cell at these positions on the axes of the stack and of the strength."""
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
        """The cell at these positions, by axis name; position 0 on axes that are not named. None if there is no such
        cell."""
        return self._by_place.get(tuple(places.get(axis.name, 0) for axis in self.axes))

    def reference(self, cell: Cell) -> Cell | None:
        """The same cell without the LoRA, if it is part of the sweep."""
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

    def picture(self, cell: Cell, number: int = 0) -> Path:
        """The path of a cell's image, or of one of the others of its batch, from 1."""
        return self.cells_folder / (f"{cell.key}-{number}.png" if number else f"{cell.key}.png")

    def record(self, cell: Cell) -> Path:
        return self.cells_folder / f"{cell.key}.json"

    def states(self) -> dict[str, str]:
        """Cell key → "done", "failed" or "missing"."""
        names = {path.name for path in self.cells_folder.glob("*")}

        def state(key: str) -> str:
            if f"{key}.json" not in names:
                return "missing"
            return "done" if f"{key}.png" in names else "failed"

        return {cell.key: state(cell.key) for cell in self.everything}

    def counts(self) -> dict[str, int]:
        """How many cells are "done", how many "failed", and how many there are in "total"."""
        states = list(self.states().values())
        return {"done": states.count("done"), "failed": states.count("failed"), "total": len(states)}

    def missing(self) -> list[Cell]:
        """The cells still to be made, each once, in order. Cells that failed are tried again, after the others."""
        states = self.states()
        wanted = {cell.key: cell for cell in self.everything if states[cell.key] != "done"}
        return sorted(wanted.values(), key=lambda cell: states[cell.key] == "failed")

    def problem(self, cell: Cell) -> str:
        """Why a cell failed; "" if that is not known."""
        path = self.record(cell)
        if not path.is_file() or self.picture(cell).is_file():
            return ""
        try:
            return read_record(path, _FailedCell).error
        except UserError as error:  # it is of no consequence for the other cells
            return str(error)

    def write(self) -> None:
        """Write the manifest, and remove what a killed process left half written. A manifest with keys of an earlier
        version is kept, because its images and marks go by them."""
        remove_leftovers(self.folder, depth=2)
        path = self.folder / MANIFEST
        if path.is_file() and _has_earlier_keys(path):
            atomic_write(self.folder / EARLIER, path.read_bytes())
        write_json(path, {
            "version": VERSION, "keys": KEYS, "title": self.title, "without": self.without, "shared": self.shared,
            **({"alone": True} if self.alone else {}),
            "axes": [{"name": axis.name, "choices": [vars(choice) for choice in axis.choices]} for axis in self.axes],
            "cells": [{"key": cell.key, "at": cell.at} for cell in self.everything]})

    def save(self, cell: Cell, image: Image.Image, texts: Mapping[str, str] | None = NO_TEXTS,
             more: Sequence[Image.Image] = ()) -> Path:
        """Write a cell's image and settings; returns the image's path.

        Args:
            texts: prompt, parameters, for the PNG beside the cell's facts; None writes no text at all into it.
            more: the other images of its batch, for `<key>-1.png`, `<key>-2.png`, ... beside it.
        """
        self._discard(cell)  # an old record must not vouch for a new image
        own = {"lora_bootstrap": json.dumps(dict(cell.facts), ensure_ascii=False)}
        info = _png_info({} if texts is None else {**own, **texts})
        for number, picture in enumerate((image, *more)):
            with atomic_path(self.picture(cell, number)) as temp:
                picture.save(temp, format="PNG", pnginfo=info, compress_level=4)
        save_small(self.picture(cell), image)
        write_json(self.record(cell), cell.facts)
        return self.picture(cell)

    def _discard(self, cell: Cell) -> None:
        for path in (self.record(cell), self.picture(cell), *self.cells_folder.glob(f"{cell.key}-*.png")):
            remove_file(path)
        remove_small(self.picture(cell))

    def count_more(self) -> int:
        """How many images of batches lie beside those that are the cells'."""
        keys = {cell.key for cell in self.everything}
        return sum(path.stem.rpartition("-")[0] in keys for path in self.cells_folder.glob("*-*.png"))

    def fail(self, cell: Cell, why: str) -> None:
        """Mark a cell that could not be made."""
        self._discard(cell)
        write_json(self.record(cell), {**cell.facts, "error": why})

    @classmethod
    def load(cls, folder: Path, manifest: str = MANIFEST) -> Sweep:
        """The sweep in a folder. Raises UserError if its manifest cannot be read as one."""
        saved = read_record(folder / manifest, _Manifest, "is not a sweep",
                            "Run the sweep again under another name.")
        if saved.version != VERSION:
            raise UserError(f"{folder} was written by another version; run the sweep again under another name.")
        return cls(folder, saved.title, saved.axes, saved.shared, saved.without, saved.alone)


@dataclass(frozen=True)
class _Manifest:
    """What manifest.json holds, without the cells, which follow from it."""

    version: int
    title: str
    axes: tuple[Axis, ...]
    shared: Mapping[str, Any]
    without: bool
    alone: bool = False

    def __post_init__(self) -> None:
        for facts in (self.shared, *(choice.facts for axis in self.axes for choice in axis.choices)):
            for name, value in facts.items():
                convert(value, _FACTS.get(name, Any), name)  # they stay as they are: a cell's key tells 1 from 1.0


@dataclass(frozen=True)
class _FailedCell:
    error: str = ""


_FACTS: Mapping[str, Any] = {
    **dict.fromkeys(("lora", "lora_sha256", "lora_tensors", "run", "trigger", "family", "kind", "prompt", "base"), str),
    **dict.fromkeys(("step", "epoch"), int | None), "strength": float, "seed": int,
    "stack": list[tuple[str, str, float, float]]}
"""The types of the facts that are computed with."""


def _has_earlier_keys(manifest: Path) -> bool:
    with suppress(UserError):  # a damaged one says nothing that could be kept
        return convert(read_json(manifest), dict).get("keys") != KEYS
    return False


def _png_info(texts: Mapping[str, str]) -> PngInfo:
    info = PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    return info


def cell_key(facts: Mapping[str, Any]) -> str:
    """16 hexadecimal digits: a hash of all facts, except those that only describe the LoRA.

    The LoRA counts by its weights, so that it may be trained again with the same result. Cells of earlier versions do
    not have that fact; they keep the keys under which their files are found, in which all bytes of the LoRA count.
    """
    other_hash = "lora_sha256" if facts.get("lora_tensors") else "lora_tensors"
    deciding = {name: value for name, value in facts.items() if name not in TOLD and name != other_hash}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]


# -- axes --------------------------------------------------------------------------------------------------------------


def checkpoint_axis(files: Sequence[Path], names: Sequence[str] = ()) -> Axis:
    """LoRA files as an axis. Each is labelled with the step and epoch from its metadata, or else with its name.

    Args:
        names: the files' names in the host's loaders. Without them, a file is named as in the folder of LoRAs, a run's
            with its run: the name goes into every image, which must not tell where the files lie.

    Raises UserError if a file cannot be read as safetensors.
    """
    choices = []
    for path, name in zip(files, names or map(_name_of, files), strict=True):
        told = _read_facts(path)
        check_weights(path)
        facts = {"lora": name, "lora_sha256": file_hash(path), "lora_tensors": tensor_hash(path), **told,
                 "run": told["run"] or path.stem}
        choices.append(Choice(_checkpoint_label(facts, path), facts))
    twice = {choice.label for choice in choices if sum(other.label == choice.label for other in choices) > 1}
    return Axis(CHECKPOINT, tuple(
        Choice(f"{choice.facts['run']} {choice.label}", choice.facts) if choice.label in twice else choice
        for choice in choices))


def _name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}" if (path.parent / "run.json").is_file() else path.name


def _read_facts(path: Path) -> dict[str, Any]:
    """What a LoRA file's metadata says about it; None or "" for what it does not say."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except Exception as error:  # safetensors raises its own, unexported error type
        raise UserError(f"{path} cannot be read as a LoRA ({error}). Choose a .safetensors LoRA file.") from error
    numbers = {name: read_count(metadata, key) for name, key in (("step", "ss_steps"), ("epoch", "ss_epoch"))}
    texts = {name: metadata.get(key, "") for name, key in (
        ("run", "ss_output_name"), ("trigger", "modelspec.trigger_phrase"), ("family", "lora_bootstrap.family"))}
    return {**numbers, **texts, "kind": file_role(metadata)}


def recorded_captions(files: Sequence[Path]) -> tuple[str, ...]:
    """Captions that the first of these LoRAs was trained on, as its metadata has them: with the trigger, and without
    what the trigger stands for.

    Raises UserError if it has none.
    """
    found = read_texts(TensorFile(files[0]).metadata, "lora_bootstrap.captions")
    if not found:
        raise UserError(f"{files[0].name} does not record captions: an earlier version or another program trained it. "
                        f"Write prompts, or choose another set than {FROM_CAPTIONS}.")
    return tuple(found)


def _checkpoint_label(facts: Mapping[str, Any], path: Path) -> str:
    if facts["step"] is None:
        return path.stem
    return f"step {facts['step']}" + (f" (epoch {facts['epoch']})" if facts["epoch"] else "")


def strength_axis(strengths: Iterable[float]) -> Axis:
    """Raises UserError for a strength that is not a finite number."""
    values = dict.fromkeys(read_strength(value, "a cell") for value in strengths)
    return Axis(STRENGTH, tuple(Choice(f"{value:g}", {"strength": value}) for value in values))


def stack_axis(label: str, below: Sequence[Sequence[Any]], name: str, digest: str, strengths: Iterable[float]) -> Axis:
    """A LoRA at several strengths, in the stack below the swept one. The last choice is without it, as in
    `Sweep.alone`.

    Args:
        below: the other LoRAs in every cell, as [name, hash, model strength, text encoder strength] each.
        name, digest: the file's name in the host's loaders, and its hash.
    """
    others = [list(entry) for entry in below]
    with_it = [Choice(f"{label} {value:g}", {"stack": [*others, [name, digest, float(value), float(value)]]})
               for value in dict.fromkeys(strengths)]
    return Axis(STACK, (*with_it, Choice(f"no {label}", {"stack": others})))


def prompt_axis(prompts: Iterable[str]) -> Axis:
    return Axis(PROMPT, tuple(Choice(text, {"prompt": text}) for text in dict.fromkeys(prompts)))


def seed_axis(seeds: Iterable[int]) -> Axis:
    return Axis(SEED, tuple(Choice(str(seed), {"seed": seed}) for seed in dict.fromkeys(seeds)))


def base_axis(bases: Mapping[str, str], more: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> Axis:
    """Base models as an axis, from name → hash.

    Args:
        more: by name, facts that the cells on a base have in place of the shared ones, such as fewer steps.
    """
    return Axis(BASE, tuple(Choice(name, {"base": base, **more.get(name, {})}) for name, base in bases.items()))
