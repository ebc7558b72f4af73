"""A sweep through the user's own workflow, with any sampler: its values as lists, and a sheet of the images.

Compose Grid does not use lists of images, because ComfyUI samples all of them before it saves the first. It copies the
part of the workflow between Sweep Values and itself once per cell (`repeat.py`), and each copy waits until the one
before is saved.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from comfy_api.latest import io

from ..host import menu, paths
from ..host.drawing.cell_graph import above, cell_texts, keeps_prompts, parameters
from ..host.drawing.node_facts import FACTS, file_facts
from ..host.drawing.pictures import as_saved, made_images, shown_images
from ..host.drawing.recipe import Node, is_link
from ..host.drawing.repeat import Part, RepeatGraph, part_between
from ..host.drawing.sweep_plan import choose_loras, listed_files, lora_axes, sweep_folder
from ..host.drawing.sweep_session import (
    axes_of,
    batch_notes,
    log_sheet,
    progress_text,
    report_progress,
    sheet_image,
)
from ..host.paths import output_path
from ..host.session import current_session
from ..host.shown_text import show_beside_panel, show_text
from ..host.stacks import read_stack
from ..trainer.common.errors import UserError
from ..trainer.pictures.sheet import FORMATS, SheetStyle
from ..trainer.sweeps.cells import PROMPT, Cell, Sweep
from ..trainer.sweeps.html import write_html
from ..trainer.sweeps.sheets import write_sheets
from .inputs import axis_choice, check_texts, compare_input, lora_inputs, lora_sources, without_input
from .schema import node_schema
from .sockets import LoraSweep

INTERNAL = f"{menu.SWEEP}/{menu.INTERNAL}"
VALUES = ("lora", "strength", "prompt", "seed")
"""Facts of a cell that are outputs of Sweep Values, in the order of their slots, after the sweep's slot."""
FIRST_SLOT = 1
GIVEN = range(FIRST_SLOT, FIRST_SLOT + len(VALUES))
"""Their slots."""
INTERRUPTED = "the Run ended while this cell was being drawn"


class SweepValues(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_SweepValues", display_name="Sweep Values", category=menu.SWEEP,
            description="Provides the values of a sweep to your own workflow. Link them to Load LoRA, the text encoder "
                        "and any sampler, and the decoded image to Compose Grid, which draws cell by cell.",
            hidden=[io.Hidden.unique_id],
            inputs=[*lora_inputs("all", "0.8, 1.0"), without_input(), *lora_sources(), compare_input()],
            outputs=[
                LoraSweep.Output(display_name="sweep", tooltip="The sweep, for Compose Grid."),
                io.AnyType.Output(display_name="lora_name", is_output_list=True, tooltip=(
                    "The LoRA's name, for Load LoRA's lora_name.")),
                io.Float.Output(display_name="strength", is_output_list=True, tooltip=(
                    "The strength, for Load LoRA's strengths.")),
                io.String.Output(display_name="prompt", is_output_list=True, tooltip=(
                    "The prompt, for the text encoder.")),
                io.Int.Output(display_name="seed", is_output_list=True, tooltip="The seed, for the sampler."),
            ],
        )

    @classmethod
    def validate_inputs(cls, strengths, seeds, files) -> bool | str:
        return check_texts(strengths, seeds, files)

    @classmethod
    def fingerprint_inputs(cls, files="", **_) -> Any:
        return float("nan") if files is None else listed_files(files)

    @classmethod
    def execute(cls, name, checkpoints, files, strengths, prompts, prompt_set, seeds, without, run=None,
                LORA_STACK=None, compare=None) -> io.NodeOutput:
        loras = choose_loras(run, checkpoints, read_stack(LORA_STACK), files, read_stack(compare))
        axes = lora_axes(loras, strengths, prompts, prompt_set, seeds)
        folder = sweep_folder(name, loras, "values")
        sweep = Sweep(folder, folder.name, axes, {"stack": loras.stack}, without)
        show_text(f"{len(sweep.states())} cells", cls.hidden.unique_id)
        values = [values_of(sweep, cell) for cell in sweep.cells]
        return io.NodeOutput(sweep, *map(list, zip(*values, strict=True)))


