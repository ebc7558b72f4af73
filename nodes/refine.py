"""The node that finds the strengths of a character and a style by their pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..host import menu
from ..host.drawing.cell_graph import above
from ..host.drawing.pictures import to_batch
from ..host.drawing.sweep_draw import Drawing
from ..host.drawing.sweep_plan import LEFT, LoraEntry, named_folder, seeds_of, strengths_of
from ..host.drawing.sweep_session import (
    NodePlace,
    Sampling,
    bases_of,
    count_states,
    draw_missing,
    lora_facts,
    progress_text,
    sheet_image,
    sweep_ui,
)
from ..host.eyes import choose_eye, tag_reader
from ..host.stacks import StackFacts, read_stack, stack_entries, strengths_file
from ..host.working import Work, follow, problem, show_report
from ..trainer.common.errors import UserError
from ..trainer.common.files import file_hash
from ..trainer.stacks.conflict_picture import heat_picture
from ..trainer.stacks.known_strengths import Known, KnownLora, remember
from ..trainer.stacks.stack import joined_names, roles
from ..trainer.sweeps.axis_text import lines
from ..trainer.sweeps.cells import BASE, STACK, STRENGTH, Sweep
from ..trainer.sweeps.log import SCORES, SHEET, log_picture
from ..trainer.sweeps.refine import FIGURES, Refinement, Stacked, heat_maps, pair_sweep, refine, write_refinement
from ..trainer.sweeps.sheets import write_sheets
from ..trainer.tagging.tagger import SANDBOX
from .inputs import clip_vision_input, latent_input, sampler_inputs, tagger_input
from .sockets import LoraDataset, LoraStack, LoraSweep

LONGEST_LABEL = 24
LOADED_BY = ("ckpt_name", "unet_name", "model_name", "gguf_name")
"""Widgets of loaders that name a base."""


class RefineStrengths(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_RefineStrengths", display_name="Refine Strengths", category=menu.STACK,
            description="Draws a character and a style at every two of their strengths and takes the pair with the "
                        "best harmonic mean of identity, style and prompt. Every cell is kept as soon as it is drawn: "
                        "Cancel and Run again draws what is missing.",
            is_output_node=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                io.Model.Input("model", tooltip="The base, without these LoRAs."),
                io.Clip.Input("clip", tooltip="Its text encoder."), io.Vae.Input("vae", tooltip="Its VAE."),
                LoraStack.Input("LORA_STACK", tooltip=(
                    "A character and a style: as their files say, else the first and the second. Others stay as they "
                    "are, in every cell.")),
                io.String.Input("name", default="", tooltip=(
                    "Of the sweep and its folder in output/sweeps; empty: by the LoRAs. Under one name, cells that are "
                    "there are not drawn again.")),
                io.String.Input("prompts", default="", multiline=True, tooltip=(
                    "One on each line, with the triggers of both LoRAs. Two or three, with different things to see. A "
                    "line that begins with # is left out.")),
                io.String.Input("seeds", default="1, 2", tooltip="1, 2, 3 or a range: 1-4."),
                io.String.Input("character_strengths", default="0.5, 0.65, 0.8, 0.9, 1.0", tooltip=(
                    "Of the model and the text encoder alike, above 0: 0.5, 0.8, 1 or ranges: 0.5-1 (+0.1), 0.5-1 "
                    "[6].")),
                io.String.Input("style_strengths", default="0.3, 0.4, 0.5, 0.65, 0.8", tooltip=(
                    "Likewise. Each is drawn with each of the character's.")),
                *sampler_inputs(),
                tagger_input(),
                LoraDataset.Input("dataset", optional=True, tooltip=(
                    "Pictures of the character, such as those it was trained on: identity is likeness to them. Without "
                    "it, to what the character alone draws.")),
                clip_vision_input(),
                latent_input(),
            ],
            outputs=[
                LoraStack.Output(display_name="LORA_STACK", tooltip="The stack at the strengths to take."),
                LoraSweep.Output(display_name="sweep", tooltip="For Compose Grid."),
                io.Image.Output(display_name="sheet", is_output_list=True, tooltip=(
                    "The style's strengths down, the character's across; a page for each prompt and seed.")),
                io.Image.Output(display_name="heat_maps", is_output_list=True, tooltip=(
                    "The harmonic mean of each pair, then identity, style and prompt, as far as measured.")),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, character_strengths, style_strengths, seeds) -> bool | str:
        for check, text in ((above_zero, character_strengths), (above_zero, style_strengths), (seeds_of, seeds)):
            if (found := problem(check, text)) is not True:
                return found
        return True

    @classmethod
    def fingerprint_inputs(cls, **_) -> Any:
        return LEFT.look()

    @classmethod
    def execute(cls, model, clip, vae, LORA_STACK, name, prompts, seeds, character_strengths, style_strengths, negative,
                width, height, steps, cfg, sampler_name, scheduler, tagger, dataset=None, clip_vision=None,
                latent=None) -> io.NodeOutput:
        place, two = NodePlace.of(cls.hidden), TwoLoras.of(read_stack(LORA_STACK))
        sampling = Sampling(model, clip, vae, latent, negative, width, height, steps, cfg, sampler_name, scheduler)
        sweep = plan_pair(two, sampling, place, name, (character_strengths, style_strengths), prompts, seeds)
        pages = draw_pair(sampling.drawing(sweep, place), place.id)
        result = judge_pair(sweep, two, dataset, clip_vision, tagger, place.id)
        notes = record_result(sweep, result, two, base_name(place.find, place.links["model"]), pages[0])
        return pair_output(sweep, result, two, pages, notes, place.id)


# -- the work ----------------------------------------------------------------------------------------------------------


class TwoLoras:
    """A stack's character and style, and what else is in it.

    Attributes:
        names: of both, without their steps; `labels` are short enough for a sheet.
        below: the others as facts of a cell.
        triggers: of all, as far as their files tell.
    """

    def __init__(self, stack: Sequence[LoraEntry], places: tuple[int, int], files: Sequence[Path],
                 names: Sequence[str]) -> None:
        self.stack, self.places = stack, places
        plain = tuple(_without_step(names[place]) for place in places)
        self.names = plain if plain[0] != plain[1] else tuple(names[place] for place in places)
        short = tuple(name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…" for name in self.names)
        self.labels = short if short[0] != short[1] else self.names
        self.character, self.style = (Stacked(stack[place][0], files[place], label)
                                      for place, label in zip(places, self.labels, strict=True))
        self.below = [[name, file_hash(file), of_model, of_clip] for place, ((name, of_model, of_clip), file)
                      in enumerate(zip(stack, files, strict=True)) if place not in places]
        self.triggers = StackFacts([(name, 1.0, 1.0) for name, *_ in stack]).triggers

    @classmethod
    def of(cls, stack: list[LoraEntry]) -> TwoLoras:
        """Raises UserError if there are no two, or a file is not there."""
        entries = stack_entries(stack)
        return cls(stack, roles(entries, "a pair of strengths"), [entry.path for entry in entries],
                   [entry.name for entry in entries])

    def stack_at_best(self, result: Refinement) -> Any:
        """The stack at the best strengths; blocked if nothing is recommended."""
        best = result.taken
        if best is None:
            return ExecutionBlocker(result.lines[0])
        strengths = dict(zip(self.places, (best.character, best.style_strength), strict=True))
        return [(name, strengths[place], strengths[place]) if place in strengths else (name, of_model, of_clip)
                for place, (name, of_model, of_clip) in enumerate(self.stack)]


def plan_pair(two: TwoLoras, sampling: Sampling, place: NodePlace, name: str, strengths: tuple[str, str], prompts: str,
              seeds: str) -> Sweep:
    """The sweep of every two of the strengths (the character's, the style's), as the widgets say."""
    of_bases, _ = bases_of(place.find, place.links, sampling.linked, "")
    folder = named_folder(name, f"{joined_names(two.names)}-strengths")
    of_character, of_style = map(above_zero, strengths)
    return pair_sweep(folder, of_bases, two.character, two.style, (of_character, of_style), below=two.below,
                      prompts=lines(prompts), seeds=seeds_of(seeds), shared=sampling.facts)


def draw_pair(drawing: Drawing, node_id: str) -> list[Path]:
    """Draw what is missing; returns the sheets, which are also written if the drawing ends early."""
    try:
        draw_missing(drawing, node_id)
    finally:
        pages = write_sheets(drawing.sweep, rows=STACK, columns=STRENGTH)
    return pages


def judge_pair(sweep: Sweep, two: TwoLoras, dataset: Any, clip_vision: Any, tagger: str, node_id: str) -> Refinement:
    """Which pair of strengths is best, by what the graph gives to measure with."""
    eye = choose_eye(lora_facts(sweep)["family"] == SANDBOX, clip_vision, tag_reader(tagger, node_id))
    return follow(refine(sweep, two.labels, eye=eye, training=dataset, triggers=two.triggers), Work(node_id))


def pair_output(sweep: Sweep, result: Refinement, two: TwoLoras, pages: Sequence[Path], notes: Sequence[str],
                node_id: str) -> io.NodeOutput:
    """The node's outputs; the report also stands in the node."""
    counts, report = count_states(sweep), "\n".join((result.text(), *notes))
    show_report("\n".join((progress_text(**counts), report)), node_id)
    return io.NodeOutput(two.stack_at_best(result), sweep, [sheet_image(page) for page in pages],
                         [to_batch(heat_picture(heat)) for heat in heat_maps(sweep, result).values()], report,
                         ui=sweep_ui(sweep, counts))


