"""Strengths of pairs of LoRAs as they were measured by pictures, by base: output/lora_strengths.json.

    {"version": 1, "bases": {<base as sweeps know it>: {<hash>+<hash>: {a `MeasuredPair` as it is}}}}

The hashes are of the two files, in the order of the alphabet, so a file that was renamed or moved is still known.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import file_hash, read_json, write_json

FILE = "lora_strengths.json"
VERSION = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class KnownLora:
    """One of a pair. `bytes`: its file's size, so that other files need not be read to be told apart."""

    name: str
    sha256: str
    bytes: int
    strength: float

    @classmethod
    def of(cls, name: str, path: Path, strength: float) -> KnownLora:
        return cls(name=name, sha256=file_hash(path), bytes=os.stat(path).st_size, strength=strength)


@dataclass(frozen=True, kw_only=True)
class MeasuredPair:
    """The best strengths of a pair on a base.

    Attributes:
        base: what a person calls it.
        scores: harmonic, identity, style and prompt; None where it was not measured.
        eye: what measured identity and prompt.
        sweep: the name of the sweep that it was read from; `at` when.
    """

    base: str
    character: KnownLora
    style: KnownLora
    scores: Mapping[str, float | None]
    eye: str
    sweep: str
    at: str

    @property
    def loras(self) -> tuple[KnownLora, KnownLora]:
        return self.character, self.style

    @property
    def key(self) -> str:
        return "+".join(sorted(lora.sha256 for lora in self.loras))


def remember(path: Path, base: str, pair: MeasuredPair) -> str:
    """Write a pair's strengths over what was known of it on that base. Returns what else there is to say, or "".

    A file that cannot be read is kept under another name, and a new one is begun.

    Args:
        base: the base as sweeps know it.
    """
    note = ""
    try:
        bases = _bases(path)
    except UserError as error:
        aside = path.with_suffix(".damaged.json")
        os.replace(path, aside)
        bases, note = {}, f"{error} It is kept as {aside.name}, and a new one is begun."
    bases.setdefault(base, {})[pair.key] = asdict(pair)
    write_json(path, {"version": VERSION, "bases": bases})
    return note


def recall(path: Path, files: Sequence[tuple[str, Path]]) -> list[str]:
    """A line on each pair of these that was measured, for each base; a file that is damaged is such a line too.

    Args:
        files: (what it is called, its path) each.
    """
    try:
        pairs = [_read_pair(values) for saved in _bases(path).values() for values in saved.values()]
    except UserError as error:
        log.warning("%s", error)
        return [str(error)]
    sizes = {lora.bytes for pair in pairs for lora in pair.loras}
    called = {file_hash(file): name for name, file in files if os.stat(file).st_size in sizes}
    return [_line(pair, called) for pair in pairs if all(lora.sha256 in called for lora in pair.loras)]


def _line(pair: MeasuredPair, called: Mapping[str, str]) -> str:
    strengths = ", ".join(f"{called[lora.sha256]} {lora.strength:g}" for lora in pair.loras)
    return f"measured on {pair.base}: {strengths} (harmonic {pair.scores['harmonic']:.2f})"


def _bases(path: Path) -> dict[str, dict[str, Any]]:
    """Raises UserError if the file is there and is none of ours."""
    if not path.is_file():
        return {}
    values = read_json(path)
    try:
        bases = values["bases"]
        for pairs in bases.values():
            for saved in pairs.values():
                _read_pair(saved)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} holds no strengths of LoRAs ({type(error).__name__}: {error}). Mend or delete "
                        "it.") from error
    return bases


def _read_pair(values: Mapping[str, Any]) -> MeasuredPair:
    loras = {role: KnownLora(**values[role]) for role in ("character", "style")}
    pair = MeasuredPair(**{**values, **loras})
    _line(pair, {lora.sha256: lora.name for lora in pair.loras})
    return pair

