"""Nodes that draw a LoRA at many settings with ComfyUI's own loader, encoder, sampler and decoder."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import GraphBuilder

from ..host import menu
from ..host.drawing.base_file import base_file
from ..host.drawing.bases import named_bases
from ..host.drawing.cell_graph import LORA_ON, MODEL
from ..host.drawing.lora_loaders import LoraLoader, nearest_loader, short_name, twice_notes
from ..host.drawing.node_place import NodePlace
from ..host.drawing.sampling_figures import BY_MODEL, DrawnModel, Figures, describe_sampling
from ..host.drawing.sweep_draw import Drawing
from ..host.drawing.sweep_plan import Loras, choose_loras, listed_files, lora_axes, strengths_of, sweep_folder
from ..host.drawing.sweep_session import Sampling, bases_of, draw_sheet
from ..host.session import current_session
from ..host.stacks import read_stack
from ..trainer.sweeps.axis_text import lines
from ..trainer.sweeps.cells import PROMPT, Axis, Sweep
from ..trainer.sweeps.prompt_sets import AS_WRITTEN
from .inputs import (
    ONE_BY_ONE,
    TOGETHER,
    axis_choice,
    check_texts,
    compare_input,
    latent_input,
    lora_inputs,
    lora_sources,
    sampler_inputs,
    without_input,
)
from .schema import node_schema
from .sockets import LoraSweep

INTERNAL = f"{menu.SWEEP}/{menu.INTERNAL}"


@dataclass(frozen=True)
class SweepWidgets:
    """The widgets of a node that draws a sweep, except those that choose the LoRAs.

    Attributes:
        kind: part of the name of a sweep that was given none.
        usual: strengths that are drawn where they are left to the model, with those for its distilled forms.
    """

    kind: str
    usual: str
    name: str
    strengths: str
    prompts: str
    prompt_set: str
    seeds: str
    negative: str
    figures: Mapping[str, Any]
    without: bool
    bases: str
    together: bool
    rows: str
    columns: str


class _DrawnSweep(io.ComfyNode):
    """What the nodes that draw a sweep themselves have in common."""

    KIND = ""
    """Part of the name of a sweep that was given none."""
    USUAL = ""
    """Strengths that are drawn where they are left to the model, with those for its distilled forms."""

    @classmethod
    def schema(cls, node_id: str, display_name: str, description: str, checkpoints: str) -> io.Schema:
        return node_schema(
            node_id=node_id, display_name=display_name, category=menu.SWEEP, description=description,
            is_output_node=True, enable_expand=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                io.Model.Input("model"), io.Clip.Input("clip"), io.Vae.Input("vae"),
                *lora_inputs(checkpoints, BY_MODEL, f" {BY_MODEL}: {cls.USUAL}, and those for a distilled base."),
                *sampler_inputs(),
                without_input(),
                io.String.Input("bases", default="", multiline=True, placeholder="other_checkpoint.safetensors",
                                tooltip=("Other base models to try the LoRA on, one per line, as Load Checkpoint or "
                                         "Load Diffusion Model lists them; the latter use the linked text encoder and "
                                         "VAE. * matches anything.")),
                io.Combo.Input("draw", options=[ONE_BY_ONE, TOGETHER], default=ONE_BY_ONE, tooltip=(
                    "one by one: each image is exactly what Load LoRA and KSampler make. strengths in one batch: "
                    "faster on a GPU, the same up to rounding; where the LoRA or the sampler does not allow it, images "
                    "are drawn one by one.")),
                axis_choice("rows", "down the side"), axis_choice("columns", "along the top"),
                *lora_sources(),
                latent_input(),
                compare_input(),
            ],
            outputs=[
                LoraSweep.Output(display_name="sweep", tooltip="The sweep, for Score Sweep and Compose Grid."),
                io.Image.Output(display_name="sheet", is_output_list=True, tooltip="The labelled sheet, page by page."),
            ],
        )

    @classmethod
    def validate_inputs(cls, strengths, seeds, files, bases) -> bool | str:
        return check_texts(cls.USUAL if strengths == BY_MODEL else strengths, seeds, files, bases)

    @classmethod
    def describe_plan(cls, values: Mapping[str, Any], model: DrawnModel, settings: Any) -> str:
        """For the route `plan`: at which strengths it will draw, and how."""
        words = [f"will draw: {describe_sampling(values, model)}"]
        if values.get("strengths") == BY_MODEL:
            words.append(f"strengths {usual_strengths(cls.USUAL, model, values.get('bases', ''))}")
        return " · ".join(words)

    @classmethod
    def fingerprint_inputs(cls, files="", bases="", **_) -> Any:
        if files is None or bases is None:  # linked: the files are known only when the node runs
            return float("nan")
        return [current_session().cells.look(), listed_files(files, bases)]

    @classmethod
    def execute(cls, model, clip, vae, name, checkpoints, files, strengths, prompts, prompt_set, seeds, negative, width,
                height, steps, cfg, sampler_name, scheduler, without, bases, draw, rows, columns, run=None,
                LORA_STACK=None, latent=None, compare=None) -> io.NodeOutput:
        place, stack, more = NodePlace.of(cls.hidden), read_stack(LORA_STACK), read_stack(compare)
        figures = Figures(width, height, steps, cfg, sampler_name, scheduler)
        widgets = SweepWidgets(cls.KIND, cls.USUAL, name, strengths, prompts, prompt_set, seeds, negative,
                               asdict(figures), without, bases, draw == TOGETHER, rows, columns)
        if not (run or stack or more or lines(files)) and (loader := nearest_loader(place.find, place.links)):
            return expand_from_loader(loader, place, widgets)
        loras = choose_loras(run, checkpoints, stack, files, more)
        return draw_widgets(widgets, loras, (model, clip, vae, latent), place, place.id)


class StrengthGrid(_DrawnSweep):
    KIND, USUAL = "strengths", "0.5, 0.7, 0.8, 0.9, 1.0"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return cls.schema(
            node_id="LoraBootstrap_StrengthGrid", display_name="Strength Grid", description=(
            "Draws the same prompts and seeds at several strengths of a LoRA, each image exactly as Load LoRA and "
            "KSampler make it. Every cell is saved as soon as it is drawn; after Cancel, the next Run draws only what "
            "is missing."),
            checkpoints="last")


class CheckpointSweep(_DrawnSweep):
    KIND, USUAL = "checkpoints", "0.8, 1.0"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return cls.schema(
            node_id="LoraBootstrap_CheckpointSweep", display_name="Checkpoint Sweep", description=(
            "Draws the checkpoints of a run side by side, at one strength or several, with the same prompts and seeds. "
            "Every cell is saved as soon as it is drawn. Score Sweep then recommends one."), checkpoints="all")


class DrawLoaderSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_DrawLoaderSweep", display_name="Draw Loader Sweep", category=INTERNAL,
            is_deprecated=True, is_output_node=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            description="Draws a sweep of a Load LoRA node's LoRA, on the model from before that node. Strength Grid "
                        "and Checkpoint Sweep add this node while they work; do not use it in your own workflows.",
            inputs=[io.Model.Input("model"), io.Clip.Input("clip"), io.Vae.Input("vae"),
                    io.String.Input("lora", tooltip="The LoRA's name, as loaders list it."),
                    io.String.Input("loader", tooltip="What the menu calls the loader."),
                    io.Boolean.Input("on_clip", default=True, tooltip="Apply the LoRA to the text encoder too."),
                    io.String.Input("widgets", tooltip="The sweep's widgets, as JSON."),
                    io.String.Input("node", tooltip="The id of the node that sweeps."),
                    io.String.Input("run", default="", tooltip="Another text for each Run, so that none is skipped."),
                    io.Latent.Input("latent", optional=True)],
            outputs=[LoraSweep.Output(display_name="sweep"), io.Image.Output(display_name="sheet", tooltip=(
                "A list as one value, which ComfyUI unpacks as the sweeping node's own."))],
        )

    @classmethod
    def execute(cls, model, clip, vae, lora, loader, on_clip, widgets, node, run="", latent=None) -> io.NodeOutput:
        return draw_widgets(SweepWidgets(**json.loads(widgets)), Loras.of_name(lora), (model, clip, vae, latent),
                            NodePlace.of(cls.hidden), node, {} if on_clip else {LORA_ON: MODEL},
                            [f"{short_name(lora)} from {loader}"])


# -- the work ----------------------------------------------------------------------------------------------------------


def expand_from_loader(loader: LoraLoader, place: NodePlace, widgets: SweepWidgets) -> io.NodeOutput:
    """Go on with a node that is given the models from before the loader, so that its LoRA is not applied twice."""
    graph = GraphBuilder()
    links = {name: link for name, link in place.links.items() if name in ("model", "clip", "vae", "latent")}
    links |= loader.add_links(graph, place.find, links)
    draw = graph.node("LoraBootstrap_DrawLoaderSweep", "draw", **links, lora=loader.lora, loader=loader.title,
                      on_clip=loader.clip is not None, widgets=json.dumps(asdict(widgets)), node=place.id,
                      run=secrets.token_hex(8))
    draw.set_override_display_id(place.id)
    return io.NodeOutput(draw.out(0), draw.out(1), expand=graph.finalize())


def draw_widgets(widgets: SweepWidgets, loras: Loras, linked: tuple[Any, Any, Any, Any], place: NodePlace, node_id: str,
                 facts: Mapping[str, Any] | None = None, notes: Sequence[str] = ()) -> io.NodeOutput:
    """Draw a sweep, and return its outputs.

    Args:
        linked: model, text encoder, VAE and latent, as they come over the links of `place`.
        node_id: the node in which progress is shown.
        facts: what all cells share besides the widgets.
        notes: what else there is to report.
    """
    model, clip, vae, latent = linked
    sampling = Sampling(model, clip, vae, latent, widgets.negative, Figures(**widgets.figures),
                        base_file(model, place.find, place.links["model"]))
    strengths = widgets.strengths
    if strengths == BY_MODEL:
        strengths = usual_strengths(widgets.usual, sampling.drawn, widgets.bases)
    axes = lora_axes(loras, strengths, widgets.prompts, widgets.prompt_set, widgets.seeds,
                     family_of(model) if widgets.prompt_set != AS_WRITTEN else "")
    drawing = plan_drawing(sweep_folder(widgets.name, loras, widgets.kind), axes,
                           {"stack": loras.stack, **(facts or {})}, sampling, place, widgets.bases, widgets.without,
                           widgets.together)
    drawing.notes[:0] = [*notes, *twice_notes(place.find, place.links, loras.files)]
    return draw_sheet(drawing, node_id, widgets.rows, widgets.columns)


def usual_strengths(usual: str, model: DrawnModel, bases: str) -> str:
    """The strengths that are left to the model: the usual ones and those of distilled forms, in order."""
    more = model.strengths([str(base.path) for base in named_bases(bases)])
    return ", ".join(f"{strength:g}" for strength in sorted({*strengths_of(usual), *more}))


def family_of(model: Any) -> str:
    """The name of the model's family, which decides how ready-made prompts are worded."""
    from ..host.backbone.facts import family_name

    return family_name(model)


def plan_drawing(folder: Path, axes: Sequence[Axis], facts: Mapping[str, Any], sampling: Sampling, place: NodePlace,
                 names: str, without: bool, together: bool) -> Drawing:
    """How a sweep of LoRAs over these axes is drawn, on the linked base model and on the named ones."""
    texts = [sampling.negative, *(choice.label for axis in axes if axis.name == PROMPT for choice in axis.choices)]
    of_bases, bases = bases_of(place, sampling, names, texts)
    sweep = Sweep(folder, folder.name, (of_bases, *axes), {**sampling.facts, **facts}, without)
    return sampling.drawing(sweep, place, bases, together)
