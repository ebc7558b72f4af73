"""A sweep in the host from its plan to its sheet: its bases, what is missing drawn, progress, outputs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ...trainer.common.errors import UserError, unknown_name
from ...trainer.pictures.images import open_image
from ...trainer.pictures.sheet import SheetStyle
from ...trainer.sweeps.cells import AXES, CHECKPOINT, Axis, Cell, Sweep, base_axis
from ...trainer.sweeps.log import SHEET, log_picture
from ...trainer.sweeps.sheets import choose_axes, write_sheets
from ..events import tell_sweep
from ..progress import show_text
from .cell_graph import PICTURE, below, parameters, whole_graph
from .pictures import to_batch
from .repeat import Node, recipe
from .runner import Graph
from .sweep_draw import Drawing
from .sweep_plan import LEFT, named_bases

AUTO, NONE = "auto", "none"


LINKED = "as linked"
"""What the linked model is called on the axis of bases."""
SHOWN_SIDE = 4096
"""Most pixels of a side of a sheet that goes on as an IMAGE; the file has them all."""


def bases_of(find: Any, links: Mapping[str, Any], linked: tuple[Any, Any, Any],
             names: str) -> tuple[Axis, dict[str, str]]:
    """The axis of bases, the linked one first, and the checkpoint of each of the others by its fact."""
    from ..backbone.model import fingerprint

    made_by = [recipe(find, links[name]) for name in ("model", "clip", "vae")]
    facts, checkpoints = {LINKED: _short([fingerprint(*linked), made_by])}, {}
    for name in named_bases(names):
        status = Path(folder_paths.get_full_path("checkpoints", name)).stat()
        facts[name.removesuffix(".safetensors")] = fact = _short([name, status.st_size, status.st_mtime_ns])
        checkpoints[fact] = name
    return base_axis(facts), checkpoints


def _short(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def latent_hash(latent: Mapping[str, Any]) -> str:
    samples = latent["samples"].detach().float().cpu().contiguous()
    return _short([list(samples.shape), hashlib.sha256(samples.numpy().tobytes()).hexdigest()])


def texts_of(find: Any, links: Mapping[str, Any], name: str, cell: Cell, graph: Graph) -> dict[str, str]:
    """What a cell's PNG holds: the graph that makes it, and its settings as sites read them."""
    whole: dict[str, Node] = whole_graph(find, graph, links, PICTURE, f"sweep_{name}")
    return {"prompt": json.dumps(whole), "parameters": parameters(cell, below(cell))}


def draw_missing(drawing: Drawing, node_id: str) -> None:
    """Draw what is missing of a sweep, telling how far it is. Raises UserError if every cell fails."""
    sweep = drawing.sweep
    sweep.write()
    states = sweep.states()
    total, done, failed, error = len(states), sum(state == "done" for state in states.values()), 0, ""

    def tell() -> None:
        tell_sweep(sweep.folder.name, node_id, done, failed, total)
        show_text(counted(done, failed, total), node_id)

    tell()
    try:
        for cell in drawing.missing():
            if why := sweep.problem(cell):
                failed, error = failed + 1, why
            else:
                done += 1
            tell()
    finally:
        drawing.runner.forget()
        LEFT.note(sweep)
    if failed and not done:
        raise UserError(f"none of the {total} cells could be drawn. The last said: {error}")


def counted(done: int, failed: int, total: int) -> str:
    return f"{done} of {total} cells" + (f", {failed} failed" if failed else "")


def finished(sweep: Sweep, node_id: str, rows: str, columns: str, notes: Sequence[str] = ()) -> io.NodeOutput:
    """A sweep's outputs, with its sheet."""
    states = list(sweep.states().values())
    done, failed = states.count("done"), states.count("failed")
    pages = write_sheets(sweep, *axes_of(sweep, rows, columns))
    if done == len(states):
        log_picture(sweep, pages[0], SHEET)
    show_text("\n".join((counted(done, failed, len(states)), *notes)), node_id)
    told = {"sweep": sweep.folder.name, "done": done, "failed": failed, "total": len(states)}
    return io.NodeOutput(sweep, [shown(page) for page in pages], ui={"lora_bootstrap": [told]})


def axes_of(sweep: Sweep, rows: str, columns: str) -> tuple[SheetStyle, str, str]:
    """(style, rows, columns) of a sheet, as the widgets say; what is auto makes way for what is chosen.

    Raises UserError for an axis that the sweep does not have, or for the same twice.
    """
    names = [axis.name for axis in sweep.axes]
    for name in (rows, columns):
        if name not in (AUTO, NONE, *names):
            raise unknown_name("axis", name, names)
    if rows == columns and rows in names:
        raise UserError(f"rows and columns are both {rows!r}; take two different axes, or auto for one of them.")
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


def shown(page: Path) -> Any:
    """A sheet as an IMAGE."""
    picture = open_image(page)
    picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return to_batch(picture)


def facts_of(sweep: Sweep) -> dict[str, Any]:
    """What the first of a sweep's LoRAs says of itself: trigger, family, kind."""
    axis = sweep.axis(CHECKPOINT)
    return {"trigger": "", "family": "", "kind": "", **(axis.choices[0].facts if axis else {})}