class ComposeGrid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ComposeGrid", display_name="Compose Grid", category=menu.SWEEP,
            description="Makes the labelled sheets of a sweep, as images and as a page for the browser. With images "
                        "linked, it first draws the missing cells through your own nodes, one by one, and saves each "
                        "at once.",
            is_output_node=True, enable_expand=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                LoraSweep.Input("sweep", tooltip=(
                    "A sweep from Sweep Values, Strength Grid, Checkpoint Sweep or Score Sweep.")),
                axis_choice("rows", "down the side"), axis_choice("columns", "along the top"),
                io.String.Input("title", default="", tooltip=(
                    "Title above the sheets. Leave empty to use the sweep's name.")),
                io.Int.Input("cell", default=256, min=32, max=2048, step=8, tooltip=(
                    "Longer side of an image on the sheet, in pixels.")),
                io.Int.Input("font_size", default=18, min=8, max=96, tooltip="Height of the labels, in pixels."),
                io.Boolean.Input("wrap", default=True, tooltip=(
                    "Wrap long labels onto several lines. Off: cut them to one line.")),
                io.Combo.Input("format", options=list(FORMATS), default="png", tooltip="File format of the sheets."),
                io.Boolean.Input("html", default=True, tooltip=(
                    "Also write grid.html beside the cells: a page with all images in full size.")),
                io.Image.Input("images", optional=True, lazy=True, raw_link=True, tooltip=(
                    "The images that your sampler makes from Sweep Values.")),
            ],
            outputs=[LoraSweep.Output(display_name="sweep"),
                     io.Image.Output(display_name="sheet", is_output_list=True, tooltip=(
                         "The labelled sheet, page by page.")),
                     io.String.Output(display_name="path", tooltip=(
                         "Path of the first sheet, relative to the output folder."))],
        )

    @classmethod
    def fingerprint_inputs(cls, **_) -> Any:
        return current_session().cells.look()

    @classmethod
    def execute(cls, sweep, rows, columns, title, cell, font_size, wrap, format, html, images=None) -> io.NodeOutput:
        style = {"rows": rows, "columns": columns, "title": title, "cell": cell, "font_size": font_size, "wrap": wrap,
                 "format": format, "html": html}
        me, prompt = cls.hidden.unique_id, cls.hidden.dynprompt
        axes_of(sweep, rows, columns)
        if images is None:
            return compose_sheets(sweep, style, me)
        part, graph = sampled_part(prompt, me, images), RepeatGraph()
        cells = graph.node("LoraBootstrap_ComposeCells", "cells", sweep=prompt.get_node(me)["inputs"]["sweep"],
                           contents=part.add_contents(graph, me), style=json.dumps(style), node=me,
                           run=secrets.token_hex(8))
        cells.set_override_display_id(me)
        return io.NodeOutput(*map(cells.out, range(3)), expand=graph.finalize())


class ComposeCells(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ComposeCells", display_name="Compose Cells", category=INTERNAL, is_deprecated=True,
            description="Draws the missing cells once it is known what is linked to the sampler. Compose Grid adds "
                        "this node while it works; do not use it in your own workflows.",
            enable_expand=True, hidden=[io.Hidden.dynprompt],
            inputs=[LoraSweep.Input("sweep"), io.String.Input("contents", tooltip="A hash of what is linked."),
                    io.String.Input("style", tooltip="Compose Grid's widgets, as JSON."),
                    io.String.Input("node", tooltip="The id of Compose Grid."),
                    io.String.Input("run", default="", tooltip="Another text for each Run, so that none is skipped.")],
            outputs=sheet_outputs(),
        )

    @classmethod
    def execute(cls, sweep, contents, style, node, run="") -> io.NodeOutput:
        prompt, look = cls.hidden.dynprompt, json.loads(style)
        part = sampled_part(prompt, node, prompt.get_node(node)["inputs"]["images"])
        sweep, look["notes"] = with_sampler(sweep, part, contents), part.warnings
        if not (todo := sweep.missing()):
            return io.NodeOutput(*compose_sheets(sweep, look, node).args)
        graph = RepeatGraph()
        outputs = expand_cells(graph, sweep, todo, part, node, look, prompt.get_node)
        return io.NodeOutput(*outputs, expand=graph.finalize())


