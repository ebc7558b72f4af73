"""A LoRA file as everything a workflow may need: applied to the model, as a stack, as a state dict, as a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_execution.graph_utils import ExecutionBlocker
from safetensors.torch import load_file
from torch import Tensor

from ..trainer.common.errors import UserError
from ..trainer.lora.hashes import check_weights
from ..trainer.pictures.curves import loss_plot
from ..trainer.training.runs import Run, is_measured, read_losses
from .drawing.pictures import to_batch
from .paths import lora_name


@dataclass(frozen=True)
class LoraOutputs:
    """What the sockets carry for one LoRA file in ComfyUI's LoRA folder."""

    path: str
    stack: list[tuple[str, float, float]] | ExecutionBlocker
    weights: dict[str, Tensor]


def lora_outputs(path: Path, strength: float = 1.0) -> LoraOutputs:
    """All of them for one file. Raises UserError if its weights were damaged."""
    check_weights(path)
    return LoraOutputs(str(path), lora_stack(path, strength), load_file(path))


def lora_stack(path: Path, strength: float = 1.0) -> list[tuple[str, float, float]] | ExecutionBlocker:
    """A LORA_STACK of one file; an ExecutionBlocker that gives the reason if the host finds another file under its
    name."""
    try:
        return [(lora_name(path), strength, strength)]
    except UserError as error:
        return ExecutionBlocker(str(error))


def apply_to(model: Any, clip: Any, path: Path, strength: float = 1.0) -> tuple[Any, Any]:
    """(MODEL, CLIP) with the LoRA, through the host's own loader. The inputs are left unchanged."""
    from .backbone.loras import apply_lora

    return apply_lora(model, clip, path, strength, strength)


def run_plot(run: Run) -> Tensor:
    """The run's losses as an IMAGE."""
    validation = [(row["step"], row["validation_loss"]) for row in run.metrics()
                  if is_measured(row.get("validation_loss"))]
    return to_batch(loss_plot(run.name, run.config.steps, read_losses(run.folder), validation))
