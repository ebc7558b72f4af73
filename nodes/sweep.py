"""Nodes that draw a LoRA at many settings with ComfyUI's own loader, encoder, sampler and decoder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..host import menu
from ..host.drawing.base_file import base_file
from ..host.drawing.bases import named_bases
from ..host.drawing.node_place import NodePlace
from ..host.drawing.sampling_figures import BY_MODEL, DrawnModel, Figures, describe_sampling
from ..host.drawing.sweep_draw import Drawing
from ..host.drawing.sweep_plan import choose_loras, listed_files, lora_axes, strengths_of, sweep_folder
from ..host.drawing.sweep_session import Sampling, bases_of, draw_sheet
from ..host.session import current_session
from ..host.stacks import read_stack
from ..trainer.sweeps.cells import PROMPT, Axis, Sweep
from ..trainer.sweeps.prompt_sets import AS_WRITTEN
from .inputs import (
    ONE_BY_ONE,
    TOGETHER,
    axis_choice,
    check_texts,
    latent_input,
    lora_inputs,
    lora_sources,
    sampler_inputs,
    without_input,
)
from .schema import node_schema
from .sockets import LoraSweep


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
            is_output_node=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
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
            words.append(f"strengths {cls.usual_strengths(model, values.get('bases', ''))}")
        return " · ".join(words)

    @classmethod
    def fingerprint_inputs(cls, files="", bases="", **_) -> Any:
        if files is None or bases is None:  # linked: the files are known only when the node runs
            return float("nan")
        return [current_session().cells.look(), listed_files(files, bases)]

    @classmethod
    def execute(cls, model, clip, vae, name, checkpoints, files, strengths, prompts, prompt_set, seeds, negative, width,
                height, steps, cfg, sampler_name, scheduler, without, bases, draw, rows, columns, run=None,
                LORA_STACK=None, latent=None) -> io.NodeOutput:
        place = NodePlace.of(cls.hidden)
        sampling = Sampling(model, clip, vae, latent, negative,
                            Figures(width, height, steps, cfg, sampler_name, scheduler),
                            base_file(model, place.find, place.links["model"]))
        loras = choose_loras(run, checkpoints, read_stack(LORA_STACK), files)
        if strengths == BY_MODEL:
            strengths = cls.usual_strengths(sampling.drawn, bases)
        axes = lora_axes(loras, strengths, prompts, prompt_set, seeds,
                         family_of(model) if prompt_set != AS_WRITTEN else "")
        drawing = plan_drawing(sweep_folder(name, loras, cls.KIND), axes, loras.stack, sampling, place, bases, without,
                               draw == TOGETHER)
        return draw_sheet(drawing, place.id, rows, columns)

    @classmethod
    def usual_strengths(cls, model: DrawnModel, bases: str) -> str:
        more = model.strengths([str(base.path) for base in named_bases(bases)])
        return word_strengths(cls.USUAL, more)


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


# -- the work ----------------------------------------------------------------------------------------------------------


def word_strengths(usual: str, more: Iterable[float]) -> str:
    """The usual strengths and those of distilled forms, in order."""
    return ", ".join(f"{strength:g}" for strength in sorted({*strengths_of(usual), *more}))


def family_of(model: Any) -> str:
    """The name of the model's family, which decides how ready-made prompts are worded."""
    from ..host.backbone.facts import family_name

    return family_name(model)


def plan_drawing(folder: Path, axes: Sequence[Axis], stack: list[list[Any]], sampling: Sampling, place: NodePlace,
                 names: str, without: bool, together: bool) -> Drawing:
    """How a sweep of LoRAs over these axes is drawn, on the linked base model and on the named ones."""
    texts = [sampling.negative, *(choice.label for axis in axes if axis.name == PROMPT for choice in axis.choices)]
    of_bases, bases = bases_of(place, sampling, names, texts)
    sweep = Sweep(folder, folder.name, (of_bases, *axes), {**sampling.facts, "stack": stack}, without)
    return sampling.drawing(sweep, place, bases, together)
