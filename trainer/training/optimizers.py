"""Optimizers by name, one table row each. A new optimizer is a new row.

The table is read before torch is imported, by what checks the settings of the command line.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..common.checks import check, check_choice
from ..common.errors import UserError
from .schedules import SCHEDULES

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The optimizer, its rates, and how the rate moves over the run."""

    name: str = "adamw"
    learning_rate: float = 1e-4
    text_encoder_learning_rate: float | None = None
    """None: half the learning rate."""
    weight_decay: float = 0.01
    schedule: str = "constant"
    warmup_steps: int = 0
    cycles: int = 1
    """Cycles of cosine_with_restarts."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm; 0 turns clipping off."""
    max_norm: float = 0.0
    """After each step, what a layer of a LoRA adds is scaled down to this norm; 0 turns it off."""
    ema_decay: float = 0.0
    """Share of an average of the LoRA's weights that each step keeps. The average is what is shown and saved; 0 turns
    it off. See `step/averages.py`."""

    def __post_init__(self) -> None:
        check_choice("optimizer", self.name, OPTIMIZERS)
        check_choice("schedule", self.schedule, SCHEDULES)
        check(self.learning_rate > 0, "learning_rate", self.learning_rate, "greater than 0")
        te = self.text_encoder_learning_rate
        check(te is None or te > 0, "text_encoder_learning_rate", te, "greater than 0")
        check(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        check(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "0 or more")
        check(self.cycles >= 1, "cycles", self.cycles, "1 or more")
        check(self.max_grad_norm >= 0, "max_grad_norm", self.max_grad_norm, "0 or more")
        check(0 <= self.max_norm < math.inf, "max_norm", self.max_norm, "0 (off) or more")
        check(0 <= self.ema_decay < 1, "ema_decay", self.ema_decay, "from 0 (off) to below 1")
        check(not (self.ema_decay and OPTIMIZERS[self.name].averages), "ema_decay", self.ema_decay,
              f"0 with optimizer {self.name}, which averages its weights itself")
        check(not (self.max_norm and OPTIMIZERS[self.name].averages), "max_norm", self.max_norm,
              f"0 with optimizer {self.name}, which saves an average that the limit does not reach")


@dataclass(frozen=True)
class OptimizerRow:
    """How an optimizer is built.

    Attributes:
        build: (parameter groups with `lr`, weight decay) → optimizer.
        rate: the learning rate to start from, for optimizers that find their own.
        precision: name of the type of the weights that it trains.
        alone: whether it can step one parameter without the others' gradients, as a fine-tune does.
        factored: whether it keeps a moment for each row and column of a weight instead of each value. A fine-tune gives
            it convolutions as matrices, or their rows would be those of the 3x3 kernels.
        averages: whether it holds an average of the weights, which is what is shown and saved: it has `train` and
            `eval`, which swap one for the other.
        schedule: the schedule to start from, for optimizers that need none.
        share: share of a preset's learning rate, which is for AdamW, that it starts from.
        renewed: whether it trains otherwise than in earlier versions, so that their runs are not this one's.
    """

    title: str
    build: Callable[[list[dict[str, Any]], float], torch.optim.Optimizer]
    rate: float | None = None
    precision: str = "float32"
    alone: bool = True
    factored: bool = False
    averages: bool = False
    schedule: str | None = None
    share: float = 1.0
    renewed: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights that it trains."""
        import torch

        dtype: torch.dtype = getattr(torch, self.precision)
        return dtype


def _need(module: str, extra: str, optimizer: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f"optimizer {optimizer!r} needs the library {module!r}, which is not installed: "
            f'pip install "lora-bootstrap[{extra}]", or choose adamw.'
        ) from error


def _adamw(groups: list[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    from torch.optim import AdamW

    from .step.rounding import has_fused_adamw

    fused = has_fused_adamw(weight for group in groups for weight in group["params"])
    return AdamW(groups, weight_decay=weight_decay, fused=fused or None)


def _adamw8bit(groups: list[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    return _need("bitsandbytes", "8bit", "adamw8bit").optim.AdamW8bit(groups, weight_decay=weight_decay)


def _adafactor(groups: list[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    from transformers.optimization import Adafactor

    return Adafactor(groups, weight_decay=weight_decay, scale_parameter=False, relative_step=False, warmup_init=False)


def _prodigy(groups: list[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    prodigy = _need("prodigyopt", "prodigy", "prodigy").Prodigy
    # Without safeguard_warmup the estimate of the rate is poisoned by the warm-up's small steps. Bias correction makes
    # the first steps so small that the estimate is found late: on the sandbox after 80 steps, in place of 20.
    return prodigy(groups, weight_decay=weight_decay, use_bias_correction=False, safeguard_warmup=True)


def _adamw_bf16(groups: list[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    from .step.rounding import RoundedAdamW

    return RoundedAdamW(groups, weight_decay=weight_decay)


def _schedule_free(groups: list[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    optimizer = _need("schedulefree", "schedulefree", "adamw_schedule_free").AdamWScheduleFree(
        groups, weight_decay=weight_decay)
    optimizer.train()
    return optimizer  # type: ignore[no-any-return]


def _lion(groups: list[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    return _need("pytorch_optimizer", "optimizers", "lion").Lion(groups, weight_decay=weight_decay)


def _came(groups: list[dict[str, Any]], weight_decay: float) -> torch.optim.Optimizer:
    return _need("pytorch_optimizer", "optimizers", "came").CAME(groups, weight_decay=weight_decay)


LEAST_SHARE = 0.1
"""Share of its own rate below which an optimizer that finds it hardly learns."""
GROWN = 10
"""How many times its start the rate must be that an optimizer finds. From there on it grows fast."""

OPTIMIZERS = {
    "adamw": OptimizerRow("AdamW", _adamw),
    "adamw8bit": OptimizerRow("AdamW, 8-bit state (bitsandbytes)", _adamw8bit),
    "adafactor": OptimizerRow("Adafactor, fixed rate", _adafactor, factored=True),
    "prodigy": OptimizerRow("Prodigy, finds its own rate (set learning_rate to 1)", _prodigy, rate=1.0, alone=False,
                            renewed=True),
    "adamw_bf16": OptimizerRow("AdamW, LoRA and state in bf16, rounded by chance", _adamw_bf16, precision="bfloat16",
                               alone=False),
    "adamw_schedule_free": OptimizerRow("AdamW, schedule-free (2405.15682)", _schedule_free, alone=False, averages=True,
                                        schedule="constant"),
    "lion": OptimizerRow("Lion (2302.06675), a third of AdamW's rate", _lion, share=1 / 3),
    "came": OptimizerRow("CAME (2307.02047), little memory, a tenth of AdamW's rate", _came, factored=True, share=0.1),
}


def rate_warning(settings: OptimizerConfig) -> str:
    """One line if the optimizer finds its own rate, but the configured one holds it back; else ""."""
    own = OPTIMIZERS[settings.name].rate
    if own is None or settings.learning_rate >= LEAST_SHARE * own:
        return ""
    return (f"{settings.name} finds its own rate and multiplies it by optimizer.learning_rate, so at "
            f"{settings.learning_rate:g} it hardly learns. Set the learning rate to {own:g}, or to 0 in Train LoRA.")


def found_rate_warning(optimizer: torch.optim.Optimizer) -> str:
    """One line if a training ends before its optimizer has found a rate to learn at; else ""."""
    group = optimizer.param_groups[0]
    if "d" not in group or group["d"] >= GROWN * group["d0"]:
        return ""
    return (f"the optimizer finds its own rate, which has only grown from {group['d0']:.1g} to {group['d']:.1g}, so "
            "the training has hardly changed anything. Take more steps or another optimizer, such as adamw.")


def build_optimizer(
    name: str, groups: Sequence[tuple[Sequence[torch.nn.Parameter], float]], weight_decay: float
) -> torch.optim.Optimizer:
    """The optimizer of that name over groups of (parameters, learning rate). Empty groups are left out.

    Each group also keeps its rate as `base_lr`, from which the schedule sets `lr`.
    """
    rows = [{"params": list(parameters), "lr": rate} for parameters, rate in groups if len(parameters)]
    optimizer = OPTIMIZERS[name].build(rows, weight_decay)
    for group in optimizer.param_groups:
        group["base_lr"] = group["lr"]
    return optimizer
