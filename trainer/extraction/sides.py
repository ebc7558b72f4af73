"""One side of an extraction: a model's weights by names that both sides have, read one at a time.

A key is a module of `LoraWeights.modules` and the parameter in it, such as `diffusion_model.input_blocks.0.0.weight`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from ..common.errors import UserError
from ..lora.layers import FULL, LoraFile, read_header
from ..lora.names import BIAS, DENOISER, ORIGINAL, key_layer, layer_name
from ..lora.tensors import TensorFile
from .checkpoint_names import Place, checkpoint_places

_SCALES = (".scale_weight", ".weight_scale")
"""Endings beside an 8-bit weight's layer: what it is multiplied by."""
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)


Shapes = Mapping[str, tuple[int, ...]]


class Weights(Protocol):
    """A model whose weights can be read.

    Attributes:
        title: its name, for reports and the metadata; no path.
        shapes: by key.
        names: what a LoRA file calls a module, where that is not known from its key.
        facts: metadata for a LoRA that is for this model.
    """

    title: str
    shapes: Shapes
    names: Mapping[str, str]
    facts: Mapping[str, str]

    def read(self, key: str) -> Tensor:
        """The weight in float32, in memory that the caller may change. Raises UserError if it cannot be read."""
        ...

    def close(self) -> None:
        """Close the files that it was read from."""
        ...


def split_key(key: str) -> tuple[str, str]:
    """(module, parameter) of a key."""
    module, _, parameter = key.rpartition(".")
    return module, parameter


def is_denoiser(key: str) -> bool:
    return key_layer(key).part == DENOISER


class CheckpointFile:
    """A checkpoint, or the file of a network alone. Raises UserError if it is not a readable safetensors file."""

    def __init__(self, path: Path) -> None:
        self.title = path.name
        self.names: Mapping[str, str] = {}
        self._file = TensorFile(path, "checkpoint")
        self._places: dict[str, Place] = checkpoint_places(self._file.shapes)
        self.shapes: Shapes = {key: self._shape(place) for key, place in self._places.items()}
        self.facts: Mapping[str, str] = _facts(self.shapes, self._file.metadata)

    def _shape(self, place: Place) -> tuple[int, ...]:
        shape = self._file.shapes[place.key]
        return shape if place.parts == 1 else (shape[0] // place.parts, *shape[1:])

    def read(self, key: str) -> Tensor:
        place = self._places[key]
        weight = self._file.read(place.key)
        if weight.dtype not in _FLOATS or self._is_packed(place.key):
            raise UserError(f"layer {key} of {self.title} is packed as {self._file.dtype(place.key)}, and cannot be "
                            "compared. Choose a file in 16 or 32 bits, or link the MODELs in ComfyUI.")
        weight = weight.float()
        if place.parts > 1:
            rows = self.shapes[key][0]
            weight = weight[place.part * rows:(place.part + 1) * rows].clone()
        scale = self._scale_key(place.key)
        return weight.mul_(self._file.read(scale).float()) if scale else weight

    def _scale_key(self, key: str) -> str:
        layer = key.removesuffix(".weight")
        return next((f"{layer}{end}" for end in _SCALES if f"{layer}{end}" in self._file.shapes), "")

    def _is_packed(self, key: str) -> bool:
        scale = self._file.shapes.get(self._scale_key(key), ())
        return any(side > 1 for side in scale)

    def close(self) -> None:
        self._file.close()


def _facts(keys: Shapes, metadata: Mapping[str, str]) -> dict[str, str]:
    """What a LoRA for a UNet of Stable Diffusion states about its base; other files state it themselves or not."""
    told = {name: metadata[name] for name in ("ss_base_model_version", "modelspec.prediction_type") if name in metadata}
    known = next((facts for facts in _UNETS if all(keys.get(key, ())[-1:] == (side,) for key, side in facts[0])), None)
    return {**told, **known[1]} if known else told


_CROSS = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
_UNETS = (
    (((f"{ORIGINAL}.{_CROSS}", 2048), (f"{ORIGINAL}.label_emb.0.0.weight", 2816)),
     {"ss_base_model_version": "sdxl_base_v1-0", "ss_v2": "False",
      "modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}),
    (((f"{ORIGINAL}.{_CROSS}", 768),),
     {"ss_base_model_version": "sd_v1", "ss_v2": "False", "modelspec.architecture": "stable-diffusion-v1/lora"}),
)
"""((key, its last side), ...) that shows a base, and its metadata."""


@dataclass(eq=False)
class DifferenceFile:
    """A file of whole differences, as a fine-tune saves them and as ComfyUI loads them like a LoRA."""

    file: LoraFile

    def __post_init__(self) -> None:
        self.title = self.file.path.name
        self.facts: Mapping[str, str] = {}
        names = {entry.name.key: entry.module for entry in self.file.entries}
        self._keys = {f"{entry.name.key}.weight": entry.keys["diff"] for entry in self.file.entries}
        for vector in self.file.vectors:
            module = vector.name.key.removesuffix(".bias")
            key = f"{module}.{'bias' if vector.role == BIAS else 'weight'}"
            self._keys[key] = vector.key
            names.setdefault(module, vector.key.rpartition(".")[0].removesuffix(".bias"))
        self.names: Mapping[str, str] = names
        self.shapes: Shapes = {key: self.file.tensors.shapes[own] for key, own in self._keys.items()}

    def read(self, key: str) -> Tensor:
        return self.file.tensors.read(self._keys[key]).float()

    def close(self) -> None:
        self.file.tensors.close()


def open_side(path: Path) -> CheckpointFile | DifferenceFile:
    """A file as the fine-tuned side. Raises UserError if it is neither a checkpoint nor a file of whole differences."""
    tensors = TensorFile(path, "checkpoint")
    keys = list(tensors.shapes)
    tensors.close()
    if not any(key.endswith((".diff", ".lora_up.weight", ".lora_B.weight")) for key in keys):
        return CheckpointFile(path)
    file = read_header(path)
    if set(file.kinds) != {FULL}:
        raise UserError(f"{path} is a LoRA already. Give the fine-tuned checkpoint, or resize the LoRA.")
    return DifferenceFile(file)


def host_key(name: str) -> str:
    """The key of a parameter by the host's name, such as `diffusion_model.….weight` or `clip_l.transformer.….bias`."""
    if name.startswith(f"{ORIGINAL}."):
        return name
    module, parameter = split_key(name)
    layer = layer_name(f"text_encoders.{module}")
    return f"{layer.key}.{parameter}" if layer else name
