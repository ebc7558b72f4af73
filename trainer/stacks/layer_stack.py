"""LoRA files side by side, layer by layer, whatever each file names a layer, and never a whole file in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch

from ..common.errors import UserError
from ..lora.hashes import check_weights
from ..lora.layers import Entry, LayerDelta, LoraFile, Vector, energy, read_header
from ..lora.layouts import (
    diffusers_key,
    diffusers_names,
    is_swapped,
    layers_per_block,
    match_key,
    names_of_ends,
    row_counts,
    text_names,
)
from ..lora.names import DENOISER, UNET_WORDS
from ..lora.spellings import OwnName


@dataclass(frozen=True)
class _Part:
    """Where a layer is found in a file: an entry, or some of its rows.

    Attributes:
        key: the layer's key in `LoraWeights.modules`: this file's name of it, or diffusers' if that differs.
        uneven: whether the entry's parts differ in size, as with fewer keys than queries.
    """

    entry: Entry
    key: str
    rows: tuple[int, int] | None = None
    uneven: bool = False

    @property
    def own(self) -> OwnName:
        return OwnName("" if self.rows else self.entry.module, ".lora_A" in self.entry.keys.get("down", ""))

    @property
    def shape(self) -> tuple[int, int]:
        return self.entry.shape if self.rows is None else (self.rows[1] - self.rows[0], self.entry.shape[1])


@dataclass(frozen=True)
class VectorRow:
    """A bias or norm that some of the files change.

    Attributes:
        name: its layer's name, as in `LayerStack.names`.
        vectors: each file's difference of it; None for files without it.
    """

    name: str
    vectors: tuple[Vector | None, ...]

    @property
    def key(self) -> str:
        """Its key in a file with all of them: the first file's own. The host reads `b_norm` only beside `w_norm`."""
        key = next(vector.key for vector in self.vectors if vector)
        return re.sub(r"\.b_norm$", ".diff_b", re.sub(r"\.w_norm$", ".diff", key))


