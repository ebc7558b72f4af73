"""Nodes that combine several LoRAs: a stack by hand, a stack from a prompt, and applying a stack as Load LoRA would."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..host import menu, paths
from ..host.drawing.sweep_plan import LoraEntry
from ..host.session import current_session
from ..host.stacks import StackFacts, lora_names, measured_lines, read_stack, scale_notes
from ..host.working import problem, show_report
from ..trainer.captions.tags import escape_brackets, unescape_brackets
from ..trainer.stacks.blocks import HOW_BLOCKS, choose_blocks, filter_lora, read_blocks
from ..trainer.stacks.prompt import WantedLora, prompt_loras, read_entries
from ..trainer.stacks.stack import CHARACTER, MOST_STRENGTH, stack_advice
from ..trainer.training.runs import Run, latest_checkpoint, read_run
from .schema import node_schema
from .sockets import LoraRun, LoraStack

log = logging.getLogger(__name__)
PLACEHOLDER = "girl : 0.8\nink : 0.5 : 0.3 : style\noff glow : 0.4"


class LoraStackNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_LoraStack", display_name="LoRA Stack", category=menu.STACK,
            description="Holds any number of LoRAs with their strengths, on or off, whole or some of their blocks, and "
                        "gives advice on the stack.",
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.String.Input("entries", default="", multiline=True, placeholder=PLACEHOLDER, tooltip=(
                    "LoRAs, one per line, as loaders list them: name : model strength : clip strength : blocks. Only "
                    "the name is required, and its file ending can be left out. <lora:name:0.8:0.6> works too. Lines "
                    f"that begin with off or # are off. Blocks: {HOW_BLOCKS}.")),
                io.Float.Input("run_strength", default=0.8, min=-MOST_STRENGTH, max=MOST_STRENGTH, step=0.05, tooltip=(
                    "Strength of the linked run's LoRA, for model and text encoder.")),
                LoraStack.Input("LORA_STACK", optional=True, tooltip="LoRAs to put before these."),
                LoraRun.Input("run", optional=True, tooltip=(
                    "A run whose last checkpoint goes before the entries. It counts as the character, unless it was "
                    "trained as something else.")),
            ],
            outputs=stack_outputs(),
        )

    @classmethod
    def validate_inputs(cls, entries) -> bool | str:
        return problem(check_entries, entries)

    @classmethod
    def fingerprint_inputs(cls, entries, **_) -> Any:
        if entries is None:
            return float("nan")
        return [current_session().stack_files.look(), file_facts(read_entries(entries, lora_names()))]

    @classmethod
    def execute(cls, entries, run_strength, LORA_STACK=None, run=None) -> io.NodeOutput:
        of_run = [] if run is None else [(last_lora(run), run_strength, run_strength)]
        mine, notes = resolve_entries(read_entries(entries, lora_names()))
        stack = [*read_stack(LORA_STACK), *of_run, *mine]
        facts = StackFacts(stack, {name: CHARACTER for name, *_ in of_run})
        return io.NodeOutput(*show_stack(stack, facts, cls.hidden.unique_id, notes))


class ApplyLoraStack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ApplyLoraStack", display_name="Apply LoRA Stack", category=menu.STACK,
            description="Applies a stack of LoRAs to the model and the text encoder, exactly as a Load LoRA node for "
                        "each would.",
            inputs=[
                io.Model.Input("model", tooltip="The model to apply them to. It is left unchanged."),
                LoraStack.Input("LORA_STACK", tooltip=(
                    "A stack from LoRA Stack, Prompt LoRAs, or a stack node of any pack.")),
                io.Clip.Input("clip", optional=True, tooltip="A text encoder to apply them to."),
            ],
            outputs=[io.Model.Output(display_name="MODEL"),
                     io.Clip.Output(display_name="CLIP", tooltip=(
                         "The text encoder with the LoRAs, if one was linked."))],
        )

    @classmethod
    def execute(cls, model, LORA_STACK, clip=None) -> io.NodeOutput:
        model, clip = apply_stack(model, clip, read_stack(LORA_STACK))
        absent = ExecutionBlocker("Apply LoRA Stack has no CLIP to give, because none is linked to its clip input")
        return io.NodeOutput(model, absent if clip is None else clip)


class PromptLoras(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_PromptLoras", display_name="Prompt LoRAs", category=menu.STACK,
            description="Takes LoRAs such as <lora:name:0.8> out of a prompt and puts them into a stack.",
            hidden=[io.Hidden.unique_id],
            inputs=[
                io.String.Input("text", default="", multiline=True, dynamic_prompts=True,
                                placeholder="akane, smile <lora:girl:0.8> <lora:ink:0.5:0.3>", tooltip=(
                                    "A prompt with <lora:name>, <lora:name:strength> or <lora:name:model strength:clip "
                                    "strength> anywhere in it. With a backslash before it, the text stays in the "
                                    "prompt.")),
                io.Boolean.Input("strict", default=True, tooltip=(
                    "On: a missing LoRA is an error. Off: it is skipped, and the node reports it.")),
                LoraStack.Input("LORA_STACK", optional=True, tooltip="LoRAs to put before these."),
            ],
            outputs=[*stack_outputs(), io.String.Output(display_name="prompt", tooltip="The text without its LoRAs.")],
        )

    @classmethod
    def validate_inputs(cls, text, strict) -> bool | str:
        return problem(lambda *values: prompt_loras(values[0], lora_names(), strict=values[1]), text, strict)

    @classmethod
    def fingerprint_inputs(cls, text, **_) -> Any:
        # a missing file may have been added, and an existing one replaced
        return float("nan") if text is None else file_facts(prompt_loras(text, lora_names(), strict=False)[0])

    @classmethod
    def execute(cls, text, strict, LORA_STACK=None) -> io.NodeOutput:
        wanted, prompt, left_out = prompt_loras(text, lora_names(), strict=strict)
        stack = [*read_stack(LORA_STACK), *resolve_entries(wanted)[0]]
        facts = StackFacts(stack)
        advice = (*left_out, *missing_triggers(facts, prompt))
        return io.NodeOutput(*show_stack(stack, facts, cls.hidden.unique_id, advice=advice), prompt)


def stack_outputs() -> list[Any]:
    return [
        LoraStack.Output(display_name="LORA_STACK"),
        io.String.Output(display_name="advice", tooltip=(
            "The guides' rules that this stack breaks, one per line; empty if none.")),
        io.String.Output(display_name="triggers", tooltip=(
            "The trigger words of all LoRAs whose files contain them, for the prompt.")),
    ]


# -- the work ----------------------------------------------------------------------------------------------------------


def missing_triggers(facts: StackFacts, prompt: str) -> list[str]:
    return [f"The trigger {word!r} is not in the prompt." for word in facts.triggers
            if unescape_brackets(word).lower() not in unescape_brackets(prompt).lower()]


def last_lora(run: Run) -> str:
    """The name of a run's last LoRA, as the host's loaders list it. Raises UserError if it has none yet."""
    return paths.lora_name(latest_checkpoint(read_run(run.folder))[1])


def check_entries(entries: str) -> None:
    """Raises UserError for an error in the text, and for blocks that a LoRA does not have."""
    for entry in read_entries(entries, lora_names()):
        if entry.blocks:
            choose_blocks(read_blocks(paths.lora_file(entry.name)), entry.blocks)


def file_facts(entries: Sequence[WantedLora]) -> list[list[Any]]:
    """Facts that change when one of the files is replaced: name, size and time of change of each."""
    stats = [(entry.name, paths.lora_file(entry.name).stat()) for entry in entries]
    return [[name, status.st_size, status.st_mtime_ns] for name, status in stats]


def apply_stack(model: Any, clip: Any, stack: Sequence[LoraEntry]) -> tuple[Any, Any]:
    """(MODEL, CLIP) with the LoRAs of a stack. Raises UserError for a missing file, before any is read."""
    from ..host.backbone.loras import apply_lora

    files = [(paths.lora_file(name), strength, on_clip) for name, strength, on_clip in stack]
    used = [(path, strength, on_clip) for path, strength, on_clip in files if strength or on_clip and clip is not None]
    for path, strength, on_clip in used:
        model, clip = apply_lora(model, clip, path, strength, on_clip)
    for note in scale_notes(path for path, *_ in used):
        log.warning("%s", note)
    return model, clip


def resolve_entries(entries: Sequence[WantedLora]) -> tuple[list[LoraEntry], list[str]]:
    """The entries as items of a stack, and a line for each one that uses only some blocks."""
    stack, notes = [], []
    for entry in entries:
        name = entry.name
        if entry.blocks:
            source = paths.lora_file(name)
            made = filter_lora(source, entry.blocks, paths.filtered_root())
            notes.append(f"{source.stem}: {made.line}")
            if made.path != source:
                current_session().stack_files.note(made.path)
                name = paths.lora_name(made.path)
        stack.append((name, entry.strength, entry.clip_strength))
    return stack, notes


def show_stack(stack: list[LoraEntry], facts: StackFacts, node_id: str | None, notes: Sequence[str] = (),
               advice: Sequence[str] = ()) -> tuple[list[LoraEntry], str, str]:
    """The outputs of `stack_outputs`. The node shows the stack, the notes and the advice."""
    counts = Counter(name for name, *_ in stack)
    twice = [f"{name} is listed {count} times; its strengths add up." for name, count in counts.items() if count > 1]
    advice = (*advice, *stack_advice(facts.entries), *twice)
    lines = [f"{entry.name}: {entry.strength:g}" + (
        f", text encoder {entry.clip_strength:g}" if entry.clip_strength != entry.strength else "")
        for entry in facts.entries]
    notes = (*notes, *scale_notes(entry.path for entry in facts.entries))
    show_report("\n".join((*(lines or ["no LoRA"]), *notes, *measured_lines(facts.entries), *advice)), node_id)
    return stack, "\n".join(advice), escape_brackets(", ".join(facts.triggers))
