"""The node that merges a stack of LoRAs into one file that any tool loads."""

from __future__ import annotations

from comfy_api.latest import io

from ..host import menu, paths
from ..host.outputs import lora_stack
from ..host.session import current_session
from ..host.stacks import read_stack, stack_entries
from ..host.working import Work, problem, progress_of, show_report
from ..trainer.stacks.merge import DTYPES, METHODS
from ..trainer.stacks.merge_settings import MOST_RANK, WEIGHTS, MergeSettings
from ..trainer.stacks.merged_file import MergedFile, merge_to_file
from .schema import node_schema
from .sockets import LoraStack

DEFAULTS = MergeSettings()


class MergeLoras(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_MergeLoras", display_name="Merge LoRAs", category=menu.STACK,
            description="Merges the LoRAs of a stack, at their strengths, into one file in output/loras/merged. If "
                        "they were already merged with the same settings, that file is reused.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraStack.Input("LORA_STACK", tooltip="Two or more LoRAs. Their strengths are merged in."),
                io.Combo.Input("method", options=list(METHODS), default=DEFAULTS.method, tooltip=(
                    "sum: exactly what loading them one after the other does. null_space: a character and a style each "
                    "give way where the other matters most. ties: where values disagree in sign, the weaker side is "
                    "dropped; needs a rank. even: each LoRA is brought to the same effect before its strength is "
                    "applied.")),
                io.Combo.Input("preset", options=list(WEIGHTS), default=DEFAULTS.preset, tooltip=(
                    "Which LoRA gives way with null_space. balanced: the character in style blocks, the style in "
                    "content blocks. identity_first: the style, outside its own blocks. style_first: the character, "
                    "everywhere.")),
                io.Int.Input("rank", default=0, min=0, max=MOST_RANK, tooltip=(
                    "Maximum rank of every layer after compression; the report says what is lost. 0 keeps everything: "
                    "the ranks add up.")),
                io.Float.Input("density", default=DEFAULTS.density, min=0.01, max=1.0, step=0.01, tooltip=(
                    "Share of each layer's values that ties keeps, usually 0.5 to 0.8.")),
                io.Float.Input("mu", default=DEFAULTS.mu, min=0.0, max=1000.0, step=0.05, tooltip=(
                    "How far LoRAs give way with null_space. 0 is the plain sum, 1000 gives way completely.")),
                io.String.Input("name", default="", tooltip=(
                    "Name of the file. Leave empty to join the names of all LoRAs. If another merge already has the "
                    "name, -2 is added.")),
                io.Combo.Input("dtype", options=list(DTYPES), default=DEFAULTS.dtype, tooltip=(
                    "Number format. float16 and bfloat16 halve the file size and round the values.")),
            ],
            outputs=[
                LoraStack.Output(display_name="LORA_STACK", tooltip="The merged file alone, at strength 1."),
                io.String.Output(display_name="path", tooltip="The merged file."),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, method, rank, name) -> bool | str:
        # the host checks lists and ranges itself; that TIES needs a rank it cannot know
        refused = problem(lambda value: MergeSettings(method=value, rank=rank or 1), method)
        if refused is True:
            refused = problem(lambda *values: MergeSettings(method=values[0], rank=values[1] or None), method, rank)
        return problem(merged_file_name, name) if refused is True else refused

    @classmethod
    def fingerprint_inputs(cls, **_) -> int:
        return current_session().stack_files.look()

    @classmethod
    def execute(cls, LORA_STACK, method, preset, rank, density, mu, name, dtype) -> io.NodeOutput:
        merged = merge_to_file(paths.merged_root(), merged_file_name(name), stack_entries(read_stack(LORA_STACK)),
                               merge_settings(method, preset, rank, density, mu, dtype),
                               progress=progress_of("merging layers", Work(cls.hidden.unique_id)))
        current_session().stack_files.note(merged.path)
        report = merge_report(merged)
        show_report(report, cls.hidden.unique_id)
        return io.NodeOutput(lora_stack(merged.path), str(merged.path), report)


def merge_settings(method: str, preset: str, rank: int, density: float, mu: float, dtype: str) -> MergeSettings:
    return MergeSettings(method=method, preset=preset, rank=rank or None, density=density, mu=mu, dtype=dtype)


def merge_report(merged: MergedFile) -> str:
    name = paths.lora_place(merged.path)
    last = f"{name} already exists: the same LoRAs and settings." if merged.reused else f"Saved as {name}."
    return "\n".join((*merged.lines, last))


def merged_file_name(name: str) -> str:
    """The name in a widget's text, without the ending; "" stays "". Raises UserError if it cannot be a file's name."""
    plain = name.strip().removesuffix(".safetensors")
    return paths.own_folder(paths.merged_root(), plain).name if plain else ""
