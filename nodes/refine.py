"""The node that finds the best strengths of a character and a style by drawing them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..host import menu
from ..host.drawing.base_file import base_file
from ..host.drawing.cell_graph import above
from ..host.drawing.lora_loaders import twice_notes
from ..host.drawing.node_place import NodePlace
from ..host.drawing.pictures import to_batch
from ..host.drawing.sampling_figures import DrawnModel, Figures, describe_sampling
from ..host.drawing.sweep_draw import Drawing
from ..host.drawing.sweep_plan import LoraEntry, named_folder, seeds_of, strengths_of
from ..host.drawing.sweep_session import (
    Sampling,
    bases_of,
    batch_notes,
    draw_missing,
    log_sheet,
    lora_facts,
    progress_text,
    sheet_image,
    sweep_ui,
)
from ..host.eyes import choose_eye, tag_reader
from ..host.session import current_session
from ..host.shown_text import has_panels
from ..host.stacks import StackFacts, read_stack, stack_entries, strengths_file
from ..host.working import Work, follow, problem, show_report
from ..trainer.common.errors import UserError
from ..trainer.lora.hashes import tensor_hash
from ..trainer.stacks.conflict_picture import heat_picture
from ..trainer.stacks.known_strengths import KnownLora, MeasuredPair, remember
from ..trainer.stacks.stack import join_names, roles
from ..trainer.sweeps.axis_text import lines
from ..trainer.sweeps.cells import BASE, STACK, STRENGTH, Sweep
from ..trainer.sweeps.log import SCORES, add_to_log
from ..trainer.sweeps.refine import FIGURES, Refinement, Stacked, heat_maps, pair_sweep, refine, write_refinement
from ..trainer.sweeps.sheets import write_sheets
from ..trainer.tagging.tagger import SANDBOX
from .inputs import clip_vision_input, latent_input, sampler_inputs, tagger_input
from .schema import node_schema
from .sockets import LoraDataset, LoraStack, LoraSweep

LONGEST_LABEL = 24
LOADED_BY = ("ckpt_name", "unet_name", "model_name", "gguf_name")
"""Widgets of loaders that name a base model."""


class RefineStrengths(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_RefineStrengths", display_name="Refine Strengths", category=menu.STACK,
            description="Draws every combination of a character's and a style's strengths, and picks the pair with the "
                        "best harmonic mean of identity, style and prompt. Every cell is saved as soon as it is drawn; "
                        "after Cancel, the next Run draws only what is missing.",
            is_output_node=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                io.Model.Input("model", tooltip="The base model, without these LoRAs."),
                io.Clip.Input("clip", tooltip="Its text encoder."), io.Vae.Input("vae", tooltip="Its VAE."),
                LoraStack.Input("LORA_STACK", tooltip=(
                    "A character and a style: the LoRAs whose files say so, or else the first and the second. Others "
                    "stay fixed in every cell.")),
                io.String.Input("name", default="", tooltip=(
                    "Name of the sweep and of its folder in output/sweeps. Leave empty to name it after the two LoRAs. "
                    "Existing cells under the same name are not drawn again.")),
                io.String.Input("prompts", default="", multiline=True, tooltip=(
                    "Prompts, one per line, with the triggers of both LoRAs. Use two or three that show different "
                    "things. Lines that begin with # are ignored.")),
                io.String.Input("seeds", default="1, 2", tooltip="Seeds: 1, 2, 3 or a range: 1-4."),
                io.String.Input("character_strengths", default="0.5, 0.65, 0.8, 0.9, 1.0", tooltip=(
                    "Strengths of the character, for model and text encoder, above 0: 0.5, 0.8, 1 or ranges: 0.5-1 "
                    "(+0.1), 0.5-1 [6].")),
                io.String.Input("style_strengths", default="0.3, 0.4, 0.5, 0.65, 0.8", tooltip=(
                    "Strengths of the style, in the same form. Each is drawn with each of the character's.")),
                *sampler_inputs(),
                tagger_input(),
                LoraDataset.Input("dataset", optional=True, tooltip=(
                    "Images of the character, such as its training images. Identity is the likeness to them. Without "
                    "it, identity is the likeness to what the character LoRA draws alone.")),
                clip_vision_input(),
                latent_input(),
            ],
            outputs=[
                LoraStack.Output(display_name="LORA_STACK", tooltip=(
                    "The stack, with both LoRAs at the best pair of strengths.")),
                LoraSweep.Output(display_name="sweep", tooltip="The sweep, for Compose Grid."),
                io.Image.Output(display_name="sheet", is_output_list=True, tooltip=(
                    "The labelled sheets: the style's strengths down, the character's across, one page per prompt and "
                    "seed.")),
                io.Image.Output(display_name="heat_maps", is_output_list=True, tooltip=(
                    "The harmonic mean of every pair, then identity, style and prompt where they were measured.")),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def describe_plan(cls, values: Mapping[str, Any], model: DrawnModel, settings: Any) -> str:
        """For the route `plan`: how it will draw."""
        return f"will draw: {describe_sampling(values, model)}"

    @classmethod
    def validate_inputs(cls, character_strengths, style_strengths, seeds) -> bool | str:
        for check, text in ((above_zero, character_strengths), (above_zero, style_strengths), (seeds_of, seeds)):
            if (found := problem(check, text)) is not True:
                return found
        return True

    @classmethod
    def fingerprint_inputs(cls, **_) -> Any:
        return current_session().cells.look()

    @classmethod
    def execute(cls, model, clip, vae, LORA_STACK, name, prompts, seeds, character_strengths, style_strengths, negative,
                width, height, steps, cfg, sampler_name, scheduler, tagger, dataset=None, clip_vision=None,
                latent=None) -> io.NodeOutput:
        place, two = NodePlace.of(cls.hidden), TwoLoras.of(read_stack(LORA_STACK))
        sampling = Sampling(model, clip, vae, latent, negative,
                            Figures(width, height, steps, cfg, sampler_name, scheduler),
                            base_file(model, place.find, place.links["model"]))
        sweep = plan_pair(two, sampling, place, name, (character_strengths, style_strengths), prompts, seeds)
        pages = draw_pair(sampling.drawing(sweep, place), place.id)
        result = judge_pair(sweep, two, dataset, clip_vision, tagger, place.id)
        notes = [*twice_notes(place.find, place.links, two.files),
                 *record_result(sweep, result, two, base_label(place.find, place.links["model"]), pages[0])]
        return pair_output(sweep, result, two, pages, notes, place.id)


# -- the work ----------------------------------------------------------------------------------------------------------


class TwoLoras:
    """A stack's character and style, and the other LoRAs in it.

    Attributes:
        names: names of both, without their steps; `labels` are short enough for a sheet.
        below: the other LoRAs as facts of a cell.
        files: the files of all of them.
        triggers: the trigger words of all LoRAs whose files contain them.
    """

    def __init__(self, stack: Sequence[LoraEntry], places: tuple[int, int], files: Sequence[Path],
                 names: Sequence[str]) -> None:
        self.stack, self.places, self.files = stack, places, tuple(files)
        first, second = (_without_step(names[place]) for place in places)
        self.names = (first, second) if first != second else (names[places[0]], names[places[1]])
        first, second = (name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…" for name in self.names)
        self.labels = (first, second) if first != second else self.names
        self.character, self.style = (Stacked(stack[place][0], files[place], label)
                                      for place, label in zip(places, self.labels, strict=True))
        self.below = [[name, tensor_hash(file), of_model, of_clip] for place, ((name, of_model, of_clip), file)
                      in enumerate(zip(stack, files, strict=True)) if place not in places]
        self.triggers = StackFacts([(name, 1.0, 1.0) for name, *_ in stack]).triggers

    @classmethod
    def of(cls, stack: list[LoraEntry]) -> TwoLoras:
        """Raises UserError if there are fewer than two, or if a file is missing."""
        entries = stack_entries(stack)
        return cls(stack, roles(entries, "a pair of strengths"), [entry.path for entry in entries],
                   [entry.name for entry in entries])

    def stack_at_best(self, result: Refinement) -> Any:
        """The stack at the best strengths; an ExecutionBlocker if nothing is recommended."""
        best = result.best_pair
        if best is None:
            return ExecutionBlocker(result.lines[0])
        strengths = dict(zip(self.places, (best.character, best.style_strength), strict=True))
        return [(name, strengths[place], strengths[place]) if place in strengths else (name, of_model, of_clip)
                for place, (name, of_model, of_clip) in enumerate(self.stack)]


def plan_pair(two: TwoLoras, sampling: Sampling, place: NodePlace, name: str, strengths: tuple[str, str], prompts: str,
              seeds: str) -> Sweep:
    """The sweep of every pair of the strengths (the character's, the style's), from the widgets."""
    of_bases, _ = bases_of(place, sampling, "", [sampling.negative, *lines(prompts)])
    folder = named_folder(name, f"{join_names(two.names)}-strengths")
    of_character, of_style = map(above_zero, strengths)
    return pair_sweep(folder, of_bases, two.character, two.style, (of_character, of_style), below=two.below,
                      prompts=lines(prompts), seeds=seeds_of(seeds), shared=sampling.facts)


def draw_pair(drawing: Drawing, node_id: str) -> list[Path]:
    """Draw the missing cells, and return the sheets, which are written even if the drawing ends early."""
    try:
        draw_missing(drawing, node_id)
    finally:
        pages = write_sheets(drawing.sweep, rows=STACK, columns=STRENGTH)
    return pages


def judge_pair(sweep: Sweep, two: TwoLoras, dataset: Any, clip_vision: Any, tagger: str, node_id: str) -> Refinement:
    """Find the best pair of strengths, measured with what is linked."""
    eye = choose_eye(lora_facts(sweep)["family"] == SANDBOX, clip_vision, tag_reader(tagger, node_id))
    return follow(refine(sweep, two.labels, eye=eye, training=dataset, triggers=two.triggers), Work(node_id))


def pair_output(sweep: Sweep, result: Refinement, two: TwoLoras, pages: Sequence[Path], notes: Sequence[str],
                node_id: str) -> io.NodeOutput:
    """The node's outputs; the node also shows the report."""
    counts, report = sweep.counts(), "\n".join((result.text(), *notes))
    counted = [] if has_panels() else [progress_text(**counts)]
    show_report("\n".join((*counted, *batch_notes(sweep), report)), node_id)
    return io.NodeOutput(two.stack_at_best(result), sweep, [sheet_image(page) for page in pages],
                         [to_batch(heat_picture(heat)) for heat in heat_maps(sweep, result).values()], report,
                         ui=sweep_ui(sweep, counts))


