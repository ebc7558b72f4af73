"""Which family a model is of, by its file alone, before anything is loaded: the host's own detection, over tensors that
have shapes but no values."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import folder_paths
import torch
from safetensors import safe_open

from ...trainer.models.families import FAMILIES
from ..backbone.facts import known_family, said_of
from .base_file import is_weights
from .bases import CHECKPOINTS, NETWORKS
from .sampling_figures import DrawnModel

SANDBOX_LOADER = "LoraBootstrap_LoadSandbox"
log = logging.getLogger(__name__)


def loaded_model(node: str, values: Mapping[str, Any]) -> DrawnModel:
    """What is known of the model that a loader with these widgets loads, as far as its file tells.

    Args:
        node: the loader's class.
    """
    if node == SANDBOX_LOADER:
        return DrawnModel(FAMILIES["sandbox"], FAMILIES["sandbox"].resolution)
    for name in filter(is_weights, values.values()):
        for folder in (CHECKPOINTS, NETWORKS):
            if path := folder_paths.get_full_path(folder, name):
                facts = Path(path).stat()
                return _model_of(path, facts.st_mtime_ns, facts.st_size)
    return DrawnModel(None)


@lru_cache(maxsize=256)
def _model_of(path: str, mtime_ns: int, size: int) -> DrawnModel:
    """Cached by what changes when the file does: the network is built once, without its weights."""
    try:
        with safe_open(path, "pt") as file:
            weights = {key: torch.empty(file.get_slice(key).get_shape(), device="meta") for key in file.keys()}  # noqa: SIM118
        model = _empty_model(weights)
        family = known_family(model)
    except Exception as error:  # whatever the host makes of an unknown file: then the family is known when it is loaded
        log.debug("LoRA Bootstrap: the family of %s is not known before it is loaded: %s", path, error)
        return DrawnModel(None)
    if family is None:
        return DrawnModel(None)
    return DrawnModel(family, family.resolution, said_of(path), model.model_config.unet_config, path)


def _empty_model(weights: dict[str, torch.Tensor]) -> Any:
    """The host's model for these weights, with none of them in memory."""
    from comfy import model_detection

    prefix = model_detection.unet_prefix_from_state_dict(weights)
    own = {key: value for key, value in weights.items() if key.startswith(prefix)}
    config = model_detection.model_config_from_unet(own, prefix)
    config.set_inference_dtype(torch.float16, None)
    with torch.device("meta"):
        return config.get_model(own, prefix, device=torch.device("meta"))
