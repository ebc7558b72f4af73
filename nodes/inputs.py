"""Inputs that several nodes share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io

from ..host.drawing.bases import named_bases
from ..host.drawing.sampling_figures import BY_MODEL
from ..host.drawing.sweep_plan import named_files, seeds_of, strengths_of
from ..host.drawing.sweep_session import AUTO, NONE
from ..host.eyes import NO_TAGGER
from ..host.taggers import tagger_names
from ..host.working import problem
from ..trainer.captions.kinds import KINDS
from ..trainer.models.families import FAMILIES
from ..trainer.statements.rights import ANSWERS, NOT_STATED, PERSONS, USES, Rights
from ..trainer.sweeps.axis_text import MOST_SEED
from ..trainer.sweeps.cells import AXES, STACK
from ..trainer.sweeps.prompt_sets import AS_WRITTEN, SETS
from ..trainer.tagging.tagger import SANDBOX
from .sockets import LoraDataset, LoraRun, LoraStack, LoraTrainSettings

CONSENT = {"images": "to the use of their images", "training": "to the training",
           "generating": "to images that others generate"}
"""What a person can consent to, in words."""
RIGHTS = ("person", "consent_by", "consent_written", *(f"consent_{use}" for use in USES), "rights_holder")
"""Ids of the inputs about consent and rights."""
ONE_BY_ONE, TOGETHER = "one by one", "strengths in one batch"


def axis_choice(name: str, where: str) -> io.Combo.Input:
    return io.Combo.Input(name, options=[AUTO, *(axis for axis in AXES if axis != STACK), NONE], default=AUTO, tooltip=(
        f"Axis {where} of the sheet. Axes that are neither rows nor columns become pages."))


def lora_inputs(checkpoints: str, strengths: str, more: str = "") -> list[Any]:
    """The widgets that choose what is swept, with their defaults, and what else to say of the strengths."""
    return [
        io.String.Input("name", default="", tooltip=(
            "Name of the sweep and of its folder in output/sweeps. Leave empty to name it after the LoRA. Existing "
            "cells under the same name are not drawn again.")),
        io.String.Input("checkpoints", default=checkpoints, tooltip=(
            "Checkpoints of the linked run: all; last or last 5; every 2 (every second, counted from "
            "the last); or steps: 400, 800-1600 (+400).")),
        io.String.Input("files", default="", multiline=True, placeholder="my_character/*-step*", tooltip=(
            "Names of LoRAs, one per line, as loaders list them. * matches anything.")),
        io.String.Input("strengths", default=strengths, tooltip=(
            "LoRA strengths, for model and text encoder: 0.5, 0.8, 1 or ranges: 0.5-1 (+0.1), 0.5-1 [6]." + more)),
        io.String.Input("prompts", default="", multiline=True, tooltip=(
            "Prompts, one per line, with the LoRA's trigger. Lines that begin with # are ignored.")),
        io.Combo.Input("prompt_set", options=list(SETS), default=AS_WRITTEN, tooltip=(
            "Ready-made lines to append to each prompt, in tags or in sentences as the base reads them. context test: "
            "other settings, outfits and poses. other-base test: a few of each. paraphrase: the same in tags and in a "
            "sentence. from captions: captions that the LoRA was trained on, instead of lines.")),
        io.String.Input("seeds", default="1", tooltip="Seeds: 1, 2, 3 or a range: 1-4.")]


def lora_sources() -> list[Any]:
    """The sockets that provide what is swept."""
    return [
        LoraRun.Input("run", optional=True, tooltip="A run whose checkpoints are swept."),
        LoraStack.Input("LORA_STACK", optional=True, tooltip=(
            "LoRAs. With a run or files: every cell gets them too, for example a style (with Sweep Values, apply them "
            "yourself). Alone: the first LoRA is swept and the others stay fixed."))]


def compare_input() -> LoraStack.Input:
    return LoraStack.Input("compare", optional=True, tooltip=(
        "LoRAs to sweep as well, each by itself at the same strengths, such as Extract LoRA's beside the fine-tune it "
        "was taken from."))


def sampler_inputs() -> list[Any]:
    """The widgets of a sampler that starts from an empty latent."""
    return [
        io.String.Input("negative", default="", multiline=True, tooltip="The negative prompt."),
        *figure_inputs()]


def figure_inputs() -> list[Any]:
    """The widgets of `Figures`, each left to the model at first."""
    import comfy.samplers

    sampler = comfy.samplers.KSampler
    return [
        io.Int.Input("width", default=0, min=0, max=16384, step=8, tooltip=(
            "Width of the empty latent, as in Empty Latent Image. 0: by the model. The sandbox's images are half as "
            "wide.")),
        io.Int.Input("height", default=0, min=0, max=16384, step=8, tooltip=(
            "Height of the empty latent. 0: by the model.")),
        io.Int.Input("steps", default=0, min=0, max=10_000, tooltip="Sampling steps, as in KSampler. 0: by the model."),
        io.Float.Input("cfg", default=-1.0, min=-1.0, max=100.0, step=0.1, tooltip=(
            "Guidance scale, as in KSampler. -1: by the model.")),
        io.Combo.Input("sampler_name", options=[*sampler.SAMPLERS, BY_MODEL], default=BY_MODEL, tooltip=(
            "As in KSampler, or by the model.")),
        io.Combo.Input("scheduler", options=[*sampler.SCHEDULERS, BY_MODEL], default=BY_MODEL, tooltip=(
            "As in KSampler, or by the model."))]


def latent_input() -> io.Latent.Input:
    return io.Latent.Input("latent", optional=True, tooltip=(
        "An empty latent to use instead of width and height, for models that need their own kind."))


def without_input() -> io.Boolean.Input:
    return io.Boolean.Input("without", default=True, tooltip=(
        "Draw each prompt and seed without the LoRA too, for comparison and for the burn and diversity scores."))


def check_texts(strengths: str | None, seeds: str | None, files: str | None, bases: str | None = "") -> bool | str:
    """For validate_inputs: True, or what is wrong."""
    for check, text in ((strengths_of, strengths), (seeds_of, seeds), (named_files, files), (named_bases, bases)):
        if (found := problem(check, text)) is not True:
            return found
    return True


def tagger_input() -> io.Combo.Input:
    names = [name for name in tagger_names() if name != SANDBOX]
    return io.Combo.Input("tagger", options=[NO_TAGGER, *names], default=NO_TAGGER, tooltip=(
        "A tagger that checks whether an image shows the requested tags. The sandbox has its own."))


def clip_vision_input() -> io.ClipVision.Input:
    return io.ClipVision.Input("clip_vision", optional=True, tooltip=(
        "A model that measures likeness: CLIP or DINOv2 from Load CLIP Vision. Without it, CCIP in models/ccip or the "
        "sandbox's judge is used; without those, likeness is not measured."))


def preset_tip(text: str, name: str) -> str:
    """The tooltip, with the presets' values of that name."""
    rows = "; ".join(
        f"{family.title}: {'/'.join(dict.fromkeys(f'{getattr(p, name):g}' for p in family.presets.values()))}"
        for family in FAMILIES.values() if family.presets)
    return f"{text} 0 uses the preset (style/character and concept): {rows}."


