"""Draws the cells of a sweep with the host's own nodes, one by one or all strengths of a LoRA in one batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import comfy.model_management
import torch
from PIL import Image

from ...trainer.common.errors import UserError
from ...trainer.sweeps.cells import Cell, Sweep
from ...trainer.sweeps.writer import CellWriter
from .. import paths
from .bases import NamedBase
from .cell_graph import EMPTY, NEGATIVE, PICTURE, POSITIVE, below, cell_graph
from .pictures import as_saved
from .runner import Graph, Runner, call, node_class

ROW_PIXELS, MOST_ROWS = 4 * 2**20, 16
"""Limits for the images that are sampled in one batch."""

log = logging.getLogger(__name__)

Texts = Callable[[Cell, Graph], Mapping[str, str] | None]
"""The texts of a cell's PNG, from the cell and its graph; None for none."""


@dataclass
class Drawing:
    """How a sweep's cells are drawn.

    Attributes:
        bases: a cell's base model, by its base fact; cells without one are drawn on the linked model.
        together: draw strengths in one batch, where the LoRA and the sampler allow it.
        notes: what could not be done as asked, and why.
    """

    sweep: Sweep
    runner: Runner
    bases: Mapping[str, NamedBase]
    own_latent: bool
    together: bool
    texts: Texts
    notes: list[str]

    def missing(self) -> Generator[Cell, None, None]:
        """Draw the missing cells, and yield each one once it is saved or marked as failed."""
        todo = self.sweep.missing()
        if self.together and (why := self._why_not_together(todo)):
            self.notes.append(f"Drawn one by one: {why}")
            self.together = False
        with CellWriter(self.sweep) as writer:
            for group in self._groups(todo):
                for _ in self._rows(writer, group) if len(group) > 1 else self._single(writer, group[0]):
                    yield from writer.written()
            writer.flush()
            yield from writer.written()

    def graph(self, cell: Cell) -> Graph:
        return cell_graph(cell, stack=below(cell), base=self.bases.get(cell.facts["base"]),
                          own_latent=self.own_latent)

    # -- one by one ------------------------------------------------------------------------------------------------

    def _single(self, writer: CellWriter, cell: Cell) -> Iterator[None]:
        graph = self.graph(cell)
        with _kept_going(writer, cell):
            self._save(writer, cell, as_saved(self.runner.value(graph, PICTURE)), graph)
        yield

    # -- strengths in one batch ------------------------------------------------------------------------------------

    def _groups(self, cells: Sequence[Cell]) -> Iterator[list[Cell]]:
        """Groups of cells that differ only in their strength; the cells of a base model follow one another."""
        if not self.together:
            yield from ([cell] for cell in cells)
            return

        def alike(cell: Cell) -> tuple[Any, ...]:
            facts = cell.facts
            return facts["base"], below(cell), facts["lora_sha256"] or cell.key, facts["prompt"], facts["seed"]

        order = {base: place for place, base in enumerate(dict.fromkeys(cell.facts["base"] for cell in cells))}
        for _, found in groupby(sorted(cells, key=lambda cell: (order[cell.facts["base"]], *map(str, alike(cell)))),
                                alike):
            group = list(found)
            rows = min(MOST_ROWS, max(1, ROW_PIXELS // self._area(group[0])))
            yield from (group[start : start + rows] for start in range(0, len(group), rows))

    def _area(self, cell: Cell) -> int:
        width, height = cell.facts.get("width"), cell.facts.get("height")
        return width * height if width and height else 2**20

    def _rows(self, writer: CellWriter, cells: list[Cell]) -> Iterator[None]:
        comfy.model_management.throw_exception_if_processing_interrupted()
        pictures = None
        try:
            pictures = self._sampled_together(cells)
        except comfy.model_management.InterruptProcessingException:
            raise
        except Exception as error:  # what prevents a batch does not prevent its rows
            self._note(f"Some were drawn one by one: {_line(error)}")
        if pictures is None:  # here the error is released, and with it the batch's memory
            for cell in cells:
                yield from self._single(writer, cell)
            return
        for cell, picture in zip(cells, pictures, strict=True):
            with _kept_going(writer, cell):
                self._save(writer, cell, [picture], self.graph(cell))
            yield

    def _save(self, writer: CellWriter, cell: Cell, pictures: Sequence[Image.Image], graph: Graph) -> None:
        if not pictures:
            raise ValueError("the sampler made no image; use a latent that holds at least one.")
        writer.save(cell, pictures[0], self.texts(cell, graph), pictures[1:])

    def _sampled_together(self, cells: Sequence[Cell]) -> list[Any]:
        from ..backbone.rows import RowLora

        graphs = [self.graph(cell) for cell in cells]
        plain = self.graph(Cell("", (), {**cells[0].facts, "lora_sha256": ""}))
        rows = RowLora(self.runner.value(plain, plain["sample"]["inputs"]["model"]),
                       paths.lora_file(cells[0].facts["lora"]))
        if rows.why_not:
            raise UserError(rows.why_not)
        heard = {name: _join_rows([self.runner.value(graph, link) for graph in graphs])
                 for name, link in (("positive", POSITIVE), ("negative", NEGATIVE))}
        latent = self.runner.value(plain, EMPTY)
        if len(latent["samples"]) > 1:
            raise UserError("the latent is a batch.")
        batch = _repeat_first(latent, len(cells))
        settings = {name: value for name, value in plain["sample"]["inputs"].items()
                    if name in ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")}
        with rows.at([cell.facts["strength"] for cell in cells]) as model:
            drawn = call(node_class("KSampler")(), {**settings, **heard, "model": model, "latent_image": batch})[0]
        vae = self.runner.value(plain, plain["decode"]["inputs"]["vae"])
        pixels = call(node_class("VAEDecode")(), {"samples": drawn, "vae": vae})[0]
        if len(pixels) != len(cells):
            raise UserError("each latent becomes several images.")
        return as_saved(pixels)

    def _why_not_together(self, cells: Sequence[Cell]) -> str:
        """What prevents all of them from sharing batches; "" if nothing does."""
        from ..backbone.rows import DETERMINISTIC

        sampler = cells[0].facts["sampler"] if cells else ""
        if cells and sampler not in DETERMINISTIC:
            return f"{sampler} draws new noise at each step, for a whole batch at once."
        return ""

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


class _kept_going:
    """An error marks its cell as failed, and the others continue; Cancel and a full disk do not."""

    def __init__(self, writer: CellWriter, cell: Cell) -> None:
        self._writer, self._cell = writer, cell

    def __enter__(self) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            return False
        if isinstance(error, (comfy.model_management.InterruptProcessingException, UserError)) or not isinstance(
                error, Exception):
            return False
        log.warning("a cell of %s failed", self._writer.sweep.folder.name, exc_info=error)
        self._writer.fail(self._cell, f"{type(error).__name__}: {_line(error)}")
        return True


def _line(error: Exception) -> str:
    """The first line of an error's message; its kind if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _repeat_first(latent: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """A batch of a latent's first row, in which each gets the noise and the mask that this row has when drawn alone."""
    samples, mask = latent["samples"][:1], latent.get("noise_mask")
    masked = {} if mask is None else {"noise_mask": mask[:1]}
    return {**latent, **masked, "samples": samples.repeat(rows, *[1] * (samples.ndim - 1)),
            "batch_index": list(latent.get("batch_index", [0]))[:1] * rows}


def _join_rows(conditionings: Sequence[list[list[Any]]]) -> list[list[Any]]:
    """One conditioning with a row for each. Raises UserError if they cannot be joined."""
    if any(len(conditioning) != 1 for conditioning in conditionings):
        raise UserError("a prompt has several conditionings.")
    rows, facts = zip(*(conditioning[0] for conditioning in conditionings), strict=True)
    tensors = {name for values in facts for name, value in values.items() if isinstance(value, torch.Tensor)}
    if any(row.shape != rows[0].shape for row in rows) or any(set(values) != set(facts[0]) for values in facts):
        raise UserError("the prompts' conditionings have different lengths.")
    return [[torch.cat(rows), {**facts[0], **{name: torch.cat([values[name] for values in facts])
                                              for name in tensors}}]]
