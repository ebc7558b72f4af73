"""The identity of a LoRA's weights, whatever its metadata says: equal weights have equal hashes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from ..common.errors import UserError
from ..common.files import atomic_path, file_hash
from .metadata import ALPHA_TABLE
from .tensors import Source, TensorFile, write_tensors

_STATED = "sshs_model_hash"
_SCALES = (ALPHA_TABLE, "ss_network_alpha", "ss_network_args", "ss_network_module")
"""Metadata that may decide how strong the weights are, so it counts as part of them."""


def write_hashed(path: str | os.PathLike[str], sources: Mapping[str, Source], metadata: Mapping[str, str]) -> None:
    """Write tensors atomically, one in memory at a time, to a file that states the hash of their bytes, by which other
    tools and sites identify a LoRA, whatever its metadata says. Raises UserError as `atomic_path` does."""
    with atomic_path(path) as temp:
        write_tensors(temp, sources, metadata, _stamp)


def _stamp(digest: str) -> dict[str, str]:
    return {"modelspec.hash_sha256": f"0x{digest}", _STATED: digest}


def tensor_hash(path: str | os.PathLike[str]) -> str:
    """sha256 of what a LoRA does: its tensors' names, types, shapes and bytes, and the alphas in its metadata.

    Two trainings with the same result have the same hash, although their files state when they were made. It is read
    again only if the file's size or modification time has changed. A file that is not safetensors has the hash of its
    bytes. Raises OSError if it cannot be read.
    """
    status = os.stat(path)
    return _tensor_hash(os.fspath(path), status.st_mtime_ns, status.st_size)


def check_weights(path: str | os.PathLike[str]) -> None:
    """Raises UserError if a LoRA that this pack wrote no longer has the weights that it was saved with.

    Other files are not checked: some tools change the weights and leave the hash. It is checked again only if the
    file's size or modification time has changed.
    """
    status = os.stat(path)
    if not _are_whole(os.fspath(path), status.st_mtime_ns, status.st_size):
        raise UserError(f"the weights in {path} are not those that were saved: the file was damaged, or another tool "
                        "changed it and left the hash in its metadata. Use another copy of it, make it again, or let "
                        "that tool write the file without the metadata sshs_model_hash.")


@lru_cache(maxsize=65536)
def _are_whole(path: str, mtime_ns: int, size: int) -> bool:
    try:
        metadata = TensorFile(Path(path)).metadata
    except UserError:  # another kind of file, or one that its reader will refuse
        return True
    stated = metadata.get(_STATED)
    if not stated or not any(name.startswith("lora_bootstrap.") for name in metadata):
        return True
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == stated


@lru_cache(maxsize=65536)
def _tensor_hash(path: str, mtime_ns: int, size: int) -> str:
    try:
        file = TensorFile(Path(path))
    except UserError:
        return file_hash(path)
    try:
        digest = hashlib.sha256(repr([file.metadata.get(name) for name in _SCALES]).encode())
        for key in sorted(file.shapes):
            digest.update(repr((key, file.dtype(key), file.shapes[key])).encode())
            for block in file.read_blocks(key):
                digest.update(block)
        return digest.hexdigest()
    finally:
        file.close()
