"""What a training takes before it starts: memory, time, disk; and the cheapest settings with which it fits a card."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import torch
from torch import nn

from ..models.blocks_in_ram import movable_layers
from ..training.config import AUTO_PRECISION, FULL, TrainConfig
from ..training.optimizers import OPTIMIZERS
from .bases import Base
from .cache import cached
from .cards import CARDS, GIB, step_seconds
from .counter import TookTooLong
from .fit import STEPS, smallest_share
from .published import PublishedNetwork
from .shapes import Shape
from .step import StepCount, count_step, movable_by_block
from .text import count_text

WORKSPACE = int(0.14 * GIB)
"""What libraries take beside tensors (cuBLAS, cuDNN): fitted on one published figure, see bench/results/memory.md."""
CONTEXT = int(1.0 * GIB)
"""What the CUDA context and the gaps between tensors take on the card: fitted on one published figure, likewise."""
GAPS = CONTEXT // 2
"""What of that is left for the gaps, where the free memory of a card with a context was asked for."""
SECONDS = 20.0
"""How long counting with some of the blocks recomputed may take, which is done block by block."""
PCIE = 25e9
"""Bytes a second from pinned RAM to a card: about what is reached of the 32e9 of PCIe 4.0 x16."""
FILES, PYTHON = 4, 2 * GIB
"""LoRA files that a run saves by default, and RAM of the process itself."""

Counter = Callable[[TrainConfig, str, float], StepCount]
"""(config, precision of the base, share of the blocks that are recomputed) → what a step takes."""
PACKED = {"fp8": 1.0, "int8": 1.0, "nf4": 0.5 + 4 / 64}
"""Bytes of a weight by precision of a base that is not in 16 bits; nf4 has a float32 scale for 64 weights."""


@dataclass(frozen=True)
class Estimate:
    """What one setting takes; sizes in bytes.

    Attributes:
        config: with the batch size of this setting.
        precision: of the base's weights, one of bases.BASES.
        count: as counted.
        resident: what text encoders take that are trained too.
        recompute: share of the blocks that are computed again in the backward pass.
        offload: share of the blocks whose weights, and in a fine-tune the optimizer's state of them, are in RAM.
        blocks: share of `count.movable` in each block, in the network's order; without it, blocks count as alike.
    """

    config: TrainConfig
    precision: str
    count: StepCount
    resident: int = 0
    recompute: float = 0.0
    offload: float = 0.0
    blocks: tuple[float, ...] = ()

    @property
    def in_ram(self) -> int:
        """Weights of the network that are not on the card, but for what is in use. The last blocks are taken, as
        `HeldWeights.offload` and `BlocksInRam` do."""
        if not self.offload:
            return 0
        share = sum(self.blocks[len(self.blocks) - self.blocks_in_ram :]) if self.blocks else self.offload
        moved = self.count.movable + (self._movable_state if self.config.method == FULL else 0)
        return max(round(share * moved) - self._in_use, 0)

    @property
    def blocks_in_ram(self) -> int:
        """Number of the blocks in RAM, where it is known which there are."""
        return math.ceil(self.offload * len(self.blocks))

    @property
    def _in_use(self) -> int:
        """Of what is in RAM, bytes that are on the card at a time: the layer in use and the one before it, and in a
        fine-tune all layers of a block that is recomputed, and the state of a layer."""
        if self.config.method != FULL:
            return 4 * self.count.widest
        count = self.count
        layer = count.widest * (count.adapter + self._movable_state) // max(count.parameters, 1)
        again = max(self.blocks, default=0.0) if self.recompute + self.offload > 1 else 0.0
        return 2 * layer + round(again * count.movable)

    @property
    def _movable_state(self) -> int:
        """Bytes of the optimizer's state of the layers that can be in RAM. Factors are few, and stay on the card."""
        count = self.count
        factored = OPTIMIZERS[self.config.optimizer.name].factored
        return 0 if factored else round(count.state * count.movable / max(count.adapter, 1))

    @property
    def peak(self) -> int:
        """Bytes of all tensors at the peak, as torch.cuda.max_memory_allocated reports them."""
        return self.count.peak - self.in_ram + self.resident + WORKSPACE

    @property
    def needed(self) -> int:
        """On the card."""
        return self.peak + CONTEXT

    @property
    def copies(self) -> float:
        """Seconds for copying weights from RAM: for the forward and the backward pass, and for what is recomputed; in a
        fine-tune also back."""
        return (2 + self.recompute + (self.config.method == FULL)) * self.in_ram / PCIE

    @property
    def words(self) -> str:
        """The setting in words: "gradient checkpointing for 35% of the blocks and bf16 base"."""
        share = "" if self.recompute == 1 else f" for {self.recompute:.0%} of the blocks"
        moved = f"{self.offload:.0%} of the blocks in RAM"
        if self.config.method == FULL:
            moved = f"{self.blocks_in_ram} of {len(self.blocks)} blocks in RAM ({self.in_ram / GIB:.1f} GiB)"
        return " and ".join((*([f"gradient checkpointing{share}"] if self.recompute else []), f"{self.precision} base",
                             *([moved] if self.offload else [])))


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


