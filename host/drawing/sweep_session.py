"""A sweep in the host, from its plan to its sheet: its base models, drawing the missing cells, progress, outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ...trainer.common.errors import UserError, unknown_name
from ...trainer.pictures.images import open_image
from ...trainer.pictures.sheet import SheetStyle
from ...trainer.sweeps.cells import AXES, CHECKPOINT, Axis, Cell, Sweep, base_axis
from ...trainer.sweeps.earlier import take_over_marks
from ...trainer.sweeps.log import SHEET, add_to_log
from ...trainer.sweeps.sheets import choose_axes, write_sheets
from ..backbone.contents import content_of
from ..events import tell_sweep
from ..session import current_session
from ..shown_text import show_beside_panel
from .bases import NamedBase, named_bases
from .cell_graph import PICTURE, below, cell_texts, parameters, whole_graph
from .node_facts import file_content, file_facts
from .node_place import NodePlace
from .pictures import to_batch
from .recipe import KEYS, short_hash
from .runner import Graph, Runner
from .sampling_figures import SAMPLER, SIZE, DrawnModel, Figures
from .sweep_draw import Drawing

AUTO, NONE = "auto", "none"
LINKED = "as linked"
"""Name of the linked model on the axis of bases."""
SHOWN_SIDE = 4096
"""Maximum pixels per side of a sheet that is passed on as an IMAGE; the file has them all."""


@dataclass(frozen=True)
class Sampling:
    """What every cell of a sweep is sampled with: the linked models, and the widgets of a sampler.

    Attributes:
        latent: a linked latent to use instead of `width` and `height`; None for an empty one of that size.
        file: what the model was loaded from; "" if that is not known.
    """

    model: Any
    clip: Any
    vae: Any
    latent: Mapping[str, Any] | None
    negative: str
    asked: Figures
    file: str = ""

    @cached_property
    def drawn(self) -> DrawnModel:
        return DrawnModel.of(self.model, self.vae, self.file)

    @cached_property
    def figures(self) -> Figures:
        """The widgets, with the model's own figures where they are left to it."""
        return self.asked.settle(self.drawn.figures())

    def facts_on(self, base: NamedBase) -> dict[str, Any]:
        """The facts of cells on another base that differ from those on the linked one."""
        own = self.drawn.figures(str(base.path)).only(self.asked.open)
        return {name: value for name, value in own.items() if value != getattr(self.figures, name)}

    @property
    def linked(self) -> tuple[Any, Any, Any]:
        return self.model, self.clip, self.vae

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that all cells share and that decide their images."""
        size = self.figures.only(SIZE) if self.latent is None else {"latent": content_of(self.latent).digest[:16]}
        return {"negative": self.negative, **self.figures.only(SAMPLER), **size}

    def notes(self, bases: Mapping[str, NamedBase], strengths: Sequence[float]) -> list[str]:
        """What was left to the models, and on which models of the family it is not drawn."""
        told = [f"By the model: {self.figures.text}"] if self.asked.open else []
        told += [f"{base.label}: {replace(self.figures, **own).text}" for base in bases.values()
                 if (own := self.facts_on(base))]
        return [*told, *self.drawn.advice([str(base.path) for base in bases.values()], strengths)]

    def drawing(self, sweep: Sweep, place: NodePlace, bases: Mapping[str, NamedBase] | None = None,
                together: bool = False) -> Drawing:
        """How the cells of a sweep are drawn from a node's linked models.

        Args:
            bases: a cell's base model, by its base fact.
            together: draw strengths in one batch.
        """
        given = {"model": (self.model,), "clip": (self.clip,), "vae": (self.vae,)}
        if self.latent is not None:
            given["latent"] = (self.latent,)
        texts = partial(texts_of, place.find, place.links, sweep.folder.name)
        notes = self.notes(bases or {}, [cell.facts["strength"] for cell in sweep.cells])
        return Drawing(sweep, Runner(given), bases or {}, self.latent is not None, together, texts, notes)


def bases_of(place: NodePlace, sampling: Sampling, names: str,
             texts: Sequence[str]) -> tuple[Axis, dict[str, NamedBase]]:
    """The axis of bases, with the linked one first, and each of the others by its fact.

    Args:
        texts: the prompts, whose embeddings count as part of a base.
    """
    embeddings = file_facts(texts)
    keys = [place.key_of(name, value) for name, value in zip(("model", "clip", "vae"), sampling.linked, strict=True)]
    facts, bases = {LINKED: short_hash([KEYS, keys, embeddings])}, {}
    for base in named_bases(names):
        own = [KEYS, base.name, file_content(base.path), embeddings]
        facts[base.label] = fact = short_hash(own if base.whole else [*own, *keys[1:]])
        bases[fact] = base
    return base_axis(facts, {base.label: sampling.facts_on(base) for base in bases.values()}), bases


def texts_of(find: Any, links: Mapping[str, Any], name: str, cell: Cell, graph: Graph) -> dict[str, str] | None:
    """The texts in a cell's PNG, as `cell_texts`."""
    return cell_texts(whole_graph(find, graph, links, PICTURE, f"sweep_{name}"), parameters(cell, below(cell)))


