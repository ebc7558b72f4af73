"""TrainConfig: every setting of a training run, checked when built.

Settings are grouped by who reads them. Names follow the field (rank, alpha, keep_tokens, ...).
Two runs with equal configs, base, and dataset are the same run: see `runs.py`.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..captions.kinds import KINDS
from ..common.checks import check, check_choice
from ..common.errors import unknown_name
from ..common.names import checked_name, name_from
from ..common.schema import convert
from ..models.edit_forms import AUTO, EDIT_FORMS
from .objectives import ObjectiveConfig
from .optimizers import OPTIMIZERS, OptimizerConfig
from .preserving.settings import PreservationConfig
from .tuners.ranks import read_block_ranks

LAYER_PRESETS = ("attention", "attention+mlp", "all")
DORA, LOHA, LOKR = "dora", "loha", "lokr"
ADAPTER_KINDS = ("lora", DORA, LOHA, LOKR)
LORA, FULL = "lora", "full"
METHODS = (LORA, FULL)
"""A LoRA beside the network, or the network's own weights."""
PRECISIONS, AUTO_PRECISION = ("fp32", "bf16", "fp16"), "auto"
UNMASKED_WEIGHT, PRIOR_WEIGHT = 0.1, 0.5
"""Defaults of a masked loss: the surroundings count a tenth of the subject, and are held to the base's prediction with
half the weight of the subject's loss."""


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Which layers get an adapter, its kind and its size. The output is scaled by alpha / rank."""

    rank: int = 16
    alpha: float = 16.0
    conv_rank: int = 0
    """Rank for 3x3 convolutions; 0 leaves them out. 1x1 convolutions count as linear layers."""
    conv_alpha: float | None = None
    """Alpha of the convolutions; None keeps the ratio alpha / rank of the linear layers (with rank_stabilized, their
    alpha)."""
    layers: str = "attention+mlp"
    text_encoder: bool = False
    kind: str = "lora"
    """Kind of adapter: two factors (lora), these and a magnitude (dora), or the entrywise (loha) or the Kronecker
    product (lokr) of smaller matrices."""
    rank_stabilized: bool = False
    """Scale the output by alpha / sqrt(rank) instead (rsLoRA, arXiv:2312.03732)."""
    lokr_factor: int = -1
    """Side of the smaller of LoKr's two matrices; -1 makes both about equally large."""
    block_ranks: str = ""
    """Ranks of blocks or layers, as "down_blocks.1=32, mid=8"; 0 leaves them out. See `tuners/ranks.py`."""

    def __post_init__(self) -> None:
        check(1 <= self.rank <= 1024, "rank", self.rank, "from 1 to 1024")
        check(0 <= self.conv_rank <= 1024, "conv_rank", self.conv_rank, "from 0 to 1024")
        check(self.alpha > 0, "alpha", self.alpha, "greater than 0")
        check(self.conv_alpha is None or self.conv_alpha > 0, "conv_alpha", self.conv_alpha, "greater than 0")
        check_choice("layers", self.layers, LAYER_PRESETS)
        check_choice("adapter.kind", self.kind, ADAPTER_KINDS)
        check(self.lokr_factor == -1 or 1 <= self.lokr_factor <= 1024, "lokr_factor", self.lokr_factor,
              "from 1 to 1024, or -1")
        read_block_ranks(self.block_ranks)

    @property
    def alpha_of_convolutions(self) -> float:
        """conv_alpha, or what it is by default: with rank_stabilized the alpha of the linear layers, which has the
        same meaning at any rank."""
        if self.conv_alpha is not None:
            return self.conv_alpha
        return self.alpha if self.rank_stabilized else self.alpha / self.rank * self.conv_rank


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How images and captions become training samples."""

    resolution: int = 512
    """Side of the square, in pixels, whose area no bucket exceeds."""
    batch_size: int = 1
    upscale: bool = False
    trigger: str = ""
    keep_tokens: int = 1
    """Number of leading tags that stay in place when captions are shuffled or tags are dropped."""
    shuffle_captions: bool = False
    tag_dropout: float = 0.0
    caption_dropout: float = 0.0
    caption_variants: int = 8
    """Number of shuffled or tag-dropped variants of a caption to cache (1 if neither is on)."""
    flip: bool = False
    """Also train on mirrored images. Off by default: characters are rarely symmetric."""
    edit_form: str = AUTO
    """How an edit model is given the images' control images; auto: as its file's name says."""
    cache: str = "disk"
    """Part of the latents and text embeddings that is held in memory. All are saved on disk for all runs. ram: all that
    the run uses; disk: what was used last."""
    validation_fraction: float = 0.0
    masked_loss: bool = False
    """Train on what the images' masks show; images without a mask are trained whole."""
    unmasked_weight: float = UNMASKED_WEIGHT
    """Weight of the area outside the mask relative to the inside."""
    masked_prior: float = PRIOR_WEIGHT
    """How firmly the network is held to the base's prediction outside the mask; 0 turns this off. It costs a second
    forward pass per step."""
    set_aside_outliers: bool = False
    """From the next epoch on, train on other images in place of those whose loss stays far above the others'."""
    prior_loss_weight: float = 1.0
    """Weight of regularisation images in the loss; without any, no effect."""

    def __post_init__(self) -> None:
        check(16 <= self.resolution <= 8192, "resolution", self.resolution, "from 16 to 8192 pixels")
        check(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        check(self.keep_tokens >= 0, "keep_tokens", self.keep_tokens, "0 or more")
        check(self.caption_variants >= 1, "caption_variants", self.caption_variants, "1 or more")
        check_choice("edit_form", self.edit_form, (AUTO, *EDIT_FORMS))
        check_choice("cache", self.cache, ("ram", "disk"))
        for name in ("tag_dropout", "caption_dropout", "validation_fraction"):
            value = getattr(self, name)
            check(0 <= value < 1, name, value, "from 0 to below 1")
        check(0 <= self.unmasked_weight <= 1, "unmasked_weight", self.unmasked_weight, "from 0 to 1")
        for name in ("masked_prior", "prior_loss_weight"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run."""

    name: str = "lora"
    method: str = LORA
    """What is trained: a LoRA, or the denoiser itself with the text encoders frozen (full)."""
    kind: str = "character"
    steps: int = 1000
    """Optimizer steps (each of accumulation_steps batches)."""
    epochs: int = 0
    """Passes over the images; if above 0, they decide the number of steps. 0: steps does."""
    seed: int = 0
    accumulation_steps: int = 1
    precision: str = AUTO_PRECISION
    """Precision of the network's arithmetic (autocast); the LoRA itself is fp32, or as the optimizer has it, and a
    network that is trained itself has weights of this precision, where bf16 is rounded by chance. auto: bf16
    (or fp16) on a GPU over a base in 16 bits or less, otherwise fp32. A run records which."""
    gradient_checkpointing: bool = False
    """Compute all blocks again in the backward pass instead of keeping what they computed."""
    compile: bool = False
    """Compile the network's repeated blocks (torch.compile); results differ by rounding."""
    save_every: int = 0
    """Steps between checkpoints; 0: only the last."""
    save_every_epochs: int = 0
    validate_every: int = 0
    preview_every: int = 0
    preview_prompts: tuple[str, ...] = ()
    state_every: int = 0
    """The full state, from which a killed run resumes, is saved only at multiples of this many steps. 0: at any
    step."""
    state_minutes: float = 5.0
    """Shortest time between two saves of the full state, in minutes; 0: state_every alone decides. If both are 0, the
    state is saved only when the run is stopped, is cancelled or fails."""
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    data: DataConfig = field(default_factory=DataConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    fit_memory: bool = True
    """Without gradient_checkpointing: recompute just enough blocks in the backward pass for a step to fit the card,
    counted before the first step, and more if memory runs out in a step."""
    offload_blocks: float = 0.0
    """Share of the blocks whose weights are in RAM and are copied to the card at each use. For a LoRA it has no effect
    in ComfyUI, which does this by itself. In a fine-tune, fit_memory raises it as the card needs it."""
    beside_chance: float = 1.0
    """Chance of a step to be trained with the LoRAs that the run is given beside its own; without any, no effect."""
    preservation: PreservationConfig = field(default_factory=PreservationConfig)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", checked_name(self.name))
        check_choice("method", self.method, METHODS)
        check_choice("kind", self.kind, KINDS)
        check_choice("precision", self.precision, (AUTO_PRECISION, *PRECISIONS))
        check(self.steps >= 1, "steps", self.steps, "1 or more")
        check(0 <= self.seed < 2**63, "seed", self.seed, "from 0 to 2^63 - 1")
        check(self.accumulation_steps >= 1, "accumulation_steps", self.accumulation_steps, "1 or more")
        check(self.state_every >= 0, "state_every", self.state_every, "0 (any step) or more")
        check(0 <= self.state_minutes < math.inf, "state_minutes", self.state_minutes,
              "0 (state_every alone decides) or more")
        check(self.epochs >= 0, "epochs", self.epochs, "0 (steps decides) or more")
        for name in ("offload_blocks", "beside_chance"):
            check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "from 0 to 1")
        for name in ("save_every", "save_every_epochs", "validate_every", "preview_every"):
            check(getattr(self, name) >= 0, name, getattr(self, name), "0 (off) or more")
        check(not self.optimizer.max_norm or self.adapter.kind == LORA, "max_norm", self.optimizer.max_norm,
              f"0 for adapter.kind {self.adapter.kind}: only the norm of a LoRA's two factors is known without their "
              "product")
        if self.method == FULL:
            self._check_full()

    def _check_full(self) -> None:
        """Raises UserError for a setting with which the network itself cannot be trained."""
        check(self.precision != "fp16", "precision", self.precision,
              "bf16, fp32 or auto in a fine-tune: weights in fp16 cannot be trained")
        check(OPTIMIZERS[self.optimizer.name].alone, "optimizer", self.optimizer.name,
              f"{', '.join(name for name, row in OPTIMIZERS.items() if row.alone)} in a fine-tune: others need the "
              "gradients of all weights at once")
        plain = AdapterConfig()
        for name in ("kind", "rank_stabilized", "lokr_factor", "block_ranks"):
            value, usual = getattr(self.adapter, name), getattr(plain, name)
            check(value == usual, f"adapter.{name}", value, f"{usual!r} in a fine-tune, which has no adapters")
        for name, value in (("adapter.text_encoder", self.adapter.text_encoder), ("compile", self.compile)):
            check(not value, name, value, "off in a fine-tune, which trains the network's own weights only")
        for name in ("max_norm", "ema_decay"):
            check(getattr(self.optimizer, name) == 0, name, getattr(self.optimizer, name),
                  "0 in a fine-tune: it is for the weights of a LoRA")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The reverse of `to_dict`; settings left out take their defaults.

        Raises UserError for a name that is not a setting (with the nearest valid one) or a value of the wrong type.
        """
        config: TrainConfig = convert(values, cls, strict=True)
        return config

    @classmethod
    def of_run(cls, values: Mapping[str, Any]) -> TrainConfig:
        """The settings that run.json holds, as `from_dict` reads them. A run is called as its folder is, so a name that
        older versions took and this one refuses is only adapted."""
        name = values.get("name", "")
        return cls.from_dict({**values, "name": name_from(name, "lora") if isinstance(name, str) else name})

    def replace(self, **settings: Any) -> TrainConfig:
        """A copy with settings changed by dotted name, as in `replace(**{"adapter.rank": 8, "steps": 100})`.

        Raises UserError for a name that is not a setting, or a value that it cannot have.
        """
        values = self.to_dict()
        for dotted, value in settings.items():
            *groups, name = dotted.split(".")
            target = values
            for group in groups:
                if not isinstance(target.get(group), dict):
                    raise unknown_name("setting group", group, (k for k, v in target.items() if isinstance(v, dict)))
                target = target[group]
            if name not in target:
                raise unknown_name("setting", dotted, setting_names())
            target[name] = value
        return self.from_dict(values)


_OF_LORAS = ("optimizer.text_encoder_learning_rate", "optimizer.max_norm", "optimizer.ema_decay")


def is_of_loras(name: str) -> bool:
    """Whether a setting, by its dotted name, has no meaning in a fine-tune."""
    return name.startswith("adapter.") or name in _OF_LORAS


def setting_names(cls: type = TrainConfig, prefix: str = "") -> list[str]:
    """Every dotted setting name, for error messages and the command line's --set."""
    names: list[str] = []
    for name, kind in typing.get_type_hints(cls).items():
        group = isinstance(kind, type) and dataclasses.is_dataclass(kind)
        names += setting_names(kind, f"{prefix}{name}.") if group else [prefix + name]
    return names
