"""Before the first step of a training under diffusers: as many blocks are recomputed as the card needs."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Any

import torch

from ..common.events import Events, Warned
from ..models.backbone import Backbone
from ..models.out_of_memory import describe_share
from ..training.config import TrainConfig
from ..training.events import RunStarted
from .bases import find_shape
from .fit import Fit, smallest_share
from .measured import free_memory
from .plan import GAPS, GIB, WORKSPACE, count_published

log = logging.getLogger(__name__)


def fitted(events: Events, backbone: Backbone, config: TrainConfig) -> Events:
    """The events of a training. When it starts on a CUDA card, a step is counted, and what must be recomputed for it to
    fit is reported. The count is kept for later runs.

    Whatever goes wrong here is not reported: memory that runs out in a step is mended there.
    """
    with closing(events):
        for event in events:
            yield event
            if isinstance(event, RunStarted) and config.fit_memory and backbone.device.type == "cuda":
                yield from _fit(backbone, config)


def _fit(backbone: Backbone, config: TrainConfig) -> Events:
    try:
        fit = fit_to_card(backbone, config, free_memory(backbone.device) - GAPS)
    except Exception:
        log.debug("memory could not be counted", exc_info=True)
        return
    if fit.share > backbone.recompute:
        backbone.set_recompute(fit.share)
        yield Warned(words_of(fit))


def fit_to_card(backbone: Backbone, config: TrainConfig, room: int) -> Fit:
    """The smallest share of the network's blocks to recompute so that a step fits in `room` bytes beside nothing else.

    Raises ValueError if the network's class is not known, and whatever counting raises.
    """
    network: Any = backbone.network
    shape = find_shape({**network.config, "_class_name": type(network).__name__}, "", "", "")
    if shape is None:
        raise ValueError(f"{type(network).__name__} cannot be counted")
    precision = _precision(backbone)

    def needed(share: float) -> int:
        return count_published(shape, config, precision, share).peak + WORKSPACE

    return smallest_share(needed, room, backbone.recompute)


def _precision(backbone: Any) -> str:
    """Of the base's weights, one of bases.BASES."""
    if backbone.precision != "auto":
        return str(backbone.precision)
    return "fp32" if backbone.network.dtype == torch.float32 else "bf16"


def words_of(fit: Fit) -> str:
    """What was chosen, and why."""
    again = f"{describe_share(fit.share)} computed again in the backward pass (about {fit.needed / GIB:.1f} GiB)"
    if fit.fits:
        return f"a step fits this card, as {again}, which is slower."
    return (f"a step does not fit this card, although {again}. Set offload_blocks, lower data.resolution or "
            "data.batch_size, or give --base-precision fp8.")
