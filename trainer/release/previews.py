"""The previews of a release: a sweep's best cells, those that show different views first, each with the parameters that
web UIs and sites read, and without anything that tells of this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..captions.coverage import kinds_in
from ..common.errors import UserError
from ..common.files import atomic_path
from ..pictures.images import open_image, read_texts
from ..statements.plain_text import one_line
from ..sweeps.cells import Cell, Sweep
from ..sweeps.marks import BAD, GOOD
from .measured import Measured
from .texts import json_without_folders

VARIED = ("view", "framing", "expression", "background")
"""Axes of `coverage_words.AXES` on which the previews should differ, the most telling first."""
WORKFLOWS = ("prompt", "workflow")
"""Texts of a host's PNG that hold the graph it was drawn with."""
MOST_GRAPH = 4 * 2**20
A1111_NAMES = (("steps", "Steps"), ("sampler", "Sampler"), ("scheduler", "Schedule type"), ("cfg", "CFG scale"),
               ("seed", "Seed"))
"""(fact of a cell, its name in A1111's parameters)."""


@dataclass(frozen=True)
class Preview:
    """An image of the release.

    Attributes:
        place: its name in the release's folder.
        parameters: as A1111 writes them.
        drawn: a remark on where it is from; "" for a cell of the sweep.
    """

    place: str
    prompt: str
    negative: str
    seed: int | None
    strength: float
    width: int
    height: int
    parameters: str
    drawn: str = ""


def choose_cells(measured: Measured, most: int) -> list[Cell]:
    """At most `most` cells to show, the best first: the one that was marked as best, then whatever adds most that the
    others do not show. Hidden cells and those with a bad rating are left out; all are near the recommended strength.
    """
    marks = measured.marks
    fit = [cell for cell in measured.cells if cell.key not in marks.hidden
           and BAD not in marks.ratings.get(cell.key, {}).values()]
    wanted = 1.0 if measured.strength is None else measured.strength
    base = measured.row.base if measured.row else 0
    nearest = min((_distance(cell, wanted) for cell in fit), default=0.0)
    near = [cell for cell in fit if _distance(cell, wanted) == nearest or cell.key == marks.best]
    of_base = [cell for cell in near if _base_of(measured.sweep, cell) in (None, base) or cell.key == marks.best]
    return _varied(list({cell.key: cell for cell in of_base or near}.values()), measured, most)


def _varied(cells: list[Cell], measured: Measured, most: int) -> list[Cell]:
    marks = measured.marks
    chosen: list[Cell] = []
    shown: set[tuple[str, str]] = set()
    while cells and len(chosen) < most:
        best = max(cells, key=lambda cell: (
            cell.key == marks.best, tuple(len(_kinds(cell, axis) - shown) for axis in VARIED),
            sum(rating == GOOD for rating in marks.ratings.get(cell.key, {}).values())))
        cells.remove(best)
        chosen.append(best)
        shown |= {kind for axis in VARIED for kind in _kinds(best, axis)}
    return chosen


def _kinds(cell: Cell, axis: str) -> set[tuple[str, str]]:
    return {(axis, kind) for kind in kinds_in(str(cell.facts.get("prompt", "")), axis)}


def _distance(cell: Cell, strength: float) -> float:
    return abs(float(cell.facts.get("strength", 1.0)) - strength)


def _base_of(sweep: Sweep | None, cell: Cell) -> int | None:
    """The cell's place on the axis of bases; None if the sweep has no such axis."""
    names = [axis.name for axis in sweep.axes] if sweep else []
    return cell.at[names.index("base")] if "base" in names else None


def write_previews(folder: Path, cells: Sequence[Cell], sweep: Sweep, name: str, digest: str,
                   workflow: bool) -> tuple[list[Preview], list[str]]:
    """Write `previews/1.png`, `2.png`, ... into the release; returns them, and a note for each that cannot be read.

    Args:
        name, digest: the released file's name, without its ending, and its AutoV3.
        workflow: keep the graph, without folders of this machine, but not of a cell without a prompt: its prompt is in
            the graph.
    """
    written: list[Preview] = []
    notes: list[str] = []
    for cell in cells:
        try:
            kept = workflow and bool(cell.facts.get("prompt"))
            image, graph = open_image(sweep.picture(cell)), _graph(sweep.picture(cell)) if kept else {}
        except (UserError, OSError) as error:
            notes.append(f"A preview is left out: {error}")
            continue
        place = f"previews/{len(written) + 1}.png"
        preview = describe_preview(cell.facts, place, image, name, digest)
        save_png(folder / place, image, {"parameters": preview.parameters, **graph})
        written.append(preview)
    return written, notes


def describe_preview(facts: Mapping[str, Any], place: str, image: Image.Image, name: str, digest: str) -> Preview:
    """The preview of an image at this place in the release.

    Args:
        facts: what decided the image, by the names of a cell's facts.
        name, digest: as in `write_previews`.
    """
    strength, seed = float(facts.get("strength", 1.0)), facts.get("seed")
    prompt, negative = one_line(facts.get("prompt", "")), one_line(facts.get("negative", ""))
    told = [f"{label}: {one_line(facts[fact])}" for fact, label in A1111_NAMES if facts.get(fact) not in (None, "")]
    told += [f"Size: {image.width}x{image.height}", f'Lora hashes: "{name}: {digest.lower()}"']
    lines = [f"{prompt} <lora:{name}:{strength:g}>".strip(), *([f"Negative prompt: {negative}"] if negative else []),
             ", ".join(told)]
    return Preview(place, prompt, negative, seed if isinstance(seed, int) else None, strength, image.width,
                   image.height, "\n".join(lines))


def _graph(path: Path) -> dict[str, str]:
    """The graph in a PNG, with no folder of this machine; what is not JSON is left out."""
    kept = {}
    for name, text in read_texts(path, WORKFLOWS).items():
        with suppress(ValueError, RecursionError):
            if len(text) <= MOST_GRAPH and isinstance(json.loads(text), dict):
                kept[name] = json_without_folders(text)
    return kept


def save_png(path: Path, image: Image.Image, texts: Mapping[str, str]) -> None:
    """Write an image with these texts and no others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    info = PngInfo()
    for name, text in texts.items():
        info.add_itxt(name, text) if not text.isascii() else info.add_text(name, text)
    bare = Image.new(image.mode, image.size)
    bare.paste(image)
    with atomic_path(path) as temp:
        bare.save(temp, format="PNG", pnginfo=info, compress_level=6)
