"""The node that merges a stack of LoRAs into one file that any tool loads."""

from __future__ import annotations

from comfy_api.latest import io

from ..host import menu, paths
from ..host.stacks import USED, read_stack, stack_entries
from ..host.working import Work, problem, progress_of, show_report
from ..trainer.stacks.merge import DTYPES, METHODS, MOST_RANK, WEIGHTS, MergeSettings
from ..trainer.stacks.merged_file import MergedFile, merge_to_file
from .sockets import LoraStack

DEFAULTS = MergeSettings()


class MergeLoras(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoraBootstrap_MergeLoras", display_name="Merge LoRAs", category=menu.STACK,
            description="The LoRAs of a stack, at their strengths, as one file in output/loras/merged. An identical "
                        "merge is not made again.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                LoraStack.Input("LORA_STACK", tooltip="Two LoRAs or more, at the strengths to merge them at."),
                io.Combo.Input("method", options=list(METHODS), default=DEFAULTS.method, tooltip=(
                    "sum: exactly what both loaders do. null_space: a character and a style each give way where the "
                    "other is at home. ties: values that disagree in sign are dropped; needs a rank. even: each at the "
                    "same energy before the strengths.")),
                io.Combo.Input("preset", options=list(WEIGHTS), default=DEFAULTS.preset, tooltip=(
                    "Of null_space, who gives way. balanced: the character in blocks of style, the style in blocks of "
                    "content. identity_first: the style. style_first: the character, everywhere.")),
                io.Int.Input("rank", default=0, min=0, max=MOST_RANK, tooltip=(
                    "Compress every layer to at most this; the report says what is lost. 0 keeps all: ranks add.")),
                io.Float.Input("density", default=DEFAULTS.density, min=0.01, max=1.0, step=0.01, tooltip=(
                    "Of ties: the share of each layer's values that is kept, usually 0.5 to 0.8.")),
                io.Float.Input("mu", default=DEFAULTS.mu, min=0.0, max=1000.0, step=0.05, tooltip=(
                    "Of null_space: how much gives way. 0 is the plain sum, 1000 gives way wholly.")),
                io.String.Input("name", default="", tooltip=(
                    "Of the file; empty: the names of all. A name that another merge has gets -2.")),
                io.Combo.Input("dtype", options=list(DTYPES), default=DEFAULTS.dtype, tooltip=(
                    "float16 and bfloat16 halve the file, and round.")),
            ],
            outputs=[
                LoraStack.Output(display_name="LORA_STACK", tooltip="The merged file alone, at strength 1."),
                io.String.Output(display_name="path", tooltip="The merged file."),
                io.String.Output(display_name="report"),
            ],
        )

    @classmethod
    def validate_inputs(cls, method, preset, rank, density, mu, name, dtype) -> bool | str:
        told = problem(merge_settings, method, preset, rank, density, mu, dtype)
        return told if told is not True else problem(file_name, name)

    @classmethod
    def fingerprint_inputs(cls, **_) -> int:
        return USED.look()

    @classmethod
    def execute(cls, LORA_STACK, method, preset, rank, density, mu, name, dtype) -> io.NodeOutput:
        merged = merge_to_file(paths.merged_root(), file_name(name), stack_entries(read_stack(LORA_STACK)),
                               merge_settings(method, preset, rank, density, mu, dtype),
                               progress=progress_of("merging layers", Work(cls.hidden.unique_id)))
        USED.note(merged.path)
        report = merge_report(merged)
        show_report(report, cls.hidden.unique_id)
        return io.NodeOutput([(paths.lora_name(merged.path), 1.0, 1.0)], str(merged.path), report)


def merge_settings(method: str, preset: str, rank: int, density: float, mu: float, dtype: str) -> MergeSettings:
    return MergeSettings(method=method, preset=preset, rank=rank or None, density=density, mu=mu, dtype=dtype)


def merge_report(merged: MergedFile) -> str:
    name = paths.lora_name(merged.path)
    last = f"{name} was there already: the same LoRAs, merged alike." if merged.reused else f"Saved as {name}."
    return "\n".join((*merged.lines, last))


def file_name(name: str) -> str:
    """What a widget says, without the ending; "" is left. Raises UserError if it is no file's name."""
    plain = name.strip().removesuffix(".safetensors")
    return paths.own_folder(paths.merged_root(), plain).name if plain else ""
