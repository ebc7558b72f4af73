"""What a run says of settings that cannot work or will hardly work, and of steps that went wrong."""

from __future__ import annotations

from pathlib import Path

import torch

from ...common.counts import format_rate
from ...common.errors import UserError
from ...models.backbone import Backbone
from ..config import TrainConfig
from ..optimizers import OPTIMIZERS, rate_warning


def check_scaling(backbone: Backbone, config: TrainConfig) -> None:
    """Raises UserError for weights whose gradients cannot be scaled, as fp16 needs it."""
    if config.precision != "fp16":
        return
    name = config.optimizer.name
    if OPTIMIZERS[name].dtype != torch.float32:
        raise UserError(f"precision is fp16, in which optimizer {name} cannot train: set precision to bf16 or fp32, or "
                        "choose optimizer adamw.")
    if config.adapter.text_encoder and backbone.text_network and backbone.text_device.type != backbone.device.type:
        raise UserError(f"precision is fp16, in which the text encoder cannot be trained on the "
                        f"{backbone.text_device.type} while the network is on {backbone.device.type}: set precision to "
                        "bf16 or fp32, or turn adapter.text_encoder off.")


def cautions_of(backbone: Backbone, config: TrainConfig) -> tuple[str, ...]:
    """What the settings will hardly do, one line each."""
    text = ""
    if config.adapter.text_encoder and not backbone.family.trains_text:
        text = (f"the text encoder of {backbone.family.title} is a language model, which LoRAs usually leave as it is. "
                "adapter.text_encoder is on: turn it off if the LoRA forgets words.")
    return tuple(filter(None, (rate_warning(config.optimizer), text)))


def divergence_advice(name: str, figure: float, step: int, config: TrainConfig, folder: Path) -> str:
    """`name`: of the figure that is not finite, "loss" or "gradient"."""
    remedy = "use precision bf16 or fp32, or " if config.precision == "fp16" else ""
    return (
        f"the {name} became {figure} at step {step}: {remedy}lower optimizer.learning_rate "
        f"(now {config.optimizer.learning_rate:g}). Earlier checkpoints are still in {folder}."
    )


def overfitting_advice(step: int, share: float, config: TrainConfig) -> str:
    """`share`: of the training loss at its beginning."""
    return (
        f"step {step}: the training loss is down to {share:.0%} of its beginning, so the images are being "
        "learnt by heart. Compare earlier checkpoints; to train again, take fewer steps, more images, or half the "
        f"learning rate (now {format_rate(config.optimizer.learning_rate)})."
    )


def memory_advice(step: int, config: TrainConfig, folder: Path, *, all_recomputed: bool) -> str:
    """`step`: in which memory ran out, from 1."""
    data = config.data
    checkpointing = "" if all_recomputed else "turn on gradient_checkpointing, "
    return (
        f"memory ran out at step {step} with batch size {data.batch_size} at {data.resolution} px: "
        f"{checkpointing}lower data.batch_size (and raise accumulation_steps) or data.resolution. "
        f"What was trained so far is saved in {folder}; run again to continue from there."
    )