def count_published(shape: Shape, config: TrainConfig, precision: str, recompute: float | None = None,
                    seconds: float | None = None) -> StepCount:
    """Count a step on a published network. bf16 and fp16 count alike; a base in fewer bits follows from bf16.
    `recompute` is the share of the blocks that are recomputed; None: as the config says. The precision of the training
    is the config's; where that is auto, it follows from that of the base.

    Raises counter.TookTooLong after `seconds`. Some of the blocks recomputed are counted one by one, for which SECONDS
    is the limit where there is no other. What took too long is remembered too.
    """
    recompute = float(config.gradient_checkpointing) if recompute is None else recompute
    if precision in PACKED:
        return packed(count_published(shape, config, "bf16", recompute, seconds), PACKED[precision])
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    trained = precision if config.precision == AUTO_PRECISION else config.precision
    config = config.replace(precision="fp32" if trained == "fp32" else "bf16")
    question = {"shape": [shape.kind, dict(shape.settings), shape.tokens, shape.width, shape.pooled], "base": precision,
                "config": {name: config.to_dict()[name] for name in ("adapter", "precision")}, "recompute": recompute,
                **({"method": FULL, "batches": config.accumulation_steps, "moved": 1} if config.method == FULL else {}),
                **({"preservation": config.preservation.every} if config.preservation.weight else {}),
                **({"average": True} if config.optimizer.ema_decay else {}),
                "side": config.data.resolution, "batch": config.data.batch_size, "optimizer": config.optimizer.name}
    some = 0 < recompute < 1
    limit = SECONDS if some and seconds is None else seconds

    def count() -> StepCount:
        return cached(question, lambda: count_step(PublishedNetwork(shape, config, dtype, recompute), config, limit,
                                                   whole=some))

    return count() if limit is None else _in_time(question, count, limit)


_NOTHING = StepCount(**{field.name: 0 for field in fields(StepCount)})
"""Stands in the cache for what took too long to count."""


def _in_time(question: dict[str, object], count: Callable[[], StepCount], limit: float) -> StepCount:
    """As `count`, which is called once only where it raises TookTooLong."""
    def tried() -> StepCount:
        try:
            return count()
        except TookTooLong:
            return _NOTHING

    found = cached({**question, "seconds": limit}, tried)
    if found == _NOTHING:
        raise TookTooLong
    return found


def block_shares(shape: Shape) -> tuple[float, ...]:
    """The share of all weights that can be moved in each block of the network, in its order."""
    return _block_shares(shape.kind, json.dumps(dict(shape.settings)))


@lru_cache(maxsize=16)
def _block_shares(kind: str, settings: str) -> tuple[float, ...]:
    import diffusers

    with torch.device("meta"):
        return _shares(movable_by_block(getattr(diffusers, kind)(**json.loads(settings)).requires_grad_(False)))


def block_shares_of(network: nn.Module) -> tuple[float, ...]:
    """As `block_shares`, of a network that trains its own weights."""
    return _shares([sum(layer.weight.numel() for layer in layers) for layers in movable_layers(network)])


def _shares(sizes: Sequence[int]) -> tuple[float, ...]:
    return tuple(size / max(sum(sizes), 1) for size in sizes)


def packed(count: StepCount, size: float) -> StepCount:
    """The same step with the weights inside the blocks in `size` bytes: each layer unpacks its own when it is used, and
    lets them go.
    """
    saved = count.movable - round(count.movable / 2 * size)
    return replace(count, weights=count.weights - saved, movable=count.movable - saved,
                   peak=count.peak - saved + 2 * count.widest)


