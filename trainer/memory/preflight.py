"""Before the first step of a training under diffusers: as many blocks are recomputed as the card needs."""

from __future__ import annotations

import logging
from contextlib import closing
from functools import partial
from typing import Any

import torch

from ..common.errors import UserError
from ..common.events import Events, Progress, Warned
from ..models.backbone import Backbone
from ..models.out_of_memory import describe_share
from ..models.ram import refuse_ram
from ..training.config import FULL, TrainConfig
from ..training.events import RunStarted
from ..training.runs import settle_precision
from ..training.trained.network import TYPES
from .bases import find_shape
from .fit import Fit, smallest_offload, smallest_share
from .measured import free_memory
from .plan import GAPS, GIB, PACKED, Estimate, block_shares, count_published
from .step import state_bytes, stepped_shape
from .text import Clip, count_encoders

log = logging.getLogger(__name__)

SECONDS = 60.0
"""How long one count may delay a training."""
COUNTING = "memory of a step counted"


def fitted(events: Events, backbone: Backbone, config: TrainConfig) -> Events:
    """The events of a training. When it starts on a CUDA card, a step is counted, and what must be recomputed for it to
    fit is reported, or that it does not fit. The count is kept for later runs.

    Whatever goes wrong here is not reported: memory that runs out in a step is mended there.
    """
    with closing(events):
        for event in events:
            yield event
            if isinstance(event, RunStarted) and (refused := refuse_state(backbone, config)):
                raise UserError(refused)
            if isinstance(event, RunStarted) and config.fit_memory and backbone.device.type == "cuda":
                yield from _fit(backbone, config)


def _fit(backbone: Backbone, config: TrainConfig) -> Events:
    yield Progress(COUNTING, 0, 1)
    fit = None
    try:
        fit = fit_to_card(backbone, config, free_memory(backbone.device) - GAPS)
    except Exception:
        log.debug("memory could not be counted", exc_info=True)
    yield Progress(COUNTING, 1, 1)
    if fit is None:
        return
    if config.method == FULL and not fit.fits:
        raise UserError(refusal(fit))
    again, moved = fit.share > backbone.recompute, config.method == FULL and fit.offload > backbone.offload
    if again:
        backbone.set_recompute(fit.share)
    if moved:
        backbone.set_offload(fit.offload)
    if again or moved or not fit.fits:
        yield Warned(words_of(fit, config.offload_blocks, _precision(backbone)))


def fit_to_card(backbone: Backbone, config: TrainConfig, room: int) -> Fit:
    """The smallest share of the network's blocks to recompute so that a step fits in `room` bytes beside nothing else,
    but for text encoders that are trained too; in a fine-tune for which that is not enough, also the smallest share to
    hold in RAM.

    Raises ValueError if the network's class is not known, TookTooLong, and whatever counting raises.
    """
    network: Any = backbone.network
    shape = find_shape({**network.config, "_class_name": type(network).__name__}, "", "", "")
    if shape is None:
        raise ValueError(f"{type(network).__name__} cannot be counted")
    precision, full = _precision(backbone), config.method == FULL
    offload = backbone.offload if full else config.offload_blocks
    config = settle_precision(config, backbone)
    encoders: Any = backbone.text_network if config.adapter.text_encoder else None
    text = count_encoders(map(Clip.of, encoders.values()), shape, config) if encoders else 0
    blocks = block_shares(shape) if offload or full else ()

    def needed(share: float, in_ram: float = offload) -> int:
        count = count_published(shape, config, precision, share, SECONDS)
        return Estimate(config, precision, count, text, share, in_ram, blocks).peak

    fit = smallest_share(needed, room, backbone.recompute)
    return smallest_offload(fit, partial(needed, fit.share), room, offload) if full else fit


def _precision(backbone: Any) -> str:
    """Of the base's weights, one of bases.BASES."""
    if backbone.precision != "auto":
        return str(backbone.precision)
    return "fp32" if backbone.network.dtype == torch.float32 else "bf16"


def refuse_state(backbone: Backbone, config: TrainConfig) -> str:
    """Why a fine-tune that has its weights must not go on; "" if RAM has room for the copy of the training state that
    is saved, and on the CPU for the optimizer's state itself."""
    if config.method != FULL or not config.fit_memory:
        return ""
    config = settle_precision(config, backbone)
    parameters = list(backbone.network.parameters())
    weights = sum(parameter.numel() for parameter in parameters) * TYPES[config.precision].itemsize
    state = sum(state_bytes(config.optimizer.name, stepped_shape(parameter, config)) for parameter in parameters)
    return refuse_ram(weights + state * (2 if backbone.device.type == "cpu" else 1),
                      "the training state that is saved, with the optimizer's, takes",
                      "choose optimizer adafactor, or train a LoRA. With fit_memory off, RAM is not checked")


def refusal(fit: Fit) -> str:
    """Why a fine-tune is not started. What else helps a LoRA, weights in fewer bits, cannot be trained."""
    return (f"a fine-tune takes about {fit.needed / GIB:.1f} GiB in a step, although {describe_share(fit.share)} "
            f"computed again in the backward pass{in_ram_words(fit)}, and this card has no room for it. Lower "
            "data.resolution or data.batch_size, use optimizer adafactor and accumulation_steps 1, or train a LoRA.")


def in_ram_words(fit: Fit) -> str:
    """What a fine-tune holds in RAM, as the end of what is done to the blocks; "" if that is nothing."""
    return f" and {describe_share(fit.offload)} held in RAM" if fit.offload else ""


def words_of(fit: Fit, offload: float = 0.0, precision: str = "bf16") -> str:
    """What was chosen, and why. What is set already is not advised: all blocks in RAM, or a base in fewer bits."""
    again = (f"{describe_share(fit.share)} computed again in the backward pass{in_ram_words(fit)} "
             f"(about {fit.needed / GIB:.1f} GiB)")
    if fit.fits:
        return f"a step fits this card, as {again}, which is slower."
    remedies = [*(["set offload_blocks to 1"] if offload < 1 else []),
                *(["give --base-precision fp8"] if precision not in PACKED else []),
                "lower data.resolution or data.batch_size"]
    return f"a step does not fit this card, although {again}. To make it fit, {', or '.join(remedies)}."
