"""Latents and text embeddings, computed once and stored in RAM, or in safetensors files that outlive the run.

An entry is identified by everything it was made from, so a stale entry is never used. A damaged entry is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .files import atomic_write
from .leftovers import remove_leftovers

CACHE_VERSION = 1
"""Raise this number whenever the meaning of cached tensors changes."""

Tensors = dict[str, Tensor]


class TensorCache:
    """A store of named tensors, identified by what they were made from.

    Attributes:
        hits, misses: how often `get` found an entry, and how often it had to compute one.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        """`folder`: where the entries are stored, one file each; None stores them in RAM."""
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None:
            remove_leftovers(self.folder)
        self.hits = self.misses = 0
        self._memory: dict[str, Tensors] = {}

    def get(self, parts: Mapping[str, Any], compute: Callable[[], Mapping[str, Tensor]]) -> Tensors:
        """The tensors made from `parts`, on the CPU, not to be changed. `compute` is called only if they are not stored
        yet.

        Args:
            parts: everything the result depends on, as JSON values: content hash, crop, bucket, caption, the model's
                fingerprint, settings.
        """
        described = _describe(parts)
        key = hashlib.sha256(described.encode()).hexdigest()
        found = self._memory.get(key) if self.folder is None else _read(_path(self.folder, key), described)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        # Copies, because a slice would keep the whole batch it was cut from in memory.
        tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in compute().items()}
        if self.folder is None:
            self._memory[key] = tensors
        else:
            metadata = {"parts": described, "digest": digest_tensors(tensors)}
            atomic_write(_path(self.folder, key), save(tensors, metadata))
        return tensors


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key}.safetensors"


def _describe(parts: Mapping[str, Any]) -> str:
    return json.dumps({"version": CACHE_VERSION, "parts": dict(parts)}, sort_keys=True, ensure_ascii=True)


def _read(path: Path, described: str) -> Tensors | None:
    """The entry, or None if it is absent, damaged, or made from something else."""
    try:
        data = path.read_bytes()
        metadata = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        if metadata["parts"] != described:
            return None
        tensors = load(data)
        return tensors if metadata["digest"] == digest_tensors(tensors) else None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes, and values: safetensors files have no checksum of their own."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        hasher.update(f"{name}:{tensor.dtype}:{list(tensor.shape)};".encode())
        hasher.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()
