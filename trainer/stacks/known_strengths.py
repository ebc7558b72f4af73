"""Best strengths of pairs of LoRAs as measured on images, by base: output/lora_strengths.json.

    {"version": 1, "bases": {<base as sweeps know it>: {<hash>+<hash>: {the fields of a `MeasuredPair`}}}}

The hashes are those of the two files, in alphabetical order, so a file that was renamed or moved is still recognized.
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
from ..common.leftovers import remove_leftovers
from ..common.locks import locked
from ..common.schema import convert, typed

FILE = "lora_strengths.json"
VERSION = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class KnownLora:
    """One LoRA of a pair. `bytes` is the size of its file; files of another size need not be read."""

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
        base: its name for people.
        scores: harmonic, identity, style and prompt; None where not measured.
        eye: what measured identity and prompt.
        sweep: name of the sweep that it comes from; `at` is the time.
    """

    base: str
    character: KnownLora
    style: KnownLora
    scores: Mapping[str, float | None]
    eye: str
    sweep: str
    at: str

    def __post_init__(self) -> None:
        if self.scores.get("harmonic") is None:
            raise UserError("a pair has no harmonic mean.")

    @property
    def loras(self) -> tuple[KnownLora, KnownLora]:
        return self.character, self.style

    @property
    def key(self) -> str:
        return "+".join(sorted(lora.sha256 for lora in self.loras))


def remember(path: Path, base: str, pair: MeasuredPair) -> str:
    """Save a pair's strengths on that base, replacing earlier ones. Returns a note, or "".

    A file that cannot be read is renamed, and a new one is started. That nothing could be saved is a note too.

    Args:
        base: the base's id in sweeps.
    """
    try:
        with locked(path):
            return _remember(path, base, pair)
    except (UserError, OSError) as error:
        return f"The strengths were not saved for later: {error}"


def _remember(path: Path, base: str, pair: MeasuredPair) -> str:
    remove_leftovers(path.parent)
    note = ""
    try:
        bases = _bases(path)
    except UserError as error:
        aside = path.with_suffix(".damaged.json")
        os.replace(path, aside)
        bases, note = {}, f"{error} It was renamed to {aside.name}, and a new one was started."
    bases.setdefault(base, {})[pair.key] = asdict(pair)
    write_json(path, {"version": VERSION, "bases": bases})
    return note


def recall(path: Path, files: Sequence[tuple[str, Path]]) -> list[str]:
    """One line for each measured pair of these files and each base. If the strengths file is damaged, a line says so.

    Args:
        files: (name, path) of each LoRA.
    """
    try:
        pairs = measured_pairs(path)
    except UserError as error:
        log.warning("%s", error)
        return [str(error)]
    sizes = {lora.bytes for pair in pairs for lora in pair.loras}
    called = {file_hash(file): name for name, file in files if os.stat(file).st_size in sizes}
    return [_line(pair, called) for pair in pairs if all(lora.sha256 in called for lora in pair.loras)]


def measured_pairs(path: Path) -> list[MeasuredPair]:
    """Every measured pair of every base. Raises UserError if the file exists but is not one of ours."""
    return [convert(values, MeasuredPair) for saved in _bases(path).values() for values in saved.values()]


def _line(pair: MeasuredPair, called: Mapping[str, str]) -> str:
    strengths = ", ".join(f"{called[lora.sha256]} {lora.strength:g}" for lora in pair.loras)
    return f"measured on {pair.base}: {strengths} (harmonic {pair.scores['harmonic']:.2f})"


def _bases(path: Path) -> dict[str, dict[str, Any]]:
    """The measured pairs by base. Raises UserError if the file exists but is not one of ours."""
    if not path.is_file():
        return {}
    values: dict[str, Any] = read_json(path)
    typed(values, _Saved, path, "does not contain strengths of LoRAs")
    bases: dict[str, dict[str, Any]] = values["bases"]
    return bases


@dataclass(frozen=True)
class _Saved:
    """What the file holds: the pairs by base and key."""

    bases: Mapping[str, Mapping[str, MeasuredPair]]

