"""Nodes that take a LoRA out of a fine-tuned model, and that make a LoRA file smaller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..host import menu, paths
from ..host.drawing.base_file import base_file
from ..host.drawing.node_place import NodePlace
from ..host.outputs import lora_stack
from ..host.session import current_session
from ..host.shown_text import menu_choices
from ..host.stacks import lora_names, read_stack
from ..host.working import Work, follow, problem, show_report
from ..trainer.common.errors import UserError
from ..trainer.common.events import Events
from ..trainer.extraction.report import Report
from ..trainer.extraction.settings import (
    DTYPE_NAMES,
    EXTRACT_RULES,
    FIXED,
    MOST_RANK,
    OWN_VALUES,
    PRESETS,
    RULES,
    ExtractSettings,
    RankSettings,
    preset_settings,
)
from .schema import node_schema
from .sockets import LoraStack

LINKED_STACK = "the linked stack"
AUTO, CPU = "auto", "cpu"
"""Where a LoRA is extracted: on the host's own device, or on the CPU."""
_NAME = "Name of the file. Leave empty to name it after the {}. If a different file has the name, -2 is added."
_TARGETS = "; ".join(f"{rule}: {row.target} (0 is {row.usual:g})" for rule, row in RULES.items() if row.target)


class ExtractLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        defaults = ExtractSettings()
        return node_schema(
            node_id="LoraBootstrap_ExtractLora", display_name="Extract LoRA", category=menu.STACK,
            description="Extracts the LoRA that turns a base model into a fine-tuned one, from two MODELs or two "
                        "files, and says for each layer how much of the difference is lost. It is saved in "
                        "output/loras/extracted.",
            is_output_node=True, hidden=[io.Hidden.unique_id, io.Hidden.dynprompt],
            inputs=[
                io.Model.Input("model", optional=True, tooltip="The fine-tuned model. It is left unchanged."),
                io.Model.Input("base", optional=True, tooltip="The model that it was fine-tuned from."),
                io.String.Input("name", default="", tooltip=_NAME.format("fine-tuned model")),
                *rank_inputs(EXTRACT_RULES),
                io.Combo.Input("preset", options=list(PRESETS), default=OWN_VALUES, tooltip=(
                    "kohya guide: rank and conv_rank 64, clamp_quantile 0.99, min_difference 0.0001, as guides for "
                    "kohya's extraction advise. own values: those of this node.")),
                io.Float.Input("min_difference", default=defaults.min_difference, min=0.0, max=1.0, step=1e-5,
                               round=False, tooltip=(
                    "Layers where no weight differs by more are skipped. kohya asks this of the text encoder "
                    "alone.")),
                io.Float.Input("clamp_quantile", default=defaults.clamp_quantile, min=0.5, max=1.0, step=0.001,
                               round=False, tooltip=(
                    "Clamps the factors of a layer to this quantile of their values, as kohya does with 0.99. 1 does "
                    "not clamp, because clamping loses detail; the report shows how much.")),
                io.Boolean.Input("biases_and_norms", default=defaults.vectors, tooltip=(
                    "Keep the differences of biases and norms as well. They take little space.")),
                io.Boolean.Input("text_encoder", default=defaults.text_encoder, tooltip=(
                    "Extract the text encoders' layers too, from the linked CLIPs or from the files.")),
                io.String.Input("tuned_file", default="", tooltip=(
                    "Name of the fine-tuned checkpoint or diffusion model as loaders list it, instead of a linked "
                    "model. It is read layer by layer, which takes less memory. A fine-tune's file of differences "
                    "works too, and needs no base.")),
                io.String.Input("base_file", default="", tooltip=(
                    "Name of the base's checkpoint or diffusion model, instead of a linked base.")),
                io.Clip.Input("clip", optional=True, tooltip="The fine-tuned model's text encoder, for text_encoder."),
                io.Clip.Input("base_clip", optional=True, tooltip="The base's text encoder, for text_encoder."),
                io.Combo.Input("device", options=[AUTO, CPU], default=AUTO, optional=True, tooltip=(
                    "Where layers are decomposed. auto: where ComfyUI runs models. cpu: slower, and leaves the card "
                    "free.")),
            ],
            outputs=lora_file_outputs("extracted"),
        )

    @classmethod
    def validate_inputs(cls, name, rank, conv_rank, rule, target, dtype, preset, min_difference,
                        clamp_quantile) -> bool | str:
        refused = problem(lambda *values: preset_settings(preset, **rank_values(*values), min_difference=min_difference,
                                                          clamp_quantile=clamp_quantile),
                          rank, conv_rank, rule, target, dtype, preset, min_difference, clamp_quantile)
        return problem(saved_name, name) if refused is True else refused

    @classmethod
    def fingerprint_inputs(cls, tuned_file, base_file, **_) -> Any:
        return [current_session().stack_files.look(), *map(_file_facts, (tuned_file, base_file))]

    @classmethod
    def execute(cls, name, rank, conv_rank, rule, target, dtype, preset, min_difference, clamp_quantile,
                biases_and_norms, text_encoder, tuned_file, base_file, model=None, base=None, clip=None,
                base_clip=None, device=AUTO) -> io.NodeOutput:
        from ..trainer.extraction.extract import extract_lora

        settings = preset_settings(preset, **rank_values(rank, conv_rank, rule, target, dtype),
                                   min_difference=min_difference, clamp_quantile=clamp_quantile,
                                   vectors=biases_and_norms, text_encoder=text_encoder)
        place, where = NodePlace.of(cls.hidden), torch_device(device)
        with open_sides(place, (model, clip, tuned_file), (base, base_clip, base_file), settings, where) as (
                tuned, other):
            events = extract_lora(tuned, other, paths.extracted_root(),
                                  saved_name(name) or f"{Path(tuned.title).stem}-extracted", settings, device=where)
            return _finish(events, place.id)


class ResizeLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return node_schema(
            node_id="LoraBootstrap_ResizeLora", display_name="Resize LoRA", category=menu.STACK,
            description="Makes a LoRA file smaller and says what that loses. LoRA, LoCon, DoRA, LoHa, LoKr and whole "
                        "differences become a plain LoRA of the same strength, saved in output/loras/resized.",
            is_output_node=True, hidden=[io.Hidden.unique_id],
            inputs=[
                io.Combo.Input("lora", options=[LINKED_STACK, *menu_choices(lora_names())], default=LINKED_STACK,
                               tooltip="The LoRA to make smaller: one of ComfyUI's list, or that of LORA_STACK."),
                io.String.Input("name", default="", tooltip=_NAME.format("LoRA")),
                *rank_inputs(tuple(RULES)),
                LoraStack.Input("LORA_STACK", optional=True, tooltip=(
                    "A stack of one LoRA, such as Extract LoRA's. Its strengths are kept.")),
            ],
            outputs=lora_file_outputs("resized"),
        )

    @classmethod
    def validate_inputs(cls, name, rank, conv_rank, rule, target, dtype) -> bool | str:
        refused = problem(lambda *values: RankSettings(**rank_values(*values)), rank, conv_rank, rule, target, dtype)
        return problem(saved_name, name) if refused is True else refused

    @classmethod
    def fingerprint_inputs(cls, lora, **_) -> Any:
        with_file = lora not in (None, LINKED_STACK)
        return [current_session().stack_files.look(), _stamp(paths.lora_file(lora)) if with_file else None]

    @classmethod
    def execute(cls, lora, name, rank, conv_rank, rule, target, dtype, LORA_STACK=None) -> io.NodeOutput:
        from ..trainer.extraction.resize import resize_lora

        entry, strength = _one_lora(lora, LORA_STACK)
        source = paths.lora_file(entry)
        settings = RankSettings(**rank_values(rank, conv_rank, rule, target, dtype))
        events = resize_lora(source, paths.resized_root(), saved_name(name) or f"{source.stem}-resized", settings)
        return _finish(events, cls.hidden.unique_id, strength)


# -- inputs and outputs ------------------------------------------------------------------------------------------------


def rank_inputs(rules: tuple[str, ...]) -> list[Any]:
    defaults = RankSettings()
    return [
        io.Int.Input("rank", default=defaults.rank, min=1, max=MOST_RANK, tooltip=(
            "Rank of every layer, or the largest that a layer gets with other rules than fixed.")),
        io.Int.Input("conv_rank", default=defaults.conv_rank, min=0, max=MOST_RANK, tooltip=(
            "The same for convolutions with a kernel larger than 1. 0 uses rank.")),
        io.Combo.Input("rule", options=list(rules), default=FIXED, tooltip=(
            "How each layer's rank is chosen. fixed: all get the same. energy, ratio and cumulative: by the layer's "
            "singular values. size: each gets what lowers the error most for its bytes." if len(rules) == len(RULES)
            else "How each layer's rank is chosen. fixed: all get the same. energy and ratio: by the layer's singular "
                 "values. size: each gets what lowers the error most for its bytes.")),
        io.Float.Input("target", default=defaults.target, min=0.0, max=1e6, step=0.01, round=False, tooltip=(
            f"The rule's number. {_TARGETS}.")),
        io.Combo.Input("dtype", options=list(DTYPE_NAMES), default=defaults.dtype, tooltip=(
            "Number format. float32 is exact and takes twice the space.")),
    ]