def training_sockets(passes: str = "the images", beyond: str = "Without them, the preset is used.") -> list[Any]:
    """What a training is given beside its widgets, and its length in epochs.

    Args:
        passes: what an epoch passes over.
        beyond: what else the node says of Train Settings.
    """
    return [
        LoraTrainSettings.Input("settings", optional=True, tooltip=(
            f"Settings from Train Settings. {beyond}")),
        LoraDataset.Input("validation", optional=True, tooltip=(
            "Images to measure the loss on. They are not trained on.")),
        io.Int.Input("epochs", default=0, min=0, max=100_000, optional=True, tooltip=(
            f"Length in passes over {passes}. It takes the place of steps, so leave steps at 0. 0: steps decides.")),
        LoraDataset.Input("regularisation", optional=True, tooltip=(
            "Images of the class with captions of their own, such as other girls. Every second batch is of them, and "
            "their captions get no trigger, so that the class stays what it is in them.")),
    ]


def train_widgets(name: str = "my_lora") -> list[Any]:
    """The widgets of a training."""
    return [
        io.String.Input("name", default=name, tooltip=(
            "Name of the run and of its file: output/loras/<name>/<name>.safetensors. The same name with other "
            "settings or images becomes a new run, <name>-2.")),
        io.String.Input("trigger", default="", tooltip=(
            "The word that calls the character or concept, such as eiei21girl. It is put first in every caption.")),
        io.Combo.Input("kind", options=list(KINDS), default="character", tooltip=(
            "What the LoRA learns. It selects the preset of the model's family: background, lighting and detail start "
            "like a style, everything else like a character; a real person takes twice the rank, an object and a pose "
            "half.")),
        io.Int.Input("steps", default=0, min=0, max=1_000_000, tooltip=preset_tip(
            "Training steps. The preset's follow the number of images: they are for 25 (a style: 40), half as many at "
            "least and twice as many at most; the node shows the calculation. To train by passes over the images, "
            "leave 0 here and set epochs.", "steps")),
        io.Int.Input("rank", default=0, min=0, max=1024, tooltip=preset_tip("Size of the LoRA.", "rank")),
        io.Float.Input("alpha", default=0.0, min=0.0, max=4096.0, step=0.5, tooltip=preset_tip(
            "The LoRA's effect is scaled by alpha / rank. Doubling the ratio has about the effect of doubling the "
            "learning rate. If you set your own rank, 0 keeps the preset's ratio.", "alpha")),
        io.Float.Input("learning_rate", default=0.0, min=0.0, max=10.0, step=1e-7, tooltip=preset_tip(
            "Learning rate, for the preset's alpha / rank.", "learning_rate")),
        io.Int.Input("batch_size", default=0, min=0, max=4096, tooltip=preset_tip(
            "Images per batch, each with its own caption. More takes more memory.", "batch_size")),
        io.Int.Input("resolution", default=0, min=0, max=8192, step=8, tooltip=(
            "Side in pixels of the square whose area no image exceeds. 0 uses the model's own.")),
        io.Int.Input("seed", default=0, min=0, max=MOST_SEED, control_after_generate=False, tooltip=(
            "The same seed, settings, images and model give the same LoRA on the same machine.")),
        io.Boolean.Input("retrain", default=False, tooltip=(
            "Train again even if the same run exists, finished or not.")),
    ]


