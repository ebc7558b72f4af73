"""A fine-tuned denoiser as one whole file, from its base and the difference that the run saved."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from ...common.errors import UserError
from ...common.files import make_folder
from ...common.new_files import numbered
from ...lora.difference import METHOD
from ...lora.hashes import tensor_hash, write_hashed
from ...lora.tensors import Source, TensorFile

FOLDER = "diffusion_models"
"""Beside the runs' folder: ComfyUI lists what is in output/diffusion_models among the diffusion models."""
_SOURCE = "lora_bootstrap.difference"
"""Metadata that names the difference that a whole model was made with, by its hash."""
_ARCHITECTURE = "modelspec.architecture"


def model_path(difference: Path) -> Path:
    """Where the whole model of a run's file <root>/<run>/<file> is, or goes: a file of that name with other weights is
    kept, and this one then gets a number."""
    wanted = difference.parent.parent.parent / FOLDER / difference.name
    return next(path for path in numbered(wanted) if not os.path.lexists(path) or is_made_from(path, difference))


def is_made_from(path: Path, difference: Path) -> bool:
    """Whether the file at this path is the whole model of that difference."""
    with suppress(UserError):
        file = TensorFile(path)
        file.close()
        return file.metadata.get(_SOURCE) == tensor_hash(difference)
    return False


def save_model(path: Path, weights: Mapping[str, Tensor], difference: Path) -> None:
    """Write a network's weights by their keys, atomically, with the metadata of the difference that made it.

    Raises UserError if the system refuses.
    """
    file = TensorFile(difference)
    file.close()
    metadata = {name: text for name, text in file.metadata.items() if name != METHOD}
    if _ARCHITECTURE in metadata:
        metadata[_ARCHITECTURE] = metadata[_ARCHITECTURE].removesuffix("/lora")
    metadata[_SOURCE] = tensor_hash(difference)
    make_folder(path.parent)
    write_hashed(path, {key: Source(weight.dtype, tuple(weight.shape), weight.detach)
                        for key, weight in weights.items()}, metadata)
