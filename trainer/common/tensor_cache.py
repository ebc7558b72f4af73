"""Latents, text embeddings and measurements, computed once and stored in RAM, or in safetensors files that outlive
what made them.

An entry is identified by everything it was made from, so a stale entry is never used. A damaged entry is made again,
so entries are not flushed to the disk one by one. `cache_folder.py` is the folder that all runs share.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
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
ENTRY_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
_HALVES = (torch.bfloat16, torch.float16)
_LOOKED_AT = 256
"""Values of a tensor that are tried before all of them are."""


class TensorCache:
    """A store of named tensors, identified by what they were made from. Several threads may use it at once.

    Attributes:
        hits, misses: how often `get` found an entry, and how often it had to compute one.
        reused: whether anything was found that was not put here, but by an earlier user of the folder.
        trusted: whether such is found; see `distrust`.
    """

    def __init__(self, folder: Path | str | None = None, held: int | None = 0) -> None:
        """
        Args:
            folder: where the entries are stored, one file each; None stores them in RAM.
            held: bytes of the entries in the folder that are also held in RAM, those used last; None: all that are
                used.
        """
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None:
            remove_leftovers(self.folder)
        self.hits = self.misses = 0
        self.reused, self._put, self.trusted = False, set[str](), True
        self._memory = _Memory(None if folder is None else held)

    def get(self, parts: Mapping[str, Any], compute: Callable[[], Mapping[str, Tensor]]) -> Tensors:
        """The tensors made from `parts`, on the CPU, not to be changed. `compute` is called only if they are not stored
        yet.

        Args:
            parts: everything the result depends on, as JSON values: content hash, crop, bucket, caption, the model's
                fingerprint, settings.
        """
        found = self.find(parts)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        return self.put(parts, compute())

    def find(self, parts: Mapping[str, Any]) -> Tensors | None:
        """The tensors made from `parts`, on the CPU, not to be changed; None if they are not stored."""
        described = _describe(parts)
        key = _key(described)
        if not self.trusted and key not in self._put:
            return None
        entry = self._memory.find(key)
        if entry is None and self.folder is not None:
            entry = _read(_path(self.folder, key), described)
            if entry is not None:
                self._memory.hold(key, entry)
        if entry is None:
            return None
        self.reused = self.reused or key not in self._put
        return entry.tensors()

    def distrust(self) -> None:
        """From here on, find nothing but what was put here."""
        self.trusted = False

    def put(self, parts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Tensors:
        """Store the tensors made from `parts`, and return them as `find` does. Raises UserError if they cannot be
        written."""
        described = _describe(parts)
        key, entry = _key(described), _Entry.of(tensors)
        saved = self.folder is not None and self._save(_path(self.folder, key), entry.serialized(described))
        self._memory.hold(key, entry, only_here=not saved)
        self._put.add(key)
        return entry.tensors()

    def _save(self, path: Path, data: bytes) -> bool:
        """Whether the entry is in its file now."""
        atomic_write(path, data, flush=False)
        return True


@dataclass(frozen=True, eq=False)
class _Entry:
    """Stored tensors, and the names of those that were float32 and lost nothing by being stored in half of that, as
    what a model in half precision has computed is."""

    stored: Tensors
    widened: frozenset[str] = frozenset()

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> _Entry:
        stored = {name: _narrowed(tensor.detach()) for name, tensor in tensors.items()}
        return cls(stored, frozenset(name for name, tensor in stored.items() if tensor.dtype != tensors[name].dtype))

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(tensor.nbytes for tensor in self.stored.values())

    def tensors(self) -> Tensors:
        return {name: tensor.float() if name in self.widened else tensor for name, tensor in self.stored.items()}

    def serialized(self, described: str) -> bytes:
        widened = {"widened": json.dumps(sorted(self.widened))} if self.widened else {}
        return save(self.stored, {"parts": described, "digest": digest_tensors(self.stored), **widened})


class _Memory:
    """Entries in RAM. Those that are also in a file are dropped when there are too many, the least recently used first.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit, self._lock, self._bytes = limit, RLock(), 0
        self._alone: dict[str, _Entry] = {}
        self._used: OrderedDict[str, _Entry] = OrderedDict()

    def find(self, key: str) -> _Entry | None:
        with self._lock:
            if key in self._used:
                self._used.move_to_end(key)
            return self._alone.get(key) or self._used.get(key)

    def hold(self, key: str, entry: _Entry, only_here: bool = False) -> None:
        with self._lock:
            if only_here:
                self._alone[key] = entry
                return
            self._bytes += entry.size - (self._used[key].size if key in self._used else 0)
            self._used[key] = entry
            while self._limit is not None and self._bytes > self._limit:
                self._bytes -= self._used.popitem(last=False)[1].size


def remove_entries(folder: Path) -> None:
    """Remove a folder of entries. What is not an entry stays; so does what the system refuses to remove."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if ENTRY_NAME.fullmatch(path.name):
                path.unlink()
        folder.rmdir()


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key}.safetensors"


def _describe(parts: Mapping[str, Any]) -> str:
    return json.dumps({"version": CACHE_VERSION, "parts": dict(parts)}, sort_keys=True, ensure_ascii=True)


def _key(described: str) -> str:
    return hashlib.sha256(described.encode()).hexdigest()


def _narrowed(tensor: Tensor) -> Tensor:
    """A copy on the CPU, in half precision if that is exact: a slice would keep the batch that it was cut from."""
    if tensor.dtype == torch.float32:
        few = tensor.reshape(-1)[:_LOOKED_AT]
        for half in _HALVES:
            if torch.equal(few.to(half).float(), few) and torch.equal((narrow := tensor.to(half)).float(), tensor):
                return narrow.cpu().contiguous()
    return tensor.to("cpu", copy=True).contiguous()


def _read(path: Path, described: str) -> _Entry | None:
    """The entry, or None if it is absent, damaged, or made from something else. Its time tells when it was last used.
    """
    try:
        data = path.read_bytes()
        metadata = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])["__metadata__"]
        if metadata["parts"] != described:
            return None
        entry = _Entry(load(data), frozenset(json.loads(metadata.get("widened", "[]"))))
        if metadata["digest"] != digest_tensors(entry.stored):
            return None
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    with suppress(OSError):
        os.utime(path)
    return entry


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, types, shapes, and values: safetensors files have no checksum of their own."""
    hasher = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        hasher.update(f"{name}:{tensor.dtype}:{list(tensor.shape)};".encode())
        hasher.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()
