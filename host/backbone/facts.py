"""What the host's model reveals about itself: its family, and a hash by which it is recognized."""

from __future__ import annotations

import hashlib
import inspect
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from ...trainer.models.families import (
    EVERY_CHOICE,
    FEW_STEP,
    GENERIC_PRESETS,
    UNET_BLOCKS,
    Family,
    get_family,
    host_row,
)
from ...trainer.models.layers import find_blocks
from .schedule import HostSchedule
from .shadow import is_plain


def family_of(model: Any, schedule: HostSchedule, latent_scale: int, network: nn.Module) -> Family:
    """The row of the model's family, or one made from what the model reveals about itself."""
    row, kind = known_family(model), type(model).__name__
    if row is None:
        flow = schedule.objective == "flow"
        lists, beside = find_blocks(network)
        row = Family(
            name="other", title=kind, objective=schedule.objective, latent_channels=model.latent_format.latent_channels,
            bucket_step=64, resolution=1024, architecture=kind.lower(), presets=GENERIC_PRESETS,
            timestep_density="logit_normal" if flow else "uniform", weighting="none" if flow else "min_snr",
            blocks=tuple(dict.fromkeys(UNET_BLOCKS + lists)), excluded=beside, renewed=EVERY_CHOICE,
            distilled=(FEW_STEP,),
            guidance=1.0 if model.model_config.unet_config.get("guidance_embed") else None,
        )
    return replace(row, objective=schedule.objective, latent_channels=model.latent_format.latent_channels,
                   bucket_step=math.lcm(row.bucket_step, latent_scale * _patch(network)))


def known_family(model: Any) -> Family | None:
    """The row of the model's family; None if it has none."""
    mark = inspect.getattr_static(model.model_config, "lora_bootstrap_family", None)  # the host logs a plain getattr
    return get_family(mark) if mark else host_row(type(model).__name__, model.model_config.unet_config)


def family_name(model: Any) -> str:
    """The name of a MODEL's family; "other" if there is no row for it."""
    row = known_family(model.model)
    return row.name if row else "other"


def said_of(file: str) -> str:
    """A file's name, and the title in its metadata if it has one; "" for no file."""
    title = ""
    with suppress(Exception):  # only a hint: other kinds of files, and files that are gone, have no title
        with safe_open(file, "pt") as weights:
            title = (weights.metadata() or {}).get("modelspec.title", "")
    return " ".join(filter(None, (Path(file).name, title)))


def _patch(network: nn.Module) -> int:
    """The number that sides of latents must be multiples of; 1 for a UNet, which accepts any."""
    size = getattr(network, "patch_size", 1)
    return int(size if isinstance(size, int) else max(size))


SAMPLES = 64
"""Elements read from each tensor, evenly spread. Any training changes nearly all of them."""


_UNUSED = re.compile(r".*(text_projection(\.weight)?|logit_scale|position_ids)")
"""The host leaves these unset if a file has none of them and the model does not need them."""


def sampled_hash(patchers: Iterable[Any], settings: Iterable[Any]) -> str:
    """64 hexadecimal digits of weights, patches on them, and settings; cheap, and the same in every process.

    Args:
        patchers: the host's ModelPatchers. It makes no difference whether their weights are already loaded and patched,
            or changed by hooks.
    """
    hasher = hashlib.sha256()
    for patcher in patchers:
        for name, tensor in sorted(_original_weights(patcher).items()):
            if not _UNUSED.fullmatch(name):
                _add(hasher, (name, tensor))
        _add(hasher, patcher.patches)
    _add(hasher, list(settings))
    return hasher.hexdigest()


def _original_weights(patcher: Any) -> dict[str, Tensor]:
    """A model's weights and buffers by name, without what the host changed in it while it is loaded.

    Patches come first and hooks change what they left, so a weight that both changed is as the patches found it.
    """
    weights = dict(patcher.model.state_dict())
    for path, part in getattr(patcher, "object_patches_backup", {}).items():
        inner = part.state_dict() if isinstance(part, nn.Module) else {}
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{path}.")}
        weights |= {f"{path}.{name}": tensor for name, tensor in inner.items()}
    return weights | {name: tensor for name, tensor in originals(patcher).items() if name in weights}


def originals(patcher: Any) -> dict[str, Tensor]:
    """By name, the weights that the host changed in a loaded model, as they were before."""
    found = {name: tensor for name, (tensor, *_) in getattr(patcher, "hook_backup", {}).items()}
    found |= getattr(patcher, "backup_buffers", {})
    found |= {name: kept.weight for name, kept in patcher.backup.items()}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _add(hasher: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        hasher.update(f"{value.dtype}{list(value.shape)}".encode())
        hasher.update(_sample(value))
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            _add(hasher, (str(key), value[key]))
    elif isinstance(value, (list, tuple)):
        hasher.update(f"{len(value)}(".encode())
        for item in value:
            _add(hasher, item)
    elif isinstance(value, type):
        hasher.update(value.__name__.encode())
    elif hasattr(value, "weights"):  # the host's weight adapters
        _add(hasher, (type(value), value.weights))
    elif callable(value) or not isinstance(value, (str, int, float, bool, type(None))):
        hasher.update(type(value).__name__.encode())
    else:
        hasher.update(repr(value).encode())


def _sample(tensor: Tensor) -> bytes:
    if tensor.numel() == 0 or tensor.is_meta:
        return b""
    if not is_plain(tensor):
        tensor = tensor.dequantize()
    flat = tensor.detach().reshape(-1)
    rows = torch.linspace(0, flat.numel() - 1, min(SAMPLES, flat.numel()), dtype=torch.float64).long()
    if flat.dtype.itemsize == 1:  # not every eight-bit dtype can be indexed
        flat = flat.view(torch.uint8)
    return flat[rows.to(flat.device)].cpu().contiguous().view(torch.uint8).numpy().tobytes()
