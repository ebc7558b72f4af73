"""From a family's preset row to a full TrainConfig: the starting point of every stage and of `lora-bootstrap train`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..captions.kinds import get_kind
from ..common.errors import unknown_name
from ..models.families import Family, Preset
from .config import TrainConfig


def kind_preset(family: Family, kind: str) -> Preset:
    """Where a LoRA of that kind starts on the family. Raises UserError for an unknown kind."""
    row = get_kind(kind, f"kind of LoRA for {family.title}")
    if row.preset not in family.presets:
        raise unknown_name(f"preset of {family.title}", row.preset, family.presets)
    preset = family.presets[row.preset]
    return replace(preset, rank=max(1, round(preset.rank * row.rank)), alpha=preset.alpha * row.rank)


def preset_config(family: Family, kind: str, settings: Mapping[str, Any] | None = None) -> TrainConfig:
    """The family's preset for `kind`, a key of `kinds.KINDS`, then `settings` by dotted name on top.

    Raises UserError for an unknown kind, setting, or value.
    """
    preset = kind_preset(family, kind)
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
