"""What a workflow knows about a LORA_STACK: its files, what they record about themselves, and what was measured of
them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import folder_paths

from ..trainer.common.errors import UserError
from ..trainer.lora.layers import read_header
from ..trainer.lora.metadata import ALPHA_TABLE
from ..trainer.lora.tensors import TensorFile
from ..trainer.stacks.known_strengths import FILE, recall
from ..trainer.stacks.lora_stack import read_lora_stack
from ..trainer.stacks.prompt import find_lora
from ..trainer.stacks.stack import StackEntry, file_role
from . import paths
from .drawing.sweep_plan import LoraEntry

HEADED = (".safetensors", ".sft")
TRIGGER = "modelspec.trigger_phrase"


def lora_names() -> list[str]:
    return folder_paths.get_filename_list("loras")


def read_stack(stack: Any) -> list[LoraEntry]:
    """A LORA_STACK from any pack, by names as the host's loaders find them; free places are skipped. Every node that
    takes a stack reads it here.

    Raises UserError if it is not a LORA_STACK, and with the nearest names for a LoRA that does not exist.
    """
    return read_lora_stack(stack, _listed_name)


def _listed_name(name: str) -> str:
    """The name under which the host's loaders find what another pack's name means."""
    return name if folder_paths.get_full_path("loras", name) else find_lora(name, lora_names())


class StackFacts:
    """What the files of a stack record about themselves.

    Attributes:
        entries: for `stack_advice`.
        triggers: trigger words of the LoRAs that are used.
    """

    def __init__(self, stack: Sequence[LoraEntry], roles: Mapping[str, str] | None = None) -> None:
        self.entries: list[StackEntry] = []
        found: list[str] = []
        for name, strength, clip in stack:
            path = paths.lora_file(name)
            metadata = TensorFile(path).metadata if path.suffix in HEADED else {}
            self.entries.append(StackEntry(path=path, strength=strength, clip_strength=clip,
                                           role=file_role(metadata) or (roles or {}).get(name, "")))
            if strength or clip:
                found += filter(None, map(str.strip, metadata.get(TRIGGER, "").split(",")))
        self.triggers = tuple(dict.fromkeys(found))


def stack_entries(stack: Sequence[LoraEntry]) -> list[StackEntry]:
    """The files of a stack. Files of the same name get their folders as part of their names. Raises UserError if one is
    missing."""
    stems = [Path(name).stem for name, _, _ in stack]
    return [StackEntry(path=paths.lora_file(name), strength=strength, clip_strength=clip_strength,
                       name=stem if stems.count(stem) == 1 else Path(name).with_suffix("").as_posix())
            for stem, (name, strength, clip_strength) in zip(stems, stack, strict=True)]


def scale_notes(files: Iterable[Path]) -> list[str]:
    """A line for each LoRA that is stronger or weaker in its trainer than the host makes it."""
    notes = []
    for path in files:
        with suppress(UserError):  # a kind that is not read here is the host's own business
            if path.suffix in HEADED and ALPHA_TABLE in TensorFile(path).metadata:
                notes.append(read_header(path).scale_note)
    return list(filter(None, notes))


def strengths_file() -> Path:
    return paths.output_root() / FILE


def measured_lines(entries: Sequence[StackEntry]) -> list[str]:
    """A line for each two of the entries whose best strengths were measured, and each base model; [] if none were."""
    return recall(strengths_file(), [(entry.name, entry.path) for entry in entries])
