"""From a family's preset row to a full TrainConfig: the starting point of every stage and of `lora-bootstrap train`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..common.errors import unknown_name
from ..models.families import Family
from .config import TrainConfig


def preset_config(family: Family, kind: str, settings: Mapping[str, Any] | None = None) -> TrainConfig:
    """The family's preset for `kind` (style, character, concept), then `settings` by dotted name on top.

    Raises UserError for an unknown kind, setting, or value.
    """
    if kind not in family.presets:
        raise unknown_name(f"kind of LoRA for {family.title}", kind, family.presets)
    preset = family.presets[kind]
    values = {
        "kind": kind,
        "steps": preset.steps,
        "adapter.rank": preset.rank,
        "adapter.alpha": float(preset.alpha),
        "adapter.conv_rank": preset.conv_rank,
        "adapter.layers": preset.layers,
        "adapter.text_encoder": preset.text_encoder_learning_rate is not None,
        "optimizer.learning_rate": preset.learning_rate,
        "optimizer.text_encoder_learning_rate": preset.text_encoder_learning_rate,
        "optimizer.schedule": preset.schedule,
        "data.batch_size": preset.batch_size,
        "data.resolution": family.resolution,
        "data.shuffle_captions": True,
        "data.caption_dropout": 0.1,
    }
    return TrainConfig().replace(**{**values, **(settings or {})})
