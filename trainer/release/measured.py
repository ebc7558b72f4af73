"""What was measured of a LoRA: its row of a sweep's scoring matrix, what a person rated, and the strengths that follow.

A figure counts only if the sweep was drawn with the very weights that are released.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from ..common.files import file_hash
from ..common.schema import read_record
from ..lora.hashes import tensor_hash
from ..stacks.known_strengths import MeasuredPair, measured_pairs
from ..sweeps.cells import CHECKPOINT, Cell, Sweep
from ..sweeps.earlier import MARKS
from ..sweeps.marks import BAD, Marks
from ..sweeps.score import ScoreRow
from .texts import fold_prompt

SCORES, STRENGTHS = "scores.json", "strengths.json"
BY_SCORES, BY_PAIR, BY_AUTHOR = "Score Sweep", "Refine Strengths", "the author"


@dataclass(frozen=True)
class Matrix:
    """A sweep's scores.json.

    Attributes:
        cells: keys of the images that were scored; none in files of earlier versions.
    """

    rows: tuple[ScoreRow, ...] = ()
    recommended: int | None = None
    eye: str = ""
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """Attributes:
        cells: the sweep's finished images that show this LoRA.
        row: the row of the scoring matrix that speaks for it: the recommended one if it is of this file, or else its
            best one; None if it has none.
        recommended: whether the matrix recommends that row.
        strength: to use it at; None if nothing measured it. `found_by` is what did.
        pairs: its best strengths with other LoRAs.
        failed: number of its cells that could not be drawn.
        notes: what is not as it should be, for the author.
    """

    sweep: Sweep | None = None
    cells: tuple[Cell, ...] = ()
    marks: Marks = field(default_factory=Marks)
    row: ScoreRow | None = None
    recommended: bool = False
    eye: str = ""
    strength: float | None = None
    found_by: str = ""
    pairs: tuple[MeasuredPair, ...] = ()
    failed: int = 0
    notes: tuple[str, ...] = ()

    @property
    def settings(self) -> Mapping[str, Any]:
        """Facts that all images of the sweep share: steps, cfg, width, ..."""
        return self.sweep.shared if self.sweep else {}

    def without_prompts(self, secret: frozenset[str]) -> Measured:
        """The same, without these prompts, as `fold_prompt` has them: neither those of cells nor those of scores."""
        row = self.row
        if row is not None:
            row = replace(row, prompts=tuple(
                replace(found, prompt="", missed=()) if fold_prompt(found.prompt) in secret else found
                for found in row.prompts))
        return replace(self, cells=tuple(hide_captions(self.cells, secret)), row=row)

    @property
    def rated_bad(self) -> dict[str, tuple[str, ...]]:
        """Prompt → what a person rated as bad in one of its images."""
        found: dict[str, dict[str, None]] = {}
        for cell in self.cells:
            for aspect, rating in self.marks.ratings.get(cell.key, {}).items():
                if rating == BAD:
                    found.setdefault(str(cell.facts.get("prompt", "")), {})[aspect] = None
        return {prompt: tuple(aspects) for prompt, aspects in found.items()}


def hide_captions(cells: Sequence[Cell], captions: frozenset[str]) -> list[Cell]:
    """The cells, without a prompt where it is one of these captions, as `fold_prompt` has them."""
    return [replace(cell, facts={**cell.facts, "prompt": ""}) if fold_prompt(cell.facts.get("prompt", "")) in captions
            else cell for cell in cells]


def open_sweep(folder: Path | None) -> Sweep | None:
    """The sweep in a folder. Raises UserError if there is none."""
    return None if folder is None else Sweep.load(Path(folder))


def recommended_files(sweep: Sweep | None) -> dict[str, str]:
    """Hashes of the LoRA that the sweep's scores recommend, of its bytes and of its tensors → a sentence that says so;
    {} if they recommend none."""
    matrix, _ = _read_matrix(sweep) if sweep else (Matrix(), "")
    if sweep is None or matrix.recommended is None or not 0 <= matrix.recommended < len(matrix.rows):
        return {}
    row = matrix.rows[matrix.recommended]
    facts, why = _facts_of(sweep, row), f"{row.label} is released, as its sweep recommends."
    return {facts[name]: why for name in ("lora_sha256", "lora_tensors") if facts.get(name)}


def read_measured(sweep: Sweep | None, file: Path, strength: float | None = None,
                  strengths_file: Path | None = None) -> Measured:
    """What was measured of a LoRA file.

    Args:
        strength: what the author states instead.
        strengths_file: the pack's lora_strengths.json, where Refine Strengths saves pairs.
    """
    digests = (file_hash(file), tensor_hash(file))
    pairs, notes = _pairs(strengths_file, digests[0])
    found = Measured() if sweep is None else _read_sweep(sweep, digests)
    at, by = (found.strength, found.found_by) if strength is None else (strength, BY_AUTHOR)
    return Measured(found.sweep, found.cells, found.marks, found.row, found.recommended, found.eye, at, by, pairs,
                    found.failed, (*found.notes, *notes))


def _read_sweep(sweep: Sweep, digests: tuple[str, str]) -> Measured:
    states, notes = sweep.states(), []
    mine = [cell for cell in sweep.cells if _is_mine(cell.facts, digests)]
    if not mine:
        return Measured(notes=(f"Sweep {sweep.folder.name!r} was not drawn with this LoRA, so nothing of it is used.",))
    matrix, problem = _read_matrix(sweep)
    notes += [problem] if problem else []
    rows = [(index, row) for index, row in enumerate(matrix.rows)
            if row.score is not None and _is_mine(_facts_of(sweep, row), digests)]
    index, row = next(((index, row) for index, row in rows if index == matrix.recommended),
                      min(rows, key=lambda place: (len(place[1].gates), -(place[1].score or 0)), default=(None, None)))
    recommended = index is not None and index == matrix.recommended
    if row is not None and matrix.recommended is not None and not recommended:
        notes.append("The sweep's scores recommend another checkpoint than the one that is released.")
    strength, by = (row.at, BY_SCORES) if row is not None else (_pair_strength(sweep), BY_PAIR)
    return Measured(
        sweep, tuple(cell for cell in mine if states[cell.key] == "done"), _read_marks(sweep, notes), row, recommended,
        matrix.eye, strength, "" if strength is None else by,
        failed=len({cell.key for cell in mine if states[cell.key] == "failed"}), notes=tuple(notes))


def _is_mine(facts: Mapping[str, Any], digests: tuple[str, str]) -> bool:
    """Whether facts of a cell are of the file with these hashes: of its bytes, or of its tensors."""
    return facts.get("lora_sha256") == digests[0] or facts.get("lora_tensors") == digests[1]


def _facts_of(sweep: Sweep, row: ScoreRow) -> Mapping[str, Any]:
    """The facts of the LoRA that a row is about; {} if the sweep has changed since."""
    axis = sweep.axis(CHECKPOINT)
    if axis is None:
        return sweep.shared
    return axis.choices[row.checkpoint].facts if 0 <= row.checkpoint < len(axis.choices) else {}


def _read_matrix(sweep: Sweep) -> tuple[Matrix, str]:
    """The scoring matrix, and why it cannot be used; an empty one if there is none, or if other images were scored."""
    path = sweep.folder / SCORES
    if not path.is_file():
        return Matrix(), f"Sweep {sweep.folder.name!r} has no scores: score it with Score Sweep, then release again."
    try:
        matrix = read_record(path, Matrix)
    except UserError as error:
        return Matrix(), f"The scores are not used: {error}"
    if not set(matrix.cells) <= set(sweep.states()):
        return Matrix(), f"The scores of sweep {sweep.folder.name!r} are of other images: score it again."
    return matrix, ""


def _read_marks(sweep: Sweep, notes: list[str]) -> Marks:
    try:
        return Marks.load(sweep.folder / MARKS).among(cell.key for cell in sweep.cells)
    except UserError as error:
        notes.append(str(error))
        return Marks()


@dataclass(frozen=True)
class _Pair:
    character: float


@dataclass(frozen=True)
class _Strengths:
    """What Refine Strengths writes into a sweep's folder, as far as it is needed here."""

    pairs: tuple[_Pair, ...] = ()
    best: int | None = None


def _pair_strength(sweep: Sweep) -> float | None:
    """The character's strength in the best pair of the sweep, if it refines a pair."""
    with suppress(UserError):
        if (sweep.folder / STRENGTHS).is_file():
            found = read_record(sweep.folder / STRENGTHS, _Strengths)
            if found.best is not None and 0 <= found.best < len(found.pairs):
                return found.pairs[found.best].character
    return None


def _pairs(path: Path | None, sha256: str) -> tuple[tuple[MeasuredPair, ...], list[str]]:
    try:
        found = measured_pairs(path) if path is not None else []
    except UserError as error:
        return (), [str(error)]
    return tuple(pair for pair in found if any(lora.sha256 == sha256 for lora in pair.loras)), []