def draw_missing(drawing: Drawing, node_id: str) -> None:
    """Draw the missing cells of a sweep and report progress. Raises UserError if every cell fails."""
    sweep = drawing.sweep
    sweep.write()
    counts, error = {**sweep.counts(), "failed": 0}, ""  # cells that failed before are tried again
    report_progress(sweep, node_id, counts)
    try:
        with closing(drawing.missing()) as drawn:  # however it ends, what was drawn is written
            for cell in drawn:
                if why := sweep.problem(cell):
                    counts["failed"], error = counts["failed"] + 1, why
                else:
                    counts["done"] += 1
                report_progress(sweep, node_id, counts)
    finally:
        drawing.runner.forget()
        current_session().cells.note(sweep)
    if counts["failed"] and not counts["done"]:
        raise UserError(f"none of the {counts['total']} cells could be drawn. The last error was: {error}")


def report_progress(sweep: Sweep, node_id: str, counts: Mapping[str, int]) -> None:
    """Show in the node and in every open tab how many cells are drawn; `counts` are as of `Sweep.counts`."""
    tell_sweep(sweep.folder.name, node_id, **counts)
    show_beside_panel(progress_text(**counts), node_id)


def progress_text(done: int, failed: int, total: int) -> str:
    return f"{done} of {total} cells" + (f", {failed} failed" if failed else "")


def batch_notes(sweep: Sweep) -> list[str]:
    """A line about the images that lie beside the cells', if there are any."""
    more = sweep.count_more()
    return [f"{more} more images of the batches are saved beside the cells as KEY-1.png and so on; the sheet, the "
            "scores and the viewer show the first of each batch."] if more else []


def draw_sheet(drawing: Drawing, node_id: str, rows: str, columns: str) -> io.NodeOutput:
    """Draw the missing cells of a sweep, and return its outputs. The sheet is written even if the drawing ends early.

    Raises UserError as `axes_of` and `draw_missing` do.
    """
    sweep = drawing.sweep
    axes_of(sweep, rows, columns)
    try:
        draw_missing(drawing, node_id)
    except BaseException:
        with suppress(UserError):  # what ended the drawing is what must be told
            write_sheets(sweep, *axes_of(sweep, rows, columns))
        raise
    return sweep_output(sweep, node_id, rows, columns, drawing.notes)


def log_sheet(sweep: Sweep, page: Path, counts: Mapping[str, int]) -> list[str]:
    """Add a sheet to the log of all sweeps, if every cell is on it; and keep what was marked on it before. Returns what
    could not be done: that is no reason for a sweep to fail."""
    notes = [add_to_log(sweep, page, SHEET)] if counts["done"] == counts["total"] else []
    try:
        take_over_marks(sweep)
    except UserError as error:
        notes.append(f"Marks of an earlier version were not taken over: {error}")
    return [note for note in notes if note]


def sweep_output(sweep: Sweep, node_id: str, rows: str, columns: str, notes: Sequence[str] = ()) -> io.NodeOutput:
    """A finished sweep's outputs, with its sheet."""
    counts = sweep.counts()
    pages = write_sheets(sweep, *axes_of(sweep, rows, columns))
    notes = (*batch_notes(sweep), *notes, *log_sheet(sweep, pages[0], counts))
    show_beside_panel("\n".join((progress_text(**counts), *notes)), node_id, "\n".join(notes))
    return io.NodeOutput(sweep, [sheet_image(page) for page in pages], ui=sweep_ui(sweep, counts))


def sweep_ui(sweep: Sweep, counts: Mapping[str, int]) -> dict[str, Any]:
    """What the panel of a sweep's node reads after a Run."""
    return {"lora_bootstrap": [{"sweep": sweep.folder.name, **counts}]}


def axes_of(sweep: Sweep, rows: str, columns: str) -> tuple[SheetStyle, str, str]:
    """(style, rows, columns) of a sheet, from the widgets. An axis set to auto avoids those chosen by hand.

    Raises UserError for an axis that the sweep does not have, or if both are the same axis.
    """
    names = [axis.name for axis in sweep.axes]
    for name in (rows, columns):
        if name not in (AUTO, NONE, *names):
            raise unknown_name("axis", name, names)
    if rows == columns and rows in names:
        raise UserError(f"rows and columns are both {rows!r}; choose two different axes, or auto for one of them.")
    automatic = choose_axes(sweep)
    taken = {name for name in (rows, columns) if name in AXES}
    free = [name for name in (*automatic, *(axis.name for axis in sweep.axes if len(axis.choices) > 1))
            if name not in taken]
    found = []
    for name, own in zip((rows, columns), automatic, strict=True):
        if name == AUTO:
            name = own if own in free else next(iter(free), NONE)
            free = [other for other in free if other != name]
        found.append("" if name == NONE else name)
    return SheetStyle(), found[0], found[1]


def sheet_image(page: Path) -> Any:
    """A sheet as an IMAGE."""
    picture = open_image(page)
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return to_batch(picture)


def lora_facts(sweep: Sweep) -> dict[str, Any]:
    """What the first LoRA of a sweep records about itself: trigger, family, kind."""
    axis = sweep.axis(CHECKPOINT)
    return {"trigger": "", "family": "", "kind": "", **(axis.choices[0].facts if axis else {})}
