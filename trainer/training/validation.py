"""Validation at fixed noise and stratified times, as a ratio to the base model's own loss.

Most of a training loss's jitter comes from the random times; with noise and times fixed the curve is smooth, and
dividing by the base's loss makes times and datasets comparable (spacepxl, demystifying-sd-finetuning).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Protocol

import torch
from torch import Tensor

from ..common.events import Events
from .adapters import AdapterHandle
from .config import TrainConfig
from .events import Validated
from .feed import Batch, Feed, derived_seed

TIMES = tuple((k + 0.5) / 8 for k in range(8))
"""The middles of eight equal strata."""


class Trained(Protocol):
    """What the validator needs from a training session."""

    config: TrainConfig
    handles: dict[str, AdapterHandle]

    def sample_losses(self, batch: Batch, noise: Tensor, t: Tensor) -> Tensor:
        """The loss [B] of each row at times t [B]."""


class Validator:
    """Measures the loss on held-out images, the same way every time."""

    def __init__(self, session: Trained, feed: Feed | None) -> None:
        """`feed` is None if no images are held out."""
        self.session, self.feed = session, feed
        self.base: Tensor | None = None

    def __len__(self) -> int:
        return len(self.feed.samples) if self.feed else 0

    def prepare(self) -> Events:
        """Fill the caches and measure the base, if the loss is to be validated."""
        if self.feed and self.feed.samples and self.session.config.validate_every:
            yield from self.feed.prepare()
            with ExitStack() as stack:
                for handle in self.session.handles.values():
                    stack.enter_context(handle.disabled())
                self.base = self._losses(self.feed)

    def measure(self, step: int) -> Validated:
        """The loss of the network as it stands. Call `prepare` first."""
        assert self.feed is not None and self.base is not None, "prepare() was not called"
        losses = self._losses(self.feed)
        ratio = (losses / self.base.clamp_min(1e-12)).mean()
        return Validated(step, losses.mean().item(), self.base.mean().item(), ratio.item())

    @torch.no_grad()
    def _losses(self, feed: Feed) -> Tensor:
        """Mean loss [8] over the validation images at each of TIMES."""
        sums, count = torch.zeros(len(TIMES)), 0
        for index in range(feed.plan.batches_per_epoch):
            batch = feed.batch(index)
            rows = len(batch.latents)
            seed = derived_seed(self.session.config.seed, "validation", index)
            noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(seed))
            for column, time in enumerate(TIMES):
                losses = self.session.sample_losses(batch, noise, torch.full((rows,), time))
                sums[column] += losses.sum().cpu()
            count += rows
        return sums / count
