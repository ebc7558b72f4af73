"""What tells of overfitting: validation at fixed noise and stratified times, as a ratio to the base model's own loss,
and a training loss that nears zero.

Most of a training loss's jitter comes from the random times; with noise and times fixed the curve is smooth, and
dividing by the base's loss makes times and datasets comparable (spacepxl, demystifying-sd-finetuning).
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import ExitStack
from typing import Protocol

import torch
from torch import Tensor

from ..common.events import Events
from .config import TrainConfig
from .events import Validated
from .feed import Batch, Feed, derived_seed
from .trained.kinds import Training

TIMES = tuple((k + 0.5) / 8 for k in range(8))
"""The middles of eight equal strata."""


NEAR_ZERO = 0.25
"""Share of its beginning below which the training loss means that the images are learnt by heart. Measured on the
sandbox, over LossWatch's windows: 0.45 to 0.78 at the lowest in four trainings of 4 to 40 images as the presets do
them, 0.19 where four images were trained for 600 steps, 0.14 and 0.17 where one was for 800. Real bases begin nearer to
what they can reach, so they fall less."""


class LossWatch:
    """Notices, once, that the training loss nears zero (seed guide 004: "the model is likely overfitting"). It is held
    against the run's own beginning, because losses of different objectives and weightings are not alike."""

    def __init__(self, steps: int) -> None:
        self.window = max(50, min(200, steps // 10))
        """Steps to average over, since a loss mostly reflects the random times."""
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=self.window)
        self._noticed = False

    def add(self, loss: float) -> float | None:
        """The share of its beginning that the loss is down to, when it first falls below NEAR_ZERO; else None."""
        if len(self._first) < self.window:
            self._first.append(loss)
            return None
        self._last.append(loss)
        share = sum(self._last) / (sum(self._first) or math.inf)
        if self._noticed or len(self._last) < self.window or not 0 < share < NEAR_ZERO:
            return None
        self._noticed = True
        return share


class Trained(Protocol):
    """What the validator needs from a training session."""

    config: TrainConfig

    @property
    def trained(self) -> Training: ...

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
            yield from self.feed.prepare(range(self.feed.plan.batches_per_epoch))
            with ExitStack() as stack:
                for handle in self.session.trained.handles.values():
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
        sums, count = torch.zeros(()), 0
        for index in range(feed.plan.batches_per_epoch):
            batch = feed.batch(index)
            rows = len(batch.latents)
            seed = derived_seed(self.session.config.seed, "validation", index)
            noise = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(seed))
            sums = torch.stack([self.session.sample_losses(batch, noise, torch.full((rows,), time)).sum()
                                for time in TIMES]) + sums
            count += rows
        return sums.cpu() / count