class SweepCell(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_SweepCell", display_name="Sweep Cell", category=INTERNAL, is_deprecated=True,
            description="Holds the values of one cell. Compose Grid adds this node while it works; do not use it in "
                        "your own workflows.",
            inputs=[io.String.Input("sweep", tooltip="The sweep's name."),
                    io.String.Input("key", tooltip="The cell's key."),
                    LoraSweep.Input("after", optional=True, tooltip="The cell to wait for.")],
            outputs=[io.AnyType.Output(display_name="lora_name"), io.Float.Output(display_name="strength"),
                     io.String.Output(display_name="prompt"), io.Int.Output(display_name="seed")],
        )

    @classmethod
    def execute(cls, sweep, key, after=None) -> io.NodeOutput:
        found, cell = cell_of(sweep, key)
        found.fail(cell, INTERRUPTED)  # until it is saved; if its nodes fail, it is tried again after the others
        return io.NodeOutput(*values_of(found, cell))


class KeepCell(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_KeepCell", display_name="Keep Cell", category=INTERNAL, is_deprecated=True,
            is_output_node=True, description="Saves one cell. Compose Grid adds this node while it works; do not use "
                                             "it in your own workflows.",
            is_input_list=True,  # the user's nodes may make a list of images, which are all of one cell
            hidden=[io.Hidden.unique_id],
            inputs=[io.String.Input("sweep", tooltip="The sweep's name."),
                    io.String.Input("key", tooltip="The cell's key."), io.Image.Input("images"),
                    io.String.Input("texts", tooltip="The texts to write into the PNG, as JSON."),
                    io.String.Input("node", tooltip="The id of Compose Grid.")],
            outputs=[LoraSweep.Output(display_name="sweep")],
        )

    @classmethod
    def execute(cls, sweep, key, images, texts, node) -> io.NodeOutput:
        found, cell = cell_of(sweep[0], key[0])
        first, *more = made_images(images, as_saved)
        found.save(cell, first, json.loads(texts[0]), more)
        report_progress(found, node[0], found.counts())
        current_session().cells.note(found)
        return io.NodeOutput(found, ui=shown_images([found.picture(cell, number) for number in range(1 + len(more))]))


class ComposedGrid(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ComposedGrid", display_name="Composed Grid", category=INTERNAL, is_deprecated=True,
            description="Makes the sheets once all cells are drawn. Compose Grid adds this node while it works; do not "
                        "use it in your own workflows.",
            inputs=[LoraSweep.Input("sweep"), io.String.Input("style", tooltip="Compose Grid's widgets, as JSON."),
                    io.String.Input("node", tooltip="The id of Compose Grid.")],
            outputs=sheet_outputs(),
        )

    @classmethod
    def execute(cls, sweep, style, node) -> io.NodeOutput:
        return io.NodeOutput(*compose_sheets(sweep, json.loads(style), node).args)


# -- the work ----------------------------------------------------------------------------------------------------------


def sheet_outputs() -> list[Any]:
    """The outputs of a node that stands for Compose Grid."""
    return [LoraSweep.Output(display_name="sweep"),
            io.Image.Output(display_name="sheet", tooltip=(
                "A list as one value, which ComfyUI unpacks as Compose Grid's own.")),
            io.String.Output(display_name="path")]


def values_of(sweep: Sweep, cell: Cell) -> tuple[str, float, str, int]:
    """(LoRA, strength, prompt, seed) of a cell. A cell without the LoRA gets the first one at strength 0, because Load
    LoRA needs a name."""
    first = next(axis for axis in sweep.axes if axis.name == "checkpoint").choices[0].facts["lora"]
    return (cell.facts["lora"] or first, cell.facts["strength"], cell.facts["prompt"], cell.facts["seed"])


def sampled_part(prompt: Any, node_id: str, images: Any) -> Part:
    """The user's nodes between Sweep Values and the images linked to Compose Grid.

    Raises UserError if the sweep comes from another node, or if nothing lies between the two.
    """
    source = prompt.get_node(node_id)["inputs"]["sweep"][0]
    if not prompt.get_node(source)["class_type"].endswith("_SweepValues"):
        raise UserError("images is linked, but the sweep does not come straight from Sweep Values; the sweep of any "
                        "other node already has its images. Remove the link to images.")
    return part_between(prompt.get_node, source, images, "link Sweep Values' outputs to Load LoRA, the text "
                        "encoder and the sampler, and the decoded image to Compose Grid.", FACTS, GIVEN)


