"""What a run does about the losses of its images: record them, name outliers, and set them aside if it is asked to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from ...common.events import Events, Warned
from ..config import TrainConfig
from ..events import StepDone
from ..feed import Draw, Feed
from .image_losses import LossDraw, LossFile
from .outliers import EASY, Outlier, describe_outlier, find_outliers

MOST_ASIDE = 0.2
"""Share of the images that may be set aside. If more are outliers, they are not the exception."""
_CHECKS = 10
"""Until twice this epoch, images are judged after every epoch; then after every second, and so on, because later draws
say little that is new."""


class ImageWatch:
    """The losses of a run's images, from `open` to `close`."""

    def __init__(self, folder: Path, writes: bool = True) -> None:
        """`writes`: whether the file of the losses is written, or only read."""
        self.folder, self._writes = folder, writes
        self.file: LossFile | None = None
        self._feed: Feed
        self._config: TrainConfig
        self._drawn: dict[int, list[tuple[Draw, float]]] = {}
        self._losses: dict[int, Tensor] = {}

    def open(self, feed: Feed, config: TrainConfig, step: int) -> None:
        """Go on after `step`, with what was set aside until then."""
        self._feed, self._config = feed, config
        self.file = LossFile(self.folder, [sample.path.name for sample in feed.samples], step, self._writes)
        for image, since in self.file.table.set_aside.items():
            feed.set_aside(image, since * config.accumulation_steps)

    def close(self) -> None:
        if self.file:
            self.file.close()

    def note(self, index: int, t: Tensor, losses: Tensor) -> None:
        """Hold the losses [B] of the index-th batch, at times t [B] on the CPU, until `take`."""
        self._drawn[index] = list(zip(self._feed.draws(index), t.tolist(), strict=True))
        self._losses[index] = losses.detach().float()

    def take(self) -> list[Tensor]:
        """The losses of the step's batches, where they were computed."""
        losses = [self._losses[index] for index in sorted(self._losses)]
        self._losses.clear()
        return losses

    def record(self, done: StepDone) -> None:
        """Write down a step whose figures have been read."""
        assert self.file, "the watch is open"
        count = self._config.accumulation_steps
        drawn = [row for index in range((done.step - 1) * count, done.step * count)
                 for row in self._drawn.pop(index, ())]
        self.file.add(done.step, [LossDraw(draw.sample, t, loss) for (draw, t), loss
                                  in zip(drawn, done.image_losses, strict=True)
                                  if draw.caption and not self._feed.samples[draw.sample].regularisation])

    def after_step(self, step: int) -> Events:
        """At the end of an epoch, set outliers aside if data.set_aside_outliers is on. All steps must be recorded. A
        second call after the same step changes nothing."""
        assert self.file, "the watch is open"
        table = self.file.table
        found = [outlier for outlier in find_outliers(table) if outlier.why != EASY]
        new = [outlier for outlier in self._within_bounds(found) if outlier.image not in table.set_aside]
        if new:
            self.file.set_aside(step, [outlier.image for outlier in new])
        for outlier in new:
            self._feed.set_aside(outlier.image, step * self._config.accumulation_steps)
            yield Warned(f"step {step}: {outlier.name} is set aside from here on: {describe_outlier(outlier)}")

    def ends_epoch(self, step: int) -> bool:
        """Whether images may be set aside after this step."""
        plan, count = self._feed.plan, self._config.accumulation_steps
        if not self._config.data.set_aside_outliers or step >= self._config.steps:
            return False
        epoch = plan.epoch_of(step * count)
        return epoch > plan.epoch_of((step - 1) * count) and epoch % max(1, epoch // _CHECKS) == 0

    def report(self) -> Iterator[Warned]:
        """A line for each outlier that was not set aside, at the end of a run."""
        assert self.file, "the watch is open"
        for outlier in find_outliers(self.file.table):
            if outlier.image not in self.file.table.set_aside:
                yield Warned(f"{outlier.name}: {describe_outlier(outlier)}")

    def _within_bounds(self, found: Sequence[Outlier]) -> Sequence[Outlier]:
        """As many of the worst as may be set aside in all."""
        assert self.file, "the watch is open"
        aside = self.file.table.set_aside
        trained = sum(not sample.regularisation for sample in self._feed.samples)
        left = int(MOST_ASIDE * trained) - len(aside)
        return [outlier for outlier in found if outlier.image not in aside][:max(0, left)]