def make_plan(base: Base, config: TrainConfig, precision: str, vram: float, images: int,
              count: Counter | None = None) -> Plan:
    """Plan a training of `config` on a card with `vram` GiB."""
    shape = base.shape
    count = count or (lambda config, precision, share: count_published(shape, config, precision, share))
    kept = count_text(shape, config) if config.adapter.text_encoder else 0

    def estimate(config: TrainConfig, precision: str, recompute: float) -> Estimate:
        return Estimate(config, precision, count(config, precision, recompute), kept, recompute, config.offload_blocks,
                        block_shares(shape) if config.offload_blocks else ())

    asked = estimate(config, precision, float(config.gradient_checkpointing))
    card = int(vram * GIB)
    fits = next((found for found in _cheaper(asked, estimate, card, shape) if found.needed <= card), None)
    batch = largest_batch(fits, estimate, card) if fits else 0
    chosen = fits or asked
    moved = chosen.in_ram if config.method == FULL else 0  # a base that is not trained is in RAM already
    return Plan(asked, fits, batch, disk_of(asked), ram_of(shape, asked, images) + moved,
                {card.name: (step_seconds(chosen.count, card) + chosen.copies) * config.accumulation_steps
                 for card in CARDS if chosen.needed <= card.memory * GIB})


Estimator = Callable[[TrainConfig, str, float], Estimate]


def _cheaper(asked: Estimate, estimate: Estimator, card: int, shape: Shape) -> Iterator[Estimate]:
    """The settings as they are, then what gives up least: float32 for bf16, then recomputing (all blocks: a third
    slower), then precision of the base, then its place on the card."""
    yield asked
    halved = "bf16" if asked.precision == "fp32" else asked.precision
    if halved != asked.precision:
        yield estimate(asked.config, halved, asked.recompute)
        yield _recomputed(asked.config, asked.precision, asked.recompute, estimate, card)
    last, full = asked, asked.config.method == FULL
    for precision in (halved, *([] if halved in PACKED or full else ["fp8"])):
        last = _recomputed(asked.config, precision, asked.recompute, estimate, card)
        yield last
    yield _offloaded(replace(last, blocks=block_shares(shape)), card)


def _recomputed(config: TrainConfig, precision: str, least: float, estimate: Estimator, card: int) -> Estimate:
    """The smallest share of recomputed blocks with which it fits; all if none does."""
    found: dict[float, Estimate] = {}

    def needed(share: float) -> int:
        found[share] = estimate(config, precision, share)
        return found[share].needed

    share = smallest_share(needed, card, least).share
    if share in found:
        return found[share]
    count = between(found[least].count, found[1.0].count, share, least)  # counting it would have taken too long
    return replace(found[1.0], recompute=share, count=count)


def between(first: StepCount, last: StepCount, share: float, least: float = 0.0) -> StepCount:
    """About what a step takes with a share of the blocks recomputed, from counts with the least share and with all."""
    part = (share - least) / (1 - least)
    return StepCount(**{name: round(value + part * (getattr(last, name) - value))
                        for name, value in vars(first).items()})


def _offloaded(found: Estimate, card: int) -> Estimate:
    """With the smallest share of blocks in RAM with which it fits, in twentieths; all of them if none does."""
    shares = (number / STEPS for number in range(1, STEPS + 1))
    tried = [replace(found, offload=max(share, found.offload)) for share in shares]
    return next((other for other in tried if other.needed <= card), tried[-1])


def largest_batch(one: Estimate, estimate: Estimator, card: int) -> int:
    """The largest batch that fits: the need grows evenly with it, so one more is counted."""
    batch = one.config.data.batch_size
    try:
        more = estimate(one.config.replace(**{"data.batch_size": batch + 1}), one.precision, one.recompute)
    except TookTooLong:  # the activations, which are what grows, are known
        return batch + (card - one.needed) // max(one.count.activations // batch, 1)
    more = replace(more, offload=one.offload, blocks=one.blocks)
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
    if estimate.config.method == FULL:
        snapshot += count.adapter  # the base's own weights, kept beside those that are trained
    return PYTHON + count.weights + 2 * (shape.encoders + shape.vae) + images * (latents + captions) + snapshot