def with_sampler(sweep: Sweep, part: Part, contents: str) -> Sweep:
    """Write the sweep, including what the user's nodes decide about its images.

    Args:
        contents: what the node of `Part.add_contents` gave.
    """
    base = part.key(contents, file_facts(choice.label for choice in sweep.choices(PROMPT)))
    sweep = replace(sweep, shared={**sweep.shared, **sampler_facts(part), "base": base})
    sweep.write()
    return sweep


def sampler_facts(part: Part) -> dict[str, Any]:
    """The sampling settings that the user's own nodes show."""
    return {name: part.settings[name] for name in ("steps", "cfg") if name in part.settings}


def cell_of(name: str, key: str) -> tuple[Sweep, Cell]:
    """A sweep by its name, and one of its cells by its key. Raises UserError if there is no such cell."""
    sweep = Sweep.load(paths.own_folder(paths.sweeps_root(), name))
    cell = next((cell for cell in sweep.everything if cell.key == key), None)
    if cell is None:
        raise UserError(f"sweep {name!r} no longer has cell {key!r}, because its values have changed. Press Run again.")
    return sweep, cell


def compose_sheets(sweep: Sweep, style: Mapping[str, Any], node: str) -> io.NodeOutput:
    """The sheets of a sweep, with as many cells as are drawn."""
    _, rows, columns = axes_of(sweep, style["rows"], style["columns"])
    look = SheetStyle(cell=style["cell"], font_size=style["font_size"], wrap=style["wrap"], format=style["format"])
    title = style["title"] or None
    pages = write_sheets(sweep, look, rows, columns, title)
    if style["html"]:
        write_html(sweep, look, rows, columns, title, with_facts=keeps_prompts())
    counts = sweep.counts()
    log_sheet(sweep, pages[0], counts)
    report_progress(sweep, node, counts)
    notes = [*batch_notes(sweep), *style.get("notes", ())]
    show_beside_panel("\n".join((progress_text(**counts), *notes)), node, "\n".join(notes))
    current_session().cells.note(sweep)
    return io.NodeOutput(sweep, [sheet_image(page) for page in pages], output_path(pages[0]))


def expand_cells(graph: RepeatGraph, sweep: Sweep, todo: list[Cell], part: Part, node: str, style: Mapping[str, Any],
                 find: Callable[[str], Node]) -> list[Any]:
    """Add a copy of the user's nodes for every cell, each waiting for the one before. Returns the links to Compose
    Grid's outputs."""
    name, after = sweep.folder.name, None
    for number, cell in enumerate(todo):
        waits: dict[str, Any] = {} if after is None else {"after": after}
        source = graph.node("LoraBootstrap_SweepCell", f"{number}_cell", sweep=name, key=cell.key, **waits)
        made = part.copy(graph, number, {FIRST_SLOT + slot: source.out(slot) for slot in range(len(VALUES))})
        stack = [(lora, *both) for lora, _, *both in sweep.shared["stack"]]
        texts = cell_texts(own_graph(find, part, sweep, cell), parameters(cell, stack))
        keep = graph.node("LoraBootstrap_KeepCell", f"{number}_keep", sweep=name, key=cell.key, images=made,
                          texts=json.dumps(texts), node=node)
        keep.set_override_display_id(node)
        source.set_override_display_id(node)
        after = keep.out(0)
    last = graph.node("LoraBootstrap_ComposedGrid", "composed", sweep=after, style=json.dumps(style), node=node)
    last.set_override_display_id(node)
    return [last.out(slot) for slot in range(3)]


def own_graph(find: Callable[[str], Node], part: Part, sweep: Sweep, cell: Cell) -> dict[str, Node]:
    """The user's own workflow with a cell's values in it, ending in a node that saves the image."""
    values = {FIRST_SLOT + slot: value for slot, value in enumerate(values_of(sweep, cell))}
    whole = above(find, [list(part.end)], stop=part.source)
    for node in whole.values():
        for name, value in node["inputs"].items():
            if is_link(value) and value[0] == part.source:
                node["inputs"][name] = values.get(value[1], value)
    last = 1 + max((int(id) for id in whole if id.isdecimal()), default=0)
    whole[str(last)] = {"class_type": "SaveImage", "inputs": {"images": list(part.end),
                                                              "filename_prefix": f"sweep_{sweep.folder.name}"}}
    return whole
