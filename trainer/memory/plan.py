"""What a training takes before it starts: memory, time, disk; and the cheapest settings with which it fits a card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from ..training.config import TrainConfig
from .bases import Base
from .cache import cached
from .cards import CARDS, GIB, step_seconds
from .published import PublishedNetwork
from .shapes import Shape
from .step import StepCount, count_step

WORKSPACE = int(0.14 * GIB)
"""What libraries take beside tensors (cuBLAS, cuDNN): fitted on one published figure, see bench/results/memory.md."""
CONTEXT = int(1.0 * GIB)
"""What the CUDA context and the gaps between tensors take on the card: fitted on one published figure, likewise."""
FILES, PYTHON = 4, 2 * GIB
"""LoRA files that a run saves by default, and RAM of the process itself."""

Counter = Callable[[TrainConfig, str], StepCount]
"""(config, precision of the base) → what a step takes."""


@dataclass(frozen=True)
class Estimate:
    """What one setting takes; sizes in bytes.

    Attributes:
        config: with the batch size and checkpointing of this setting.
        precision: of the base's weights, one of bases.BASES.
        count: as counted.
        resident: text encoders and VAE that stay on the card.
    """

    config: TrainConfig
    precision: str
    count: StepCount
    resident: int = 0

    @property
    def peak(self) -> int:
        """Bytes of all tensors at the peak, as torch.cuda.max_memory_allocated reports them."""
        return self.count.peak + self.resident + WORKSPACE

    @property
    def needed(self) -> int:
        """On the card."""
        return self.peak + CONTEXT

    @property
    def words(self) -> str:
        """The setting in words: "gradient checkpointing and bf16 base"."""
        recomputed = "gradient checkpointing and " if self.config.gradient_checkpointing else ""
        return f"{recomputed}{self.precision} base"


@dataclass(frozen=True)
class Plan:
    """Attributes:
        asked: what the settings as they are take.
        fits: the cheapest estimate that fits the card, the settings themselves if they do; None if none does.
        largest_batch: that fits with the settings of `fits`; 0 without it.
        disk, ram: bytes of what a run writes, and about what it holds in main memory.
        seconds: a step by card, for cards that can hold `fits` (or `asked`).
    """

    asked: Estimate
    fits: Estimate | None
    largest_batch: int
    disk: int
    ram: int
    seconds: dict[str, float]


def count_published(shape: Shape, config: TrainConfig, precision: str) -> StepCount:
    """Count a step on a published network. bf16 and fp16 count alike; fp8 follows from bf16."""
    if precision == "fp8":
        return in_fp8(count_published(shape, config, "bf16"))
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    config = config.replace(precision="fp32" if precision == "fp32" else "bf16")
    question = {"shape": [shape.kind, dict(shape.settings), shape.tokens, shape.width, shape.pooled], "base": precision,
                "config": {name: config.to_dict()[name] for name in ("adapter", "precision", "gradient_checkpointing")},
                "side": config.data.resolution, "batch": config.data.batch_size, "optimizer": config.optimizer.name}
    return cached(question, lambda: count_step(PublishedNetwork(shape, config, dtype), config))


def in_fp8(count: StepCount) -> StepCount:
    """The same step over weights of one byte: each layer casts its own to bfloat16 when it is used, and lets them go.
    """
    saved = count.weights // 2 - 2 * count.widest
    return replace(count, weights=count.weights // 2, peak=count.peak - saved)


def make_plan(base: Base, config: TrainConfig, precision: str, vram: float, images: int, *, resident: bool = False,
              count: Counter | None = None) -> Plan:
    """Plan a training of `config` on a card with `vram` GiB."""
    shape = base.shape
    count = count or (lambda config, precision: count_published(shape, config, precision))
    kept = 2 * (shape.encoders + shape.vae) if resident else 0

    def estimate(config: TrainConfig, precision: str) -> Estimate:
        return Estimate(config, precision, count(config, precision), kept)

    asked = estimate(config, precision)
    card = int(vram * GIB)
    fits = next((found for found in _cheaper(asked, estimate) if found.needed <= card), None)
    batch = largest_batch(fits, estimate, card) if fits else 0
    return Plan(asked, fits, batch, disk_of(asked), ram_of(shape, asked, images),
                {card.name: step_seconds((fits or asked).count, card) * config.accumulation_steps
                 for card in CARDS if (fits or asked).needed <= card.memory * GIB})


def _cheaper(asked: Estimate, estimate: Callable[[TrainConfig, str], Estimate]) -> Iterator[Estimate]:
    """The settings as they are, then what gives up least: float32 for bf16, then recomputing (a third slower), then
    precision of the base. A base that stays on the card beside its encoders is diffusers', which has no fp8."""
    yield asked
    config = asked.config
    given = config.gradient_checkpointing
    half = [(given, "bf16"), (True, "fp32"), (True, "bf16")] if asked.precision == "fp32" else [(True, asked.precision)]
    wanted = [*half, *([] if asked.resident else [(given, "fp8"), (True, "fp8")])]
    for checkpointing, precision in dict.fromkeys(wanted):
        if (checkpointing, precision) != (config.gradient_checkpointing, asked.precision):
            yield estimate(config.replace(gradient_checkpointing=checkpointing), precision)


def largest_batch(one: Estimate, estimate: Callable[[TrainConfig, str], Estimate], card: int) -> int:
    """The largest batch that fits: the need grows evenly with it, so one more is counted."""
    batch = one.config.data.batch_size
    more = estimate(one.config.replace(**{"data.batch_size": batch + 1}), one.precision)
    return batch + (card - one.needed) // max(more.needed - one.needed, 1)


def disk_of(estimate: Estimate) -> int:
    """Bytes of the LoRA files, and of the training state, which is written beside its predecessor."""
    config, count = estimate.config, estimate.count
    files = -(-config.steps // config.save_every) if config.save_every else FILES
    return files * count.adapter + 2 * (count.adapter + count.state)


def ram_of(shape: Shape, estimate: Estimate, images: int) -> int:
    """About what a run holds in main memory: all models, the latents and captions of all images, and the copy of the
    training state that is being written."""
    data = estimate.config.data
    side = data.resolution // shape.pixels
    variants = data.caption_variants if data.shuffle_captions or data.tag_dropout else 1
    latents = shape.channels * side * side * 4
    captions = variants * shape.tokens * shape.width * 4
    count = estimate.count
    snapshot = count.adapter + count.state
    return PYTHON + count.weights + 2 * (shape.encoders + shape.vae) + images * (latents + captions) + snapshot