@dataclass(frozen=True, eq=False)
class LayerStack:
    """Several LoRA files with matched layers.

    Attributes:
        names: names of all layers (part, then diffusers' path), in the files' order.
        vectors: all biases and norms that they change.
    """

    files: tuple[LoraFile, ...]
    names: tuple[str, ...]
    _parts: Mapping[str, tuple[_Part | None, ...]]
    vectors: tuple[VectorRow, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What scales a file elsewhere than here, and which files have nothing in common; one line each."""
        apart = [f"{first.path.stem} and {second.path.stem} have no layer in common, so neither overrides the other."
                 for (one, first), (other, second) in combinations(enumerate(self.files), 2)
                 if not any(self.has(name)[one] and self.has(name)[other] for name in self.names)]
        return (*apart, *filter(None, (file.scale_note for file in self.files)))

    def shape(self, name: str) -> tuple[int, int]:
        return next(part.shape for part in self._parts[name] if part)

    def has(self, name: str) -> tuple[bool, ...]:
        """Which files have the layer."""
        return tuple(part is not None for part in self._parts[name])

    def key(self, name: str) -> str:
        """The layer's key in `LoraWeights.modules` for a file with all these layers: the first file's own, if any."""
        return next(part.key for part in self._parts[name] if part)

    @property
    def uneven(self) -> str:
        """A layer of which some files have all of query, key and value in one, in parts of different sizes; "" if there
        is none."""
        return next((name for name, row in self._parts.items() if any(part and part.uneven for part in row)), "")

    def own_name(self, name: str) -> OwnName:
        """The name of the layer in the file that `key` is taken from."""
        return next(part.own for part in self._parts[name] if part)

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
    split = len({(file.original, file.diffusers) for file in files}) > 1 and any(
        file.original for file in files) and any(file.diffusers for file in files)
    ends = names_of_ends(entry.name for file in files for entry in file.entries)
    texts = text_names(name for file in files for name in file.names)
    shown: dict[str, str] = {}
    parts: dict[str, list[_Part | None]] = {}
    for index, file in enumerate(files):
        for entry in file.entries:
            apart = split and not is_swapped(entry.name, entry.shape)
            names = diffusers_names(entry.name, layers, split=apart, ends=ends, shape=entry.shape)
            names = tuple(texts.get(name, name) for name in names)
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
    return LayerStack(files, tuple(rows), rows, tuple(_vector_rows(files, layers, ends, texts)))


def _vector_rows(files: Sequence[LoraFile], layers: int, ends: Mapping[str, str],
                 texts: Mapping[str, str]) -> Iterator[VectorRow]:
    rows: dict[tuple[str, str], list[Vector | None]] = {}
    shown: dict[tuple[str, str], str] = {}
    for index, file in enumerate(files):
        for vector in sorted(file.vectors, key=lambda vector: not vector.key.endswith("_norm")):  # the host's order
            names = diffusers_names(vector.name, layers, ends=ends)
            # the host has a bias for the whole of a fused layer only
            name = names[0] if len(names) == 1 else f"{vector.name.part}.{vector.name.path}"
            name = texts.get(name, name)
            place = match_key(name), vector.role
            shown.setdefault(place, name)
            rows.setdefault(place, [None] * len(files))[index] = vector
    for place, row in rows.items():
        here = [(file, vector) for file, vector in zip(files, row, strict=True) if vector]
        sizes = [file.tensors.shapes[vector.key] for file, vector in here]
        if len(set(sizes)) > 1:
            raise UserError(f"{shown[place]} has {place[1]} of {' and '.join(str(list(size)) for size in sizes)} "
                            f"values in {' and '.join(str(file.path) for file, _ in here)}: they are for different "
                            "models. Use LoRAs of one family.")
        yield VectorRow(shown[place], tuple(row))


def _entry_parts(entry: Entry, names: Sequence[str], split: bool) -> Iterator[tuple[str, _Part]]:
    own = f"{entry.name.part}.{entry.name.path}"
    keys = [diffusers_key(name) if split and name != own and entry.name.part == DENOISER else entry.name.key
            for name in names]
    if len(names) == 1:
        yield names[0], _Part(entry, keys[0])
        return
    counts = row_counts(len(names), *entry.shape)
    for index, (name, key) in enumerate(zip(names, keys, strict=True)):
        yield name, _Part(entry, key, (sum(counts[:index]), sum(counts[: index + 1])),
                          len(counts) == 3 and len(set(counts)) > 1)


_NETWORKS = (
    {"down_blocks", "mid_block", "up_blocks", *UNET_WORDS},
    {"double_blocks", "single_blocks", "transformer_blocks", "single_transformer_blocks", "img_in", "txt_in", "time_in",
     "vector_in", "guidance_in", "x_embedder", "context_embedder", "time_text_embed", "norm_out", "proj_out",
     "distilled_guidance_layer", "final_layer"},
    {"joint_blocks", "transformer_blocks", "context_embedder", "x_embedder", "t_embedder", "y_embedder", "pos_embed",
     "time_text_embed", "norm_out", "proj_out", "final_layer"},
    {"layers", "noise_refiner", "context_refiner", "cap_embedder", "t_embedder", "x_embedder", "final_layer",
     "all_x_embedder", "all_final_layer"},
    {"double_stream_blocks", "single_stream_blocks"},
)
"""First words of layers that one network can have. Files without a common layer are for one model if they fit one."""


def _check_networks(files: Sequence[LoraFile], shown: Mapping[str, str],
                    parts: Mapping[str, Sequence[_Part | None]]) -> None:
    """Files without a common layer may still belong to one network (B-LoRA's content and style do), but not to two."""
    first = files[0]
    for index, file in enumerate(files[1:], 1):
        theirs = [_in_blocks([shown[key] for key, row in parts.items() if row[at]]) for at in (0, index)]
        if all(theirs) and not set(theirs[0]) & set(theirs[1]) and not _may_be_one(files[0], file, *theirs):
            raise UserError(f"{first.path} and {file.path} have no layer in common (for example, {theirs[0][0]} and "
                            f"{theirs[1][0]}): they are for different models, or name one model's layers in ways that "
                            "cannot be matched here. Use LoRAs of one family and one tool.")


def _in_blocks(names: Sequence[str]) -> list[str]:
    """The denoiser's layers; only those in numbered blocks if there are any, as networks share names outside them."""
    denoiser = [name for name in names if name.startswith(f"{DENOISER}.")]
    return [name for name in denoiser if re.search(r"\.\d+\.", name)] or denoiser


def _may_be_one(first: LoraFile, second: LoraFile, *names: Sequence[str]) -> bool:
    """Whether files without a common layer can be for one model, by the words of their layers, what they say about
    their base, and the width of the text that their layers are conditioned on."""
    words = [{name.split(".")[1] for name in layers} for layers in names]
    bases = [file.metadata.get("modelspec.architecture", "").partition("/")[0] for file in (first, second)]
    widths = [{entry.shape[1] for entry in file.entries if entry.name.path.endswith("attn2.to_k")}
              for file in (first, second)]
    return (bool(words[0] & words[1]) or any(words[0] | words[1] <= network for network in _NETWORKS)) and (
        not all(bases) or bases[0] == bases[1]) and (not all(widths) or widths[0] == widths[1])


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
