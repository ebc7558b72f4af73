"""Inputs that several nodes share."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.drawing.sweep_plan import named_bases, named_files, seeds_of, strengths_of
from ..host.drawing.sweep_session import AUTO, NONE
from ..host.eyes import NO_TAGGER
from ..host.taggers import tagger_names
from ..host.working import problem
from ..trainer.sweeps.cells import AXES, STACK
from ..trainer.sweeps.prompt_sets import AS_WRITTEN, SETS
from ..trainer.tagging.tagger import SANDBOX
from .sockets import LoraRun, LoraStack

ONE_BY_ONE, TOGETHER = "one by one", "strengths in one batch"


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


def tagger_input() -> io.Combo.Input:
    names = [name for name in tagger_names() if name != SANDBOX]
    return io.Combo.Input("tagger", options=[NO_TAGGER, *names], default=NO_TAGGER, tooltip=(
        "Looks whether a picture shows the tags that were asked for. The sandbox has its own."))


def clip_vision_input() -> io.ClipVision.Input:
    return io.ClipVision.Input("clip_vision", optional=True, tooltip=(
        "Measures likeness: CLIP or DINOv2 from Load CLIP Vision. Without it CCIP in models/ccip does, or the "
        "sandbox's judge; else likeness is not measured."))