def _without_step(name: str) -> str:
    return re.sub(r"-step\d{6}$", "", name.rpartition("/")[2])


def above_zero(text: str) -> tuple[float, ...]:
    """The strengths in a widget's text. Raises UserError if one is 0 or less."""
    values = strengths_of(text)
    if min(values) <= 0:
        raise UserError(f"strengths {text!r} must all be above 0; each LoRA is also drawn alone.")
    return values


def base_label(find: Any, link: list[Any]) -> str:
    """What a person calls the base model: the file that its loader names, or else the loader."""
    nodes: Mapping[str, Any] = above(find, [link])
    for node in nodes.values():
        for widget in LOADED_BY:
            if isinstance(name := node["inputs"].get(widget), str):
                return Path(name.replace("\\", "/")).stem
    kinds = [node["class_type"] for node in nodes.values()]
    return "the sandbox" if "LoraBootstrap_LoadSandbox" in kinds else kinds[-1]


def record_result(sweep: Sweep, result: Refinement, two: TwoLoras, base: str, page: Path) -> list[str]:
    """Write the result, and save the best strengths. Returns what else there is to report."""
    written = write_refinement(sweep, result)
    notes = log_sheet(sweep, page, sweep.counts())
    if "harmonic" in written:
        notes.append(add_to_log(sweep, written["harmonic"], SCORES, result.lines[0]))
    best = result.best_pair
    if best is None:
        return [note for note in dict.fromkeys(notes) if note]
    known = MeasuredPair(
        base=base, character=KnownLora.of(two.character.name, two.character.path, best.character),
        style=KnownLora.of(two.style.name, two.style.path, best.style_strength),
        scores={name: getattr(best, name) for name in FIGURES}, eye=result.eye, sweep=sweep.folder.name,
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"))
    notes.append(remember(strengths_file(), sweep.choices(BASE)[0].facts["base"], known))
    return [note for note in dict.fromkeys(notes) if note]
