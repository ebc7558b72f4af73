"""Nodes that draw a LoRA at many settings with the host's own loader, encoder, sampler and decoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import folder_paths
from comfy_api.latest import io

from ..host.drawing.cell_graph import PICTURE, below, parameters, whole_graph
from ..host.drawing.pictures import to_batch
from ..host.drawing.repeat import Node, recipe
from ..host.drawing.runner import Graph, Runner
from ..host.drawing.sweep_draw import Drawing
from ..host.drawing.sweep_plan import (
    choose_loras,
    lora_axes,
    named_bases,
    named_files,
    seeds_of,
    strengths_of,
    sweep_folder,
)
from ..host.events import tell_sweep
from ..host.progress import show_text
from ..host.session import current_session
from ..host.working import problem
from ..trainer.common.errors import UserError, unknown_name
from ..trainer.pictures.images import open_image
from ..trainer.pictures.sheet import SheetStyle
from ..trainer.sweeps.cells import AXES, STACK, Axis, Cell, Sweep, base_axis
from ..trainer.sweeps.log import SHEET, log_picture
from ..trainer.sweeps.prompt_sets import AS_WRITTEN, SETS
from ..trainer.sweeps.sheets import choose_axes, write_sheets
from .sockets import LoraRun, LoraStack, LoraSweep

CATEGORY = "LoRA Bootstrap/sweep"
AUTO, NONE = "auto", "none"
LINKED = "as linked"
"""What the linked model is called on the axis of bases."""
ONE_BY_ONE, TOGETHER = "one by one", "strengths in one batch"
SHOWN_SIDE = 4096
"""Most pixels of a side of a sheet that goes on as an IMAGE; the file has them all."""


def axis_choice(name: str, where: str) -> io.Combo.Input:
    return io.Combo.Input(name, options=[AUTO, *(axis for axis in AXES if axis != STACK), NONE], default=AUTO, tooltip=(
        f"What stands {where} on the sheet. Axes that are neither rows nor columns become pages."))


def lora_inputs(checkpoints: str, strengths: str) -> list[Any]:
    """The widgets that choose what is swept, with their defaults."""
    return [
        io.String.Input("name", default="", tooltip=(
            "Of the sweep and its folder in output/sweeps; empty: by the LoRA. Under one name, cells that are there "
            "are not drawn again.")),
        io.String.Input("checkpoints", default=checkpoints, tooltip=(
            "Of the linked run: all; last or last 5; every 2; or steps: 400, 800-1600 (+400).")),
        io.String.Input("files", default="", multiline=True, placeholder="my_character/*-step*", tooltip=(
            "LoRAs by name, one on each line, as loaders list them; * stands for anything.")),
        io.String.Input("strengths", default=strengths, tooltip=(
            "Of the model and the text encoder alike: 0.5, 0.8, 1 or ranges: 0.5-1 (+0.1), 0.5-1 [6].")),
        io.String.Input("prompts", default="", multiline=True, tooltip=(
            "One on each line, with the LoRA's trigger. A line that begins with # is left out.")),
        io.Combo.Input("prompt_set", options=list(SETS), default=AS_WRITTEN, tooltip=(
            "Puts ready lines behind each prompt. context test: other settings, outfits and poses. other-base test: "
            "a few of each.")),
        io.String.Input("seeds", default="1", tooltip="1, 2, 3 or a range: 1-4.")]


def lora_sources() -> list[Any]:
    """The sockets that what is swept comes from."""
    return [
        LoraRun.Input("run", optional=True, tooltip="Its checkpoints are swept."),
        LoraStack.Input("LORA_STACK", optional=True, tooltip=(
            "With a run or files: LoRAs that every cell has besides, such as a style. Alone: its first LoRA is swept, "
            "the others stay as they are."))]


def sampler_inputs() -> list[Any]:
    """The widgets of a sampler that starts from an empty latent."""
    import comfy.samplers

    return [
        io.String.Input("negative", default="", multiline=True, tooltip="The negative prompt."),
        io.Int.Input("width", default=1024, min=16, max=16384, step=8, tooltip=(
            "Of the empty latent, as Empty Latent Image has it. The sandbox's pictures are half as wide.")),
        io.Int.Input("height", default=1024, min=16, max=16384, step=8, tooltip="Of the empty latent."),
        io.Int.Input("steps", default=20, min=1, max=10_000, tooltip="Of the sampler."),
        io.Float.Input("cfg", default=6.0, min=0.0, max=100.0, step=0.1, tooltip="Guidance."),
        io.Combo.Input("sampler_name", options=list(comfy.samplers.KSampler.SAMPLERS), default="euler",
                       tooltip="As in KSampler."),
        io.Combo.Input("scheduler", options=list(comfy.samplers.KSampler.SCHEDULERS), default="normal",
                       tooltip="As in KSampler.")]


def latent_input() -> io.Latent.Input:
    return io.Latent.Input("latent", optional=True, tooltip=(
        "An empty latent in place of width and height, for models that need one of their own."))


def without_input() -> io.Boolean.Input:
    return io.Boolean.Input("without", default=True, tooltip=(
        "Draw each prompt and seed also without the LoRA: to compare with, and for the scores of burn and diversity."))


def check_texts(strengths: str | None, seeds: str | None, files: str | None, bases: str | None = "") -> bool | str:
    """For validate_inputs: True, or what is wrong."""
    for check, text in ((strengths_of, strengths), (seeds_of, seeds), (named_files, files), (named_bases, bases)):
        if (found := problem(check, text)) is not True:
            return found
    return True


class _DrawnSweep(io.ComfyNode):
    """What the nodes have in common that draw a sweep themselves."""

    KIND = ""
    """In the name of a sweep that was given none."""

    @classmethod
    def schema(cls, node_id: str, display_name: str, description: str, checkpoints: str,
               strengths: str) -> io.Schema:
        return io.Schema(
            node_id=node_id, display_name=display_name, category=CATEGORY, description=description,
            is_output_node=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                io.Model.Input("model"), io.Clip.Input("clip"), io.Vae.Input("vae"),
                *lora_inputs(checkpoints, strengths),
                *sampler_inputs(),
                without_input(),
                io.String.Input("bases", default="", multiline=True, placeholder="other_checkpoint.safetensors",
                                tooltip=("Other base checkpoints to try the LoRA on, one on each line, as Load "
                                         "Checkpoint lists them; * stands for anything.")),
                io.Combo.Input("draw", options=[ONE_BY_ONE, TOGETHER], default=ONE_BY_ONE, tooltip=(
                    "one by one: each picture is exactly what Load LoRA and KSampler make. strengths in one batch: "
                    "faster on a GPU, the same up to rounding; where the LoRA or the sampler does not allow it, one by "
                    "one.")),
                axis_choice("rows", "down the side"), axis_choice("columns", "along the top"),
                *lora_sources(),
                latent_input(),
            ],
            outputs=[
                LoraSweep.Output(display_name="sweep", tooltip="For Score Sweep and Compose Grid."),
                io.Image.Output(display_name="sheet", is_output_list=True, tooltip="The labelled sheet, page by page."),
            ],
        )

    @classmethod
    def validate_inputs(cls, strengths, seeds, files, bases) -> bool | str:
        return check_texts(strengths, seeds, files, bases)

    @classmethod
    def fingerprint_inputs(cls, **_) -> Any:
        return current_session().cells.look()

    @classmethod
    def execute(cls, model, clip, vae, name, checkpoints, files, strengths, prompts, prompt_set, seeds, negative, width,
                height, steps, cfg, sampler_name, scheduler, without, bases, draw, rows, columns, run=None,
                LORA_STACK=None, latent=None) -> io.NodeOutput:
        me, find = cls.hidden.unique_id, cls.hidden.dynprompt.get_node
        links = find(me)["inputs"]
        loras = choose_loras(run, checkpoints, LORA_STACK, files)
        facts = {"negative": negative, "steps": steps, "cfg": cfg, "sampler": sampler_name, "scheduler": scheduler,
                 "stack": loras.stack,
                 **({"width": width, "height": height} if latent is None else {"latent": latent_hash(latent)})}
        of_bases, checkpoints_by_base = bases_of(find, links, (model, clip, vae), bases)
        axes = lora_axes(loras, strengths, prompts, prompt_set, seeds)
        folder = sweep_folder(name, loras, cls.KIND)
        sweep = Sweep(folder, folder.name, (of_bases, *axes), facts, without)
        axes_of(sweep, rows, columns)
        given = {"model": (model,), "clip": (clip,), "vae": (vae,), "latent": (latent,)}
        if latent is None:
            del given["latent"]
        notes: list[str] = []
        drawing = Drawing(sweep, Runner(given), checkpoints_by_base, latent is not None, draw == TOGETHER,
                          partial(texts_of, find, links, folder.name), notes)
        try:
            draw_missing(drawing, me)
        except BaseException:
            write_sheets(sweep, *axes_of(sweep, rows, columns))
            raise
        return finished(sweep, me, rows, columns, notes)


class StrengthGrid(_DrawnSweep):
    KIND = "strengths"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return cls.schema(
            node_id="LoraBootstrap_StrengthGrid", display_name="Strength Grid", description=(
            "The same prompts and seeds at several strengths of a LoRA, each picture exactly as Load LoRA and KSampler "
            "make it. Every cell is kept as soon as it is drawn: Cancel and Run again draws what is missing."),
            checkpoints="last", strengths="0.5, 0.7, 0.8, 0.9, 1.0")


class CheckpointSweep(_DrawnSweep):
    KIND = "checkpoints"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return cls.schema(
            node_id="LoraBootstrap_CheckpointSweep", display_name="Checkpoint Sweep", description=(
            "The checkpoints of a run side by side, at one strength or several: same prompts, same seeds. Every cell "
            "is kept as soon as it is drawn. Score Sweep then says which to take."), checkpoints="all",
            strengths="0.8, 1.0")


# -- the work ----------------------------------------------------------------------------------------------------------


def bases_of(find: Any, links: Mapping[str, Any], linked: tuple[Any, Any, Any],
             names: str) -> tuple[Axis, dict[str, str]]:
    """The axis of bases, the linked one first, and the checkpoint of each of the others by its fact."""
    from ..host.backbone.model import fingerprint

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
        current_session().cells.note(sweep)
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
