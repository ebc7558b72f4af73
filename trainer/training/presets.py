"""From a family's preset row to a full TrainConfig: the starting point of every stage and of every training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..captions.kinds import get_kind
from ..common.errors import UserError, unknown_name
from ..datasets.dataset import Dataset, split_validation
from ..models.families import Family, Preset
from .config import FULL, TrainConfig
from .epochs import Epoch, describe_steps, steps_for
from .optimizers import OPTIMIZERS
from .preserving.regularisation import as_regularisation


def check_length(steps: int, epochs: int) -> None:
    """Raises UserError if both are given."""
    if steps and epochs:
        raise UserError(f"steps is {steps} and epochs is {epochs}, but only one of them can decide how long the "
                        "training is. Leave the other at 0.")


def kind_preset(family: Family, kind: str) -> Preset:
    """Where a LoRA of that kind starts on the family. Raises UserError for an unknown kind."""
    row = get_kind(kind, f"kind of LoRA for {family.title}")
    if row.preset not in family.presets:
        raise unknown_name(f"preset of {family.title}", row.preset, family.presets)
    preset = family.presets[row.preset]
    return replace(preset, rank=max(1, round(preset.rank * row.rank)), alpha=preset.alpha * row.rank,
                   images=row.images if preset.images is None else preset.images)


def preset_config(family: Family, kind: str, settings: Mapping[str, Any] | None = None) -> TrainConfig:
    """The family's preset for `kind`, a key of `kinds.KINDS`, then `settings` by dotted name on top.

    Raises UserError for an unknown kind, setting, or value, and for a length in steps and in epochs.
    """
    settings = dict(settings or {})
    check_length(settings.get("steps", 0), settings.get("epochs", 0))
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
        **(_full_settings(family) if settings.get("method") == FULL else {}),
    }
    return TrainConfig().replace(**{**values, **_optimizers_own(values, settings.get("optimizer.name")), **settings})


def _optimizers_own(preset: Mapping[str, Any], name: Any) -> dict[str, Any]:
    """What the optimizer of that name starts from in place of a preset's rates and schedule, which are for AdamW."""
    if name not in OPTIMIZERS:
        return {}
    row, text_rate = OPTIMIZERS[name], preset["optimizer.text_encoder_learning_rate"]
    return {"optimizer.learning_rate": row.rate or row.share * preset["optimizer.learning_rate"],
            "optimizer.text_encoder_learning_rate": text_rate and row.share * text_rate,
            "optimizer.schedule": row.schedule or preset["optimizer.schedule"]}


FULL_RATE, FULL_RATES = 4e-6, {"sandbox": 2e-4}
"""Learning rate of a fine-tune, and that of families that need another: the sandbox is small."""


def _full_settings(family: Family) -> dict[str, Any]:
    """What a fine-tune has in place of the preset of a LoRA."""
    return {"optimizer.name": "adafactor", "optimizer.learning_rate": FULL_RATES.get(family.name, FULL_RATE),
            "optimizer.schedule": "constant", "optimizer.text_encoder_learning_rate": None,
            "adapter.text_encoder": False, "data.batch_size": 2}


@dataclass(frozen=True)
class Planned:
    """A training as it will be run.

    Attributes:
        length: how its steps follow from the images, in a sentence without an end.
    """

    config: TrainConfig
    length: str


VALIDATIONS = 10
"""How often a run measures the images that are held back."""


def plan_training(family: Family, kind: str, settings: Mapping[str, Any], dataset: Dataset,
                  validation: Dataset | None = None, regularisation: Dataset | None = None) -> Planned:
    """`preset_config` for a dataset: where the settings give neither steps nor epochs, the steps suit the number of
    images that are trained on, and are twice as many with regularisation images, which have every second batch. Images
    that are held back are measured on, also where the settings do not say how often.

    Args:
        validation: images to measure on; None: those that `data.validation_fraction` holds back.
    """
    config = preset_config(family, kind, settings)
    if validation is None:
        dataset, _ = split_validation(dataset, config.data.validation_fraction, config.seed)
    epoch, why = Epoch.of(dataset.concat(as_regularisation(regularisation)), config, family.bucket_step), ""
    if config.epochs:
        config = replace(config, steps=epoch.steps(config.epochs))
    elif not settings.get("steps"):
        preset, images = kind_preset(family, kind), len(epoch.repeats)
        turns, why = 2 if epoch.regularisation else 1, describe_steps(preset, images)
        config = replace(config, steps=turns * steps_for(preset, images))
        why += ", and as many for the regularisation images" if why and turns > 1 else ""
    if "validate_every" not in settings and (validation is not None or config.data.validation_fraction):
        config = replace(config, validate_every=-(-config.steps // VALIDATIONS))
    return Planned(config, epoch.describe(config.steps) + (f" ({why})" if why else ""))


# -- a training in one line --------------------------------------------------------------------------------------------


def word_rate(rate: float) -> str:
    """A learning rate the way configurations write it: 0.0015 is "1.5e-3", and prodigy's 1 is "1"."""
    if rate >= 0.1:
        return f"{rate:g}"
    digits, _, exponent = f"{rate:.3e}".partition("e")
    return f"{float(digits):g}e{int(exponent)}"


FIGURES: Mapping[str, tuple[str, Callable[[TrainConfig], float], Callable[[float], str]]] = {
    "rank": ("rank {}", lambda config: config.adapter.rank, "{:g}".format),
    "alpha": ("alpha {}", lambda config: config.adapter.alpha, "{:g}".format),
    "learning_rate": ("rate {}", lambda config: config.optimizer.learning_rate, word_rate),
    "steps": ("{} steps", lambda config: config.steps, "{:g}".format),
    "batch_size": ("batch {}", lambda config: config.data.batch_size, "{:g}".format),
    "resolution": ("{} px", lambda config: config.data.resolution, "{:g}".format),
}
"""What a training is described by: words, the figure, and how it is written."""
OF_FULL = {"rank": "fine-tune", "alpha": "all weights"}
"""The words for figures of a LoRA, in a fine-tune."""


def word_figures(configs: Sequence[TrainConfig], instead: Mapping[str, str] | None = None) -> str:
    """`rank 8 · alpha 8 · rate 1.5e-3 · 200 steps · batch 8 · 64 px`, or `fine-tune · all weights · rate ...`; if
    several trainings may be meant, the range of each figure.

    Args:
        instead: words for figures, by their names in `FIGURES`, that the settings do not decide.
    """
    words = {name: template.format(_word_span([of(config) for config in configs], write))
             for name, (template, of, write) in FIGURES.items()}
    full = OF_FULL if all(config.method == FULL for config in configs) else {}
    return " · ".join((words | dict(instead or {}) | full).values())


def _word_span(values: Sequence[float], write: Callable[[float], str]) -> str:
    least, most = write(min(values)), write(max(values))
    return least if least == most else f"{least} to {most}"
