"""The difference between two versions of a whole network in one file, as LyCORIS' "full" and ComfyUI spell it: `.diff`
of a weight, `.diff_b` of a bias. ComfyUI loads it like a LoRA, at any strength.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..common.errors import UserError
from .hashes import check_weights, write_hashed
from .names import file_name
from .tensors import Source, TensorFile, all_finite

METHOD = "lora_bootstrap.method"
"""Metadata by which our own files of this kind are known, with the value FULL."""
FULL = "full"
_ENDINGS = {"weight": "diff", "bias": "diff_b"}


def difference_key(parameter: str, key_style: str) -> str:
    """The key in a file for a parameter by its dotted name, such as `unet.conv_in.weight`."""
    module, _, last = parameter.rpartition(".")
    if last in _ENDINGS:
        return f"{file_name(module, key_style)}.{_ENDINGS[last]}"
    return f"{file_name(parameter, key_style)}.diff"


def save_difference(path: str | os.PathLike[str], names: Mapping[str, torch.Size], difference: Callable[[str], Tensor],
                    metadata: Mapping[str, str], *, key_style: str, dtype: torch.dtype) -> None:
    """Write a difference atomically, one tensor in memory at a time.

    Args:
        names: shapes by the parameters' dotted names, which begin with the network's prefix.
        difference: name → what was added to that parameter.

    Raises UserError if a number is not finite.
    """
    def source(name: str) -> Source:
        def get() -> Tensor:
            written = difference(name).detach().to("cpu", dtype)
            if not all_finite([written]):
                raise UserError(f"weight {name} has values that are not numbers, so {path} was not written: the "
                                "training diverged. Lower the learning rate.")
            return written

        return Source(dtype, tuple(names[name]), get)

    write_hashed(path, {difference_key(name, key_style): source(name) for name in names}, {**metadata, METHOD: FULL})


def is_difference(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a difference that this pack saved. Raises UserError if it is not a readable safetensors file.
    """
    tensors = TensorFile(Path(path))
    try:
        return tensors.metadata.get(METHOD) == FULL
    finally:
        tensors.close()


def load_difference(path: str | os.PathLike[str], names: Iterable[str], key_style: str
                    ) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """(differences by the parameters' dotted names, keys of the file that fit none of the names).

    Raises UserError if the file is damaged, or fits no name.
    """
    check_weights(path)
    tensors = TensorFile(Path(path))
    try:
        wanted = {difference_key(name, key_style): name for name in names}
        found = {wanted[key]: tensors.read(key) for key in tensors.shapes if key in wanted}
        strangers = tuple(key for key in tensors.shapes if key not in wanted)
    finally:
        tensors.close()
    if not found:
        raise UserError(f"none of the {len(strangers)} weights in {path} is in this model: it was fine-tuned from "
                        "another one. Load the model that it was made from.")
    return found, strangers
