"""The node that measures how much the LoRAs of a stack override each other, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_api.latest import io

from ..host import menu, paths
from ..host.drawing.pictures import to_batch
from ..host.drawing.sweep_plan import LoraEntry
from ..host.stacks import measured_lines, read_stack, stack_entries
from ..host.working import Work, progress_of, show_report
from ..trainer.stacks.conflict import ConflictReport, measure_conflict
from ..trainer.stacks.conflict_picture import conflict_picture, pair_table, write_conflict
from ..trainer.stacks.overlap import TOLERANCE
from ..trainer.stacks.stack import StackEntry
from .schema import node_schema
from .sockets import LoraStack


class ConflictReportNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ConflictReport", display_name="Conflict Report", category=menu.STACK,
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
        stack = read_stack(LORA_STACK)
        report, text = report_conflict(stack_entries(stack), tolerance, cls.hidden.unique_id)
        return io.NodeOutput(text, [to_batch(pair_table(pair)) for pair in report.pairs],
                             to_batch(conflict_picture(report)), recommended_stack(report, stack), report.verdict)


# -- what stacks have in common ----------------------------------------------------------------------------------------


def report_conflict(entries: Sequence[StackEntry], tolerance: float,
                    node_id: str | None) -> tuple[ConflictReport, str]:
    """Measure how the LoRAs override each other, and write the report; the node shows its text."""
    report = measure_conflict(entries, tolerance=tolerance, progress=progress_of("measuring layers", Work(node_id)))
    write_conflict(report, paths.conflicts_root())
    text = "\n".join((report.text(), *measured_lines(entries)))
    show_report(text, node_id)
    return report, text


def recommended_stack(report: ConflictReport, stack: Sequence[LoraEntry]) -> list[LoraEntry]:
    """The stack at a report's strengths, with the text encoder's changed by the same factor."""
    return [(name, new, clip * new / old if old else clip)
            for (name, old, clip), new in zip(stack, report.recommended, strict=True)]
