"""The base models that a sweep tries a LoRA on beside the linked one, as the host's loaders list them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths

from ...trainer.common.errors import UserError
from ...trainer.sweeps.axis_text import choose_names, lines
from .recipe import Node

CHECKPOINTS, NETWORKS = "checkpoints", "diffusion_models"
"""The host's folders of whole checkpoints, and of models without text encoder and VAE."""


@dataclass(frozen=True)
class NamedBase:
    """A base model by its file. One of NETWORKS is used with the text encoder and the VAE that are linked.

    Attributes:
        folder: CHECKPOINTS or NETWORKS.
        name: as the loader of that folder lists it.
    """

    folder: str
    name: str

    @property
    def label(self) -> str:
        return self.name.removesuffix(".safetensors") + ("" if self.whole else " (diffusion model)")

    @property
    def whole(self) -> bool:
        """Whether it has a text encoder and a VAE of its own."""
        return self.folder == CHECKPOINTS

    @property
    def path(self) -> Path:
        return Path(folder_paths.get_full_path(self.folder, self.name))

    def loader(self) -> Node:
        """The host's node that loads it."""
        if self.whole:
            return {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": self.name}}
        return {"class_type": "UNETLoader", "inputs": {"unet_name": self.name, "weight_dtype": "default"}}


def named_bases(text: str) -> tuple[NamedBase, ...]:
    """The base models that a text names, with a name or pattern on each line.

    A line is looked for among the checkpoints, and among the diffusion models if no checkpoint fits it or if it begins
    with `diffusion_models/`. Raises UserError for one that matches neither.
    """
    return tuple(dict.fromkeys(base for line in lines(text) for base in _fitting(line)))


def _fitting(line: str) -> list[NamedBase]:
    checkpoints, networks = (folder_paths.get_filename_list(folder) for folder in (CHECKPOINTS, NETWORKS))
    folder, _, rest = line.replace("\\", "/").partition("/")
    for kind, names, pattern in ((CHECKPOINTS, checkpoints, line), (NETWORKS, networks, line),
                                 (folder, networks, rest if folder == NETWORKS else "")):
        if found := _matching(names, pattern):
            return [NamedBase(kind, name) for name in found]
    choose_names([*checkpoints, *networks], [line], "checkpoint or diffusion model")  # raises, with the nearest name
    return []


def _matching(names: Any, pattern: str) -> tuple[str, ...]:
    try:
        return choose_names(names, [pattern], "") if pattern else ()
    except UserError:
        return ()