def _without_step(name: str) -> str:
    return re.sub(r"-step\d{6}$", "", name.rpartition("/")[2])


def above_zero(text: str) -> tuple[float, ...]:
    """Strengths of a widget's text. Raises UserError if one is 0 or less."""
    values = strengths_of(text)
    if min(values) <= 0:
        raise UserError(f"strengths {text!r} must be above 0; each LoRA alone is drawn besides.")
    return values


def base_name(find: Any, link: list[Any]) -> str:
    """What a person calls the base: the file that its loader names, else the loader."""
    nodes: Mapping[str, Any] = above(find, [link])
    for node in nodes.values():
        for widget in LOADED_BY:
            if isinstance(name := node["inputs"].get(widget), str):
                return Path(name.replace("\\", "/")).stem
    kinds = [node["class_type"] for node in nodes.values()]
    return "the sandbox" if "LoraBootstrap_LoadSandbox" in kinds else kinds[-1]


def record_result(sweep: Sweep, result: Refinement, two: TwoLoras, base: str, page: Path) -> list[str]:
    """Write what was found, and remember the best strengths; returns what else there is to say."""
    written = write_refinement(sweep, result)
    if set(sweep.states().values()) == {"done"}:
        log_picture(sweep, page, SHEET)
    if "harmonic" in written:
        log_picture(sweep, written["harmonic"], SCORES, result.lines[0])
    best = result.taken
    if best is None:
        return []
    known = Known(
        base=base, character=KnownLora.of(two.character.name, two.character.path, best.character),
        style=KnownLora.of(two.style.name, two.style.path, best.style_strength),
        scores={name: getattr(best, name) for name in FIGURES}, eye=result.eye, sweep=sweep.folder.name,
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"))
    note = remember(strengths_file(), sweep.axis(BASE).choices[0].facts["base"], known)
    return [note] if note else []
