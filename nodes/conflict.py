"""The node that measures how much the LoRAs of a stack override each other, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comfy_api.latest import io

from ..host import paths
from ..host.drawing.pictures import to_batch
from ..host.drawing.sweep_plan import LoraEntry
from ..host.working import Work, show_report
from ..trainer.common.events import Making
from ..trainer.stacks.conflict import ConflictReport, measure_conflict
from ..trainer.stacks.conflict_picture import conflict_picture, pair_table, write_conflict
from ..trainer.stacks.overlap import TOLERANCE
from ..trainer.stacks.stack import StackEntry
from .known_strengths import measured_lines
from .sockets import LoraStack
from .stack import CATEGORY, checked_stack


class ConflictReportNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_ConflictReport", display_name="Conflict Report", category=CATEGORY,
            description="Measures how much the LoRAs of a stack override each other, from their files alone: no model, "
                        "no images. Says whether the stack is fine, other strengths help, or only a merge or a split "
                        "in time does.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraStack.Input("LORA_STACK", tooltip="Two or more LoRAs, at the strengths you plan to use."),
                io.Float.Input("tolerance", default=TOLERANCE, min=0.01, max=0.49, step=0.01, tooltip=(
                    "Share of a LoRA's output that another LoRA may overwrite before it counts as a conflict.")),
            ],
            outputs=[
                io.String.Output(display_name="report"),
                io.Image.Output(display_name="table", is_output_list=True, tooltip=(
                    "A table of the blocks for each pair.")),
                io.Image.Output(display_name="heat_map", tooltip="Heat maps of all pairs, with the advice."),
                LoraStack.Output(display_name="LORA_STACK", tooltip=(
                    "The stack at the recommended strengths. They come from the weights alone, so treat them as a "
                    "starting point.")),
                io.String.Output(display_name="verdict", tooltip=(
                    "The worst verdict of all pairs: fine, strengths or merge.")),
            ],
        )

    @classmethod
    def execute(cls, LORA_STACK, tolerance) -> io.NodeOutput:
        me, stack = cls.hidden.unique_id, checked_stack(LORA_STACK)
        entries = stack_entries(stack)
        report = measure_conflict(entries, tolerance=tolerance, progress=counting("measuring layers", Work(me)))
        write_conflict(report, paths.conflicts_root())
        text = "\n".join((report.text(), *measured_lines(entries)))
        show_report(text, me)
        return io.NodeOutput(text, [to_batch(pair_table(pair)) for pair in report.pairs],
                             to_batch(conflict_picture(report)), recommended(report, stack), report.verdict)


# -- what stacks have in common ----------------------------------------------------------------------------------------


def stack_entries(stack: Sequence[LoraEntry]) -> list[StackEntry]:
    """The files of a stack. Files of the same name get their folders as part of their names. Raises UserError if one is
    missing."""
    stems = [Path(name).stem for name, _, _ in stack]
    return [StackEntry(path=paths.lora_file(name), strength=strength, clip_strength=clip_strength,
                       name=stem if stems.count(stem) == 1 else Path(name).with_suffix("").as_posix())
            for stem, (name, strength, clip_strength) in zip(stems, stack, strict=True)]


def counting(what: str, work: Work):
    """A `progress` function for the library. It shows the progress in the node, and raises ComfyUI's interruption on
    Cancel."""
    return lambda done, total: work(Making(what, done, total))


def recommended(report: ConflictReport, stack: Sequence[LoraEntry]) -> list[LoraEntry]:
    """The stack at a report's strengths, with the text encoder's changed by the same factor."""
    return [(name, new, clip * new / old if old else clip)
            for (name, old, clip), new in zip(stack, report.recommended, strict=True)]
