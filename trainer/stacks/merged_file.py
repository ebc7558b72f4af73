"""Merged LoRAs on disk: one file for each merge, found again by its parents and settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import file_hash, parse_json
from ..common.leftovers import remove_leftovers
from ..common.names import checked_name
from ..common.new_files import numbered, write_new
from ..lora.hashes import check_weights, tensor_hash
from ..lora.layers import read_header
from ..lora.tensors import TensorFile
from .merge import lineage_settings, merge_loras, save_merged
from .merge_settings import MergeSettings
from .stack import StackEntry, file_role, join_names

REPORT = "lora_bootstrap.merge_report"
LINEAGE = "lora_bootstrap.lineage"
_PARENT = ("strength", "clip_strength", "role")
"""The facts of a parent that decide the merge, besides its weights; its name may change."""


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

    A merge is identical if its parents have the same weights, strengths and roles, and the settings are the same. If
    another file has the name, it becomes `<name>-2`, then `<name>-3`, also if that file was written during the merge.
    Nothing is written before the merge is complete.

    Args:
        name: "" joins the parents' names.

    Raises UserError for a name that a file cannot have, and as `merge_loras` and `save_merged` do.
    """
    remove_leftovers(folder)
    settings = settings or MergeSettings()
    name = checked_name(name) if name else join_names(
        [entry.name for entry in entries if entry.strength or entry.clip_strength])
    path, recipe = folder / f"{name}.safetensors", _recipe(entries, settings)
    for found in takewhile(Path.exists, numbered(path)):
        if (lines := _find_report(found, recipe)) is not None:
            check_weights(found)
            return MergedFile(found, lines, True)
    merged = merge_loras(entries, settings, progress=progress)
    told = {**merged.lora.metadata, REPORT: "\n".join(merged.lines)}
    whole = replace(merged, lora=replace(merged.lora, metadata=told))
    path = write_new(path, lambda temp: save_merged(temp, whole),
                     lambda found: _find_report(found, recipe) is not None)
    return MergedFile(path, merged.lines, False)


def _recipe(entries: Sequence[StackEntry], settings: MergeSettings) -> dict[str, Any]:
    parents = [{"role": entry.role or file_role(read_header(entry.path).metadata), "sha256": file_hash(entry.path),
                "tensors": tensor_hash(entry.path),
                "strength": entry.strength, "clip_strength": entry.strength_of("text_encoder")}
               for entry in entries if entry.strength or entry.clip_strength]
    return {**json.loads(json.dumps(lineage_settings(settings))), "parents": parents}


def _find_report(path: Path, recipe: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The report of a merge made by this recipe; None for any other file."""
    metadata = _metadata(path)
    told = _read_recipe(metadata)
    same = told is not None and {**told, "parents": 0} == {**recipe, "parents": 0} and len(told["parents"]) == len(
        recipe["parents"]) and all(map(_is_same_parent, told["parents"], recipe["parents"]))
    return tuple(metadata.get(REPORT, "").splitlines()) if same else None


def _is_same_parent(told: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    weights = "tensors" if "tensors" in told else "sha256"  # which is all that earlier versions recorded
    return all(told[name] == wanted[name] for name in (*_PARENT, weights))


def _metadata(path: Path) -> Mapping[str, str]:
    try:
        return TensorFile(path).metadata
    except UserError:  # whatever it is, it is not one of our merges
        return {}


def _read_recipe(metadata: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        told = dict(parse_json(metadata[LINEAGE], "its lineage")["merge"])
        told.pop("error")
        return told if all({*_PARENT, "sha256"} <= parent.keys() for parent in told["parents"]) else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
