"""LoRA files side by side, layer by layer, whatever each file names a layer, and never a whole file in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from ..common.errors import UserError
from ..lora.hashes import check_weights
from ..lora.layers import Entry, LayerDelta, LoraFile, energy, read_header
from ..lora.layouts import (
    diffusers_key,
    diffusers_names,
    is_swapped,
    layers_per_block,
    match_key,
    names_of_ends,
    row_counts,
)
from ..lora.names import DENOISER


@dataclass(frozen=True)
class _Part:
    """Where a layer is found in a file: an entry, or some of its rows.

    Attributes:
        key: the layer's key in `LoraWeights.modules`: this file's name of it, or diffusers' if that differs.
    """

    entry: Entry
    key: str
    rows: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.entry.shape if self.rows is None else (self.rows[1] - self.rows[0], self.entry.shape[1])


@dataclass(frozen=True, eq=False)
class LayerStack:
    """Several LoRA files with matched layers.

    Attributes:
        names: names of all layers (part, then diffusers' path), in the files' order.
    """

    files: tuple[LoraFile, ...]
    names: tuple[str, ...]
    _parts: Mapping[str, tuple[_Part | None, ...]]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not read from the files, one line each."""
        return tuple(file.ignored_note for file in self.files if file.ignored)

    def shape(self, name: str) -> tuple[int, int]:
        return next(part.shape for part in self._parts[name] if part)

    def has(self, name: str) -> tuple[bool, ...]:
        """Which files have the layer."""
        return tuple(part is not None for part in self._parts[name])

    def key(self, name: str) -> str:
        """The layer's key in `LoraWeights.modules` for a file with all these layers: the first file's own, if any."""
        return next(part.key for part in self._parts[name] if part)

    def deltas(self, name: str, dtype: torch.dtype = torch.float64) -> tuple[LayerDelta | None, ...]:
        """What each file adds to a layer at strength 1; None for files without it. Raises UserError for NaN."""
        return tuple(None if part is None else self._delta(file, part, dtype)
                     for file, part in zip(self.files, self._parts[name], strict=True))

    def _delta(self, file: LoraFile, part: _Part, dtype: torch.dtype) -> LayerDelta:
        delta = file.delta(part.entry, dtype)
        return delta.rows(*part.rows) if part.rows else delta

    def energies(self) -> Iterator[tuple[str, tuple[float, ...]]]:
        """For each layer, each file's squared norm; 0 for files without it."""
        for name in self.names:
            yield name, tuple(energy(delta) if delta else 0.0 for delta in self.deltas(name))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread inside the block. With several, many small products only wait for each other.

    700 layers of rank 128 took 12 s of one core this way, and 90 s of two busy cores otherwise.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)


@contextmanager
def open_stack(paths: Sequence[Path]) -> Iterator[LayerStack]:
    """Open the files side by side for the block. Only their headers are read until a layer is requested.

    Raises UserError as `read_header` does, for the same file twice, and for files of different networks or with layers
    of different shapes, which are for different models.
    """
    paths = [Path(path) for path in paths]
    for index, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:index]]:
            raise UserError(f"{path} is listed twice; list it once and add the strengths.")
    files = tuple(map(read_header, paths))
    for path in paths:
        check_weights(path)
    stack = _matched_stack(files)
    with ExitStack() as closing:
        for file in files:
            closing.callback(file.tensors.close)
        yield stack


def _matched_stack(files: tuple[LoraFile, ...]) -> LayerStack:
    layers = layers_per_block(entry.name.path for file in files for entry in file.entries)
    split = len({file.original for file in files}) > 1
    ends = names_of_ends(entry.name for file in files for entry in file.entries)
    shown: dict[str, str] = {}
    parts: dict[str, list[_Part | None]] = {}
    for index, file in enumerate(files):
        for entry in file.entries:
            apart = split and not is_swapped(entry.name, entry.shape)
            names = diffusers_names(entry.name, layers, split=apart, ends=ends)
            for name, part in _entry_parts(entry, names, split):
                row = parts.setdefault(match_key(name), [None] * len(files))
                shown.setdefault(match_key(name), name)
                if other := row[index]:
                    raise UserError(f"{file.path} has layer {name} twice, as {other.entry.module} and as "
                                    f"{entry.module}. Remove one of them, or download the file again.")
                row[index] = part
    _check_networks(files, shown, parts)
    _check_shapes(files, shown, parts)
    rows = {shown[key]: tuple(row) for key, row in parts.items()}
    return LayerStack(files, tuple(rows), rows)


def _entry_parts(entry: Entry, names: Sequence[str], split: bool) -> Iterator[tuple[str, _Part]]:
    own = f"{entry.name.part}.{entry.name.path}"
    keys = [diffusers_key(name) if split and name != own else entry.name.key for name in names]
    if len(names) == 1:
        yield names[0], _Part(entry, keys[0])
        return
    counts = row_counts(len(names), *entry.shape)
    for index, (name, key) in enumerate(zip(names, keys, strict=True)):
        yield name, _Part(entry, key, (sum(counts[:index]), sum(counts[: index + 1])))


def _check_networks(files: Sequence[LoraFile], shown: Mapping[str, str],
                    parts: Mapping[str, Sequence[_Part | None]]) -> None:
    """Files without a common layer may still belong to one network (B-LoRA's content and style do), but not to two."""
    first = files[0]
    for index, file in enumerate(files[1:], 1):
        theirs = [[shown[key] for key, row in parts.items() if row[at]] for at in (0, index)]
        if not set(theirs[0]) & set(theirs[1]) and not _sorts(theirs[0]) & _sorts(theirs[1]):
            raise UserError(f"{first.path} and {file.path} have no layer in common (for example, {theirs[0][0]} and "
                            f"{theirs[1][0]}): they are for different models. Use LoRAs of one family.")


def _sorts(names: Sequence[str]) -> set[str]:
    """The kinds of blocks in a denoiser, such as up_blocks and down_blocks."""
    sorts = {name.split(".")[1] for name in names if name.startswith(f"{DENOISER}.")}
    return {"unet" if sort in ("down_blocks", "mid_block", "up_blocks") else sort for sort in sorts}


def _check_shapes(files: Sequence[LoraFile], shown: Mapping[str, str],
                  parts: Mapping[str, Sequence[_Part | None]]) -> None:
    for key, row in parts.items():
        here = [(file, part) for file, part in zip(files, row, strict=True) if part]
        for file, part in here[1:]:
            if part.shape != here[0][1].shape:
                raise UserError(f"layer {shown[key]} is {_size(here[0][1])} in {here[0][0].path} and {_size(part)} in "
                                f"{file.path}: they are for different models. Use LoRAs of one family.")


def _size(part: _Part) -> str:
    return f"{part.shape[1]} to {part.shape[0]}"
