"""Merged LoRAs on disk: one file for each merge, found again by its parents and settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import file_hash, parse_json
from ..common.leftovers import remove_leftovers
from ..common.names import checked_name
from ..lora.layers import read_header
from ..lora.tensors import TensorFile
from .merge import MergeSettings, lineage_settings, merge_loras, save_merged
from .stack import StackEntry, file_role, join_names

REPORT = "lora_bootstrap.merge_report"
LINEAGE = "lora_bootstrap.lineage"
_PARENT = ("sha256", "strength", "clip_strength", "role")
"""The facts of a parent that decide the merge; its name may change."""


@dataclass(frozen=True)
class MergedFile:
    """Attributes:
        lines: a report of what was done.
        reused: whether an identical merge already existed.
    """

    path: Path
    lines: tuple[str, ...]
    reused: bool


def merge_to_file(folder: Path, name: str, entries: Sequence[StackEntry], settings: MergeSettings | None = None, *,
                  progress: Callable[[int, int], None] | None = None) -> MergedFile:
    """Merge into `<folder>/<name>.safetensors`; an identical merge of that name is reused.

    A merge is identical if its parents have the same bytes, strengths and roles, and the settings are the same. If
    another file has the name, it becomes `<name>-2`, then `<name>-3`. Nothing is written before the merge is complete.

    Args:
        name: "" joins the parents' names.

    Raises UserError for a name that a file cannot have, and as `merge_loras` and `save_merged` do.
    """
    remove_leftovers(folder)
    settings = settings or MergeSettings()
    name = checked_name(name) if name else join_names(
        [entry.name for entry in entries if entry.strength or entry.clip_strength])
    path, lines = _place(folder, name, _recipe(entries, settings))
    if lines is not None:
        return MergedFile(path, lines, True)
    merged = merge_loras(entries, settings, progress=progress)
    told = {**merged.lora.metadata, REPORT: "\n".join(merged.lines)}
    save_merged(path, replace(merged, lora=replace(merged.lora, metadata=told)))
    return MergedFile(path, merged.lines, False)


def _recipe(entries: Sequence[StackEntry], settings: MergeSettings) -> dict[str, Any]:
    parents = [{"role": entry.role or file_role(read_header(entry.path).metadata), "sha256": file_hash(entry.path),
                "strength": entry.strength, "clip_strength": entry.strength_of("text_encoder")}
               for entry in entries if entry.strength or entry.clip_strength]
    return {**json.loads(json.dumps(lineage_settings(settings))), "parents": parents}


def _place(folder: Path, name: str, recipe: Mapping[str, Any]) -> tuple[Path, tuple[str, ...] | None]:
    """(path, report) of the first file of that name made by this recipe, or (unused path, None)."""
    path, number = folder / f"{name}.safetensors", 2
    while path.exists():
        metadata = _metadata(path)
        if _read_recipe(metadata) == recipe:
            return path, tuple(metadata.get(REPORT, "").splitlines())
        path, number = folder / f"{name}-{number}.safetensors", number + 1
    return path, None


def _metadata(path: Path) -> Mapping[str, str]:
    try:
        return TensorFile(path).metadata
    except UserError:  # whatever it is, it is not one of our merges
        return {}


def _read_recipe(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        told = dict(parse_json(metadata[LINEAGE], "its lineage")["merge"])
        told.pop("error")
        return {**told, "parents": [{name: parent[name] for name in _PARENT} for parent in told["parents"]]}
    except (KeyError, ValueError, TypeError):
        return None
