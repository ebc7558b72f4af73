"""A LoRA file as everything a graph may want of it: applied to the model, as a stack, as a state dict, as a path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from ..trainer.training.runs import Run
from .drawing.pictures import to_batch
from .drawing.plot import loss_plot
from .paths import lora_name


@dataclass(frozen=True)
class LoraOutputs:
    """What the sockets carry of one LoRA file below the host's LoRA folder."""

    path: str
    stack: list[tuple[str, float, float]]
    weights: dict[str, Tensor]


def lora_outputs(path: Path, strength: float = 1.0) -> LoraOutputs:
    return LoraOutputs(str(path), [(lora_name(path), strength, strength)], load_file(path))


def apply_to(model: Any, clip: Any, path: Path, strength: float = 1.0) -> tuple[Any, Any]:
    """(MODEL, CLIP) with the LoRA, through the host's own loader; what was given stays as it is."""
    from .backbone.model import apply_lora

    return apply_lora(model, clip, path, strength, strength)


def run_plot(run: Run) -> Tensor:
    """The run's losses as an IMAGE."""
    rows = run.metrics()
    losses = [(row["step"], row["loss"]) for row in rows if row.get("loss") is not None]
    validation = [(row["step"], row["validation_loss"]) for row in rows if row.get("validation_loss") is not None]
    return to_batch(loss_plot(run.name, run.config.steps, losses, validation))
