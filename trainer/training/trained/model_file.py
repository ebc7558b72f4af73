"""A fine-tuned denoiser as one whole file, from its base and the difference that the run saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ...common.files import make_folder
from ...lora.difference import METHOD
from ...lora.hashes import write_hashed
from ...lora.tensors import Source, TensorFile

FOLDER = "diffusion_models"
"""Beside the runs' folder: ComfyUI lists what is in output/diffusion_models among the diffusion models."""
_ARCHITECTURE = "modelspec.architecture"


def model_path(difference: Path) -> Path:
    """Where the whole model of a run's file <root>/<run>/<file> goes."""
    return difference.parent.parent.parent / FOLDER / difference.name


def save_model(path: Path, weights: Mapping[str, Tensor], difference: Path) -> None:
    """Write a network's weights by their keys, atomically, with the metadata of the difference that made it.

    Raises UserError if the system refuses.
    """
    file = TensorFile(difference)
    file.close()
    metadata = {name: text for name, text in file.metadata.items() if name != METHOD}
    if _ARCHITECTURE in metadata:
        metadata[_ARCHITECTURE] = metadata[_ARCHITECTURE].removesuffix("/lora")
    make_folder(path.parent)
    write_hashed(path, {key: Source(weight.dtype, tuple(weight.shape), weight.detach)
                        for key, weight in weights.items()}, metadata)