def rights_inputs(shown: str, works: str, optional: bool = False) -> list[Any]:
    """Whose likeness it is, who consented, and who holds the rights. Every answer is open at first.

    Args:
        shown: what shows the person: `the LoRA`.
        works: in what somebody holds the rights.
    """
    return [
        io.Combo.Input("person", options=list(PERSONS), default=NOT_STATED, optional=optional, tooltip=(
            f"Whether {shown} shows a real person or an invented one.")),
        io.String.Input("consent_by", default="", optional=optional, tooltip=(
            "Who consented: the person, or who speaks for them.")),
        io.Combo.Input("consent_written", options=list(ANSWERS), default=NOT_STATED, optional=optional, tooltip=(
            "Whether the consent was given in writing.")),
        *(io.Boolean.Input(f"consent_{use}", default=False, optional=optional, tooltip=(
            f"Whether the person consented {words}.")) for use, words in CONSENT.items()),
        io.String.Input("rights_holder", default="", optional=optional, tooltip=f"Who holds the rights in {works}.")]


def read_rights(values: Mapping[str, Any]) -> Rights:
    """What the inputs of `rights_inputs` state, by their ids; those that are left out state nothing. Raises UserError
    for invalid answers."""
    return Rights(person=values.get("person", NOT_STATED), consent_by=values.get("consent_by", "").strip(),
                  consent_written=values.get("consent_written", NOT_STATED),
                  consent_uses=tuple(use for use in USES if values.get(f"consent_{use}", False)),
                  holder=values.get("rights_holder", "").strip())