def lora_file_outputs(done: str) -> list[Any]:
    return [
        LoraStack.Output(display_name="LORA_STACK", tooltip=f"The {done} LoRA alone."),
        io.String.Output(display_name="path", tooltip=f"The {done} LoRA."),
        io.String.Output(display_name="report", tooltip="What is lost, over all and for each layer."),
    ]


def rank_values(rank: int, conv_rank: int, rule: str, target: float, dtype: str, *_: Any) -> dict[str, Any]:
    return {"rank": rank, "conv_rank": conv_rank, "rule": rule, "target": target, "dtype": dtype}


def torch_device(name: str) -> Any:
    """The device of that name, AUTO or CPU."""
    import comfy.model_management
    import torch

    return torch.device(CPU) if name == CPU else comfy.model_management.get_torch_device()


def saved_name(name: str) -> str:
    """The name in a widget's text, without the ending; "" stays "". Raises UserError if it cannot be a file's name."""
    plain = name.strip().removesuffix(".safetensors")
    return paths.own_folder(paths.extracted_root(), plain).name if plain else ""


# -- sides -------------------------------------------------------------------------------------------------------------


@contextmanager
def open_sides(place: NodePlace, tuned: tuple[Any, Any, str], base: tuple[Any, Any, str], settings: ExtractSettings,
               device: Any) -> Iterator[tuple[Any, Any]]:
    """Both sides, each (MODEL, CLIP, name of a file), for the block; the base is None for a file of differences.

    Raises UserError if a side is missing or given twice.
    """
    first = _open_side(place, "model", "tuned_file", tuned, settings, device)
    second = None
    try:
        whole = type(first).__name__ == "DifferenceFile"
        if whole and (base[0] is not None or base[2].strip()):
            raise UserError(f"{first.title} is a file of differences, which takes no base. Unlink base and empty "
                            "base_file.")
        if not whole:
            second = _open_side(place, "base", "base_file", base, settings, device)
        yield first, second
    finally:
        first.close()
        if second:
            second.close()


def _open_side(place: NodePlace, socket: str, widget: str, given: tuple[Any, Any, str], settings: ExtractSettings,
               device: Any) -> Any:
    model, clip, text = given
    if (model is None) == (not text.strip()):
        how = "both are given" if text.strip() else "neither is given"
        raise UserError(f"{how} of {socket} and {widget}; link a MODEL to {socket}, or name a file in {widget}.")
    if model is None:
        from ..host.extraction.files import listed_file
        from ..trainer.extraction.sides import CheckpointFile, open_side

        return (open_side if socket == "model" else CheckpointFile)(listed_file(text))
    if settings.text_encoder and clip is None:
        raise UserError(f"text_encoder is on, but {socket} has no text encoder; link clip and base_clip, or turn it "
                        "off.")
    from ..host.extraction.models import ModelWeights

    title = Path(base_file(model, place.find, place.links[socket])).name or type(model.model).__name__
    return ModelWeights(title, model, clip if settings.text_encoder else None, device)


def _one_lora(lora: str, stack: Any) -> tuple[str, float]:
    """(the LoRA's name as loaders list it, its strength). Raises UserError if the stack does not hold one LoRA."""
    if lora != LINKED_STACK:
        return lora, 1.0
    entries = [] if stack is None else read_stack(stack)
    if len(entries) != 1:
        raise UserError(f"LORA_STACK has {len(entries)} LoRAs; link a stack of one, or choose a LoRA in the menu.")
    return entries[0][0], entries[0][1]


def _file_facts(text: str | None) -> Any:
    from ..host.extraction.files import listed_file

    if not text:
        return text
    try:
        return _stamp(listed_file(text))
    except UserError as error:
        return str(error)


def _stamp(path: Path) -> list[Any]:
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]


def _finish(events: Events, node_id: str, strength: float = 1.0) -> io.NodeOutput:
    last = follow(events, Work(node_id))
    path, report = last.path, last.report
    assert isinstance(report, Report), "the last event has the file and its report"
    current_session().stack_files.note(path)
    show_report("\n".join((*report.lines, f"Saved as {paths.lora_place(path)}.")), node_id)
    return io.NodeOutput(lora_stack(path, strength), str(path), report.text)
