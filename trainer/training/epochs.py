"""How long a training is: what one epoch is made of, and how many steps suit a set of images."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from ..common.counts import count_noun
from ..common.errors import UserError
from ..datasets.buckets import BatchPlan, Size, assign_bucket, make_buckets
from ..datasets.dataset import Dataset, Sample
from ..models.families import Preset
from .config import TrainConfig
from .preserving.regularisation import AlternatingPlan, plan_batches

LEAST_SHARE, MOST_SHARE = 0.5, 2.0
"""A preset's steps are at least halved for a small set, and at most doubled for a large one, whose images share what
they teach."""
_ROUND = 10


@dataclass(frozen=True)
class Epoch:
    """One pass over a dataset as it is trained.

    Attributes:
        samples, buckets: the images that are trained on, and the bucket of each.
        left_out: why others are not, one line each.
        plan: which samples make up which batch.
        accumulation: batches of a step.
    """

    samples: tuple[Sample, ...]
    buckets: tuple[Size, ...]
    left_out: tuple[str, ...]
    plan: BatchPlan | AlternatingPlan
    batch_size: int
    accumulation: int

    @classmethod
    def of(cls, dataset: Dataset, config: TrainConfig, bucket_step: int) -> Epoch:
        """Raises UserError if none of the images, or none of the regularisation images, can be trained on."""
        data = config.data
        buckets = make_buckets(data.resolution, bucket_step)
        kept: list[tuple[Sample, Size]] = []
        left_out: list[tuple[Sample, str]] = []
        for sample in dataset.samples:
            try:
                kept.append((sample, assign_bucket(sample.size, buckets, data.upscale, bucket_step)))
            except UserError as error:
                left_out.append((sample, f"{sample.path.name} is left out: {error}"))
        for sample, reason in left_out:
            if all(other.regularisation is not sample.regularisation for other, _ in kept):
                noun = "regularisation image" if sample.regularisation else "image"
                raise UserError(f"no {noun} can be trained on: {reason}")
        samples, sizes = tuple(sample for sample, _ in kept), tuple(size for _, size in kept)
        plan = plan_batches(samples, sizes, config)
        reasons = tuple(reason for _, reason in left_out)
        return cls(samples, sizes, reasons, plan, data.batch_size, config.accumulation_steps)

    @property
    def repeats(self) -> list[int]:
        """Of each image that is trained on at all; regularisation images do not count."""
        return [sample.repeats for sample in self.samples if sample.repeats > 0 and not sample.regularisation]

    @property
    def regularisation(self) -> int:
        """Number of the regularisation images."""
        return sum(sample.regularisation for sample in self.samples)

    def steps(self, epochs: float) -> int:
        """The steps of that many epochs, rounded up."""
        return math.ceil(epochs * self.plan.batches_per_epoch / self.accumulation)

    def describe(self, steps: int) -> str:
        """`24 images × 10 repeats / batch 2 = 120 steps an epoch; 2000 steps = 16.7 epochs`."""
        batches, samples = self.plan.batches_per_epoch, sum(self.repeats)
        turns = 2 if self.regularisation else 1
        parts = [_describe_images(self.repeats), f"batch {self.batch_size}"]
        if self.accumulation > 1:
            parts.append(f"accumulation {self.accumulation}")
        regularised = (f", by turns with {count_noun(self.regularisation, 'regularisation image')}"
                       if self.regularisation else "")
        sizes = len({size for size, sample in zip(self.buckets, self.samples, strict=True)
                     if sample.repeats > 0 and not sample.regularisation})
        uneven = f" in {count_noun(sizes, 'bucket')}" if batches > turns * -(-samples // self.batch_size) else ""
        per_epoch = batches / self.accumulation
        return (f"{' / '.join(parts)}{uneven}{regularised} = {count_noun(per_epoch, 'step')} an epoch; "
                f"{count_noun(steps, 'step')} = {count_noun(steps / per_epoch, 'epoch')}")


def _describe_images(repeats: list[int]) -> str:
    images = count_noun(len(repeats), "image")
    if len(set(repeats)) > 1:
        return f"{images} ({sum(repeats)} with repeats)"
    return images if repeats[0] == 1 else f"{images} × {count_noun(repeats[0], 'repeat')}"


def set_epochs(config: TrainConfig, dataset: Dataset, bucket_step: int) -> TrainConfig:
    """The config with the steps of its epochs on that dataset, if epochs decide its length."""
    if not config.epochs:
        return config
    return dataclasses.replace(config, steps=Epoch.of(dataset, config, bucket_step).steps(config.epochs))


def steps_for(preset: Preset, images: int) -> int:
    """How many steps of a preset suit that many images: in proportion, between LEAST_SHARE and MOST_SHARE.

    Guide 001 asks for 1,500 to 3,000 steps for 20 to 30 images of a character; a study of 56 trainings on Flux.2 Klein
    for max(500, 30 x images) (happyin.space).
    """
    if not preset.images:
        return preset.steps
    share = min(MOST_SHARE, max(LEAST_SHARE, images / preset.images))
    return max(1, round(preset.steps * share / _ROUND) * _ROUND)


def describe_steps(preset: Preset, images: int) -> str:
    """Why `steps_for` gives its number; "" for a preset that is the same for every set."""
    if not preset.images:
        return ""
    steps, share = steps_for(preset, images), images / preset.images
    bound = " at least" if share < LEAST_SHARE else " at most" if share > MOST_SHARE else ""
    return (f"the preset's {count_noun(preset.steps, 'step')} are for {count_noun(preset.images, 'image')}, so{bound} "
            f"{steps} for {images}")
