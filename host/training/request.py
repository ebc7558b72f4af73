"""What a node is asked to train: its widgets and sockets, and how they become a TrainConfig."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...trainer.captions.kinds import get_kind, name_lora
from ...trainer.captions.tags import add_trigger, escape_brackets, join_tags, split_tags
from ...trainer.common.errors import UserError
from ...trainer.datasets.dataset import Dataset
from ...trainer.models.families import Family
from ...trainer.stacks.stack import StackEntry
from ...trainer.training.config import FULL, LORA, TrainConfig
from ...trainer.training.presets import Planned, check_length, kind_preset, plan_training
from .. import paths

SAVES, PREVIEWS = 4, 5
"""How often a run saves and draws by default."""


@dataclass(frozen=True)
class TrainSettings:
    """Settings of trainer.training.config.TrainConfig by dotted name; absent ones are left to the preset."""

    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Widgets:
    """TrainLora's widgets; 0 leaves a number to the preset."""

    name: str
    trigger: str = ""
    kind: str = "character"
    steps: int = 0
    rank: int = 0
    alpha: float = 0.0
    learning_rate: float = 0.0
    batch_size: int = 0
    resolution: int = 0
    seed: int = 0
    epochs: int = 0
    optimizer: str = ""
    method: str = LORA


SETTING = {"optimizer": "optimizer.name", "steps": "steps", "rank": "adapter.rank", "alpha": "adapter.alpha",
           "learning_rate": "optimizer.learning_rate", "batch_size": "data.batch_size",
           "resolution": "data.resolution", "epochs": "epochs"}
"""The settings that widgets set, by dotted name."""


@dataclass(frozen=True)
class TrainRequest:
    """What the node is asked to train."""

    dataset: Dataset
    validation: Dataset | None
    widgets: Widgets
    settings: TrainSettings = TrainSettings()
    retrain: bool = False
    regularisation: Dataset | None = None
    beside: Sequence[StackEntry] = ()


def check_name(name: str) -> None:
    """Raises UserError if the name cannot be a run's."""
    TrainConfig(name=name.strip())
    paths.own_folder(paths.loras_root(), name)


def widgets_problem(name: str | None, trigger: str | None, kind: str | None, steps: int | None, epochs: int | None,
                    method: str = LORA) -> bool | str:
    """For validate_inputs: True, or what is wrong. A value that is linked (None) is not known yet."""
    try:
        if name is not None:
            check_name(name)
        if kind is not None and get_kind(kind).needs_trigger and trigger is not None and not split_tags(trigger):
            made = f"a fine-tune of kind {kind}" if method == FULL else name_lora(kind)
            raise UserError(f"the trigger is empty; {made} needs a word that calls it, such as eiei21girl. Only a "
                            "style can do without.")
        TrainConfig(steps=steps or 1, epochs=epochs or 0)  # the host leaves the range of what is taken here to us
        check_length(steps or 0, epochs or 0)
    except UserError as error:
        return str(error)
    return True


def plan_run(job: TrainRequest, family: Family, precision: str) -> Planned:
    """The family's preset, overridden by TrainSettings, then by the node's own widgets, plus how often to save and
    draw.

    Raises UserError for invalid values, and for images with neither a caption nor a trigger.
    """
    widgets, settings = job.widgets, dict(job.settings.values)
    check_name(widgets.name)
    planned = plan_training(family, widgets.kind, {
        "precision": precision, "method": widgets.method, "name": widgets.name.strip(),
        "data.trigger": widgets.trigger.strip(), "seed": widgets.seed, **settings,
        **own_settings(widgets, family)}, job.dataset, job.validation, job.regularisation)
    config = planned.config
    if not config.data.trigger and not any(sample.caption for sample in job.dataset):
        raise UserError(f"none of the {len(job.dataset)} images has a caption, and there is no trigger. Put a .txt "
                        "beside each image (a.txt for a.png), or give a trigger.")
    return dataclasses.replace(planned, config=config.replace(**_cadence(config, settings, job)))


def own_settings(widgets: Widgets, family: Family) -> dict[str, Any]:
    """What the node's own widgets set, by dotted name."""
    own = {dotted: value for name, dotted in SETTING.items() if (value := getattr(widgets, name))}
    if widgets.rank and not widgets.alpha:
        preset = kind_preset(family, widgets.kind)
        own["adapter.alpha"] = widgets.rank * preset.alpha / preset.rank
    return own


def _cadence(config: TrainConfig, settings: Mapping[str, Any], job: TrainRequest) -> dict[str, Any]:
    """How often a run saves and draws where TrainSettings does not say."""
    often = {"save_every": 0 if config.save_every_epochs else SAVES, "preview_every": PREVIEWS}
    found: dict[str, Any] = {
        name: -(-config.steps // times) if times else 0 for name, times in often.items() if name not in settings}
    if not config.preview_prompts:
        caption = next((sample.caption for sample in job.dataset if sample.caption), "")
        found["preview_prompts"] = [escape_brackets(join_tags(add_trigger(split_tags(caption), config.data.trigger)))]
    return found
