"""Regularisation images, as kohya's sd-scripts have them: images of the class with captions of their own.

Every second batch is one of theirs, and its loss is weighted by data.prior_loss_weight, so that the class stays what it
is in them.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ...captions.coverage import plain, says
from ...common.counts import count_noun
from ...datasets.buckets import BatchPlan, Size
from ...datasets.dataset import Dataset, Sample
from ..config import DataConfig, TrainConfig

SHOWN = 3
"""Images that are named."""


class AlternatingPlan:
    """Batches of training images and of regularisation images by turns, with the methods of `BatchPlan`. Each kind goes
    through epochs of its own; an epoch of the run is one of the training images."""

    def __init__(self, samples: Sequence[Sample], buckets: Sequence[Size], config: TrainConfig) -> None:
        self._places = [[place for place, sample in enumerate(samples) if sample.regularisation is kind]
                        for kind in (False, True)]
        self._plans = [BatchPlan([buckets[place] for place in places], [samples[place].repeats for place in places],
                                 config.data.batch_size, config.seed) for places in self._places]
        self.batches_per_epoch = 2 * self._plans[0].batches_per_epoch

    def batch(self, index: int) -> list[int]:
        turn, kind = divmod(index, 2)
        return [self._places[kind][row] for row in self._plans[kind].batch(turn)]

    def epoch_of(self, index: int) -> int:
        return index // self.batches_per_epoch


def plan_batches(samples: Sequence[Sample], buckets: Sequence[Size], config: TrainConfig
                 ) -> BatchPlan | AlternatingPlan:
    """Which samples make up which batch. Raises UserError if none of the samples of a kind has repeats."""
    if any(sample.regularisation for sample in samples):
        return AlternatingPlan(samples, buckets, config)
    return BatchPlan(buckets, [sample.repeats for sample in samples], config.data.batch_size, config.seed)


def as_regularisation(dataset: Dataset | None) -> Dataset:
    """The samples, marked as regularisation images; none for None."""
    samples = dataset.samples if dataset else ()
    return Dataset(tuple(dataclasses.replace(sample, regularisation=True) for sample in samples))


def batch_weight(data: DataConfig, samples: Iterable[Sample]) -> float:
    """The factor on the loss of a batch of these samples, which are of one kind."""
    return data.prior_loss_weight if any(sample.regularisation for sample in samples) else 1.0


def regularisation_notes(regularisation: Dataset, trigger: str) -> Iterator[str]:
    """What the user should know of them before the training."""
    if not len(regularisation):
        return
    yield (f"{count_noun(len(regularisation), 'regularisation image')}: every second batch is one of theirs, without "
           "the trigger.")
    found = [sample.path.name for sample in regularisation if trigger and says_trigger(sample.caption, trigger)]
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        yield (f"the trigger {trigger!r} is in the captions of {count_noun(len(found), 'regularisation image')} "
               f"({', '.join(found[:SHOWN])}{more}), so the trigger is held to what the base draws. Remove it there.")


def says_trigger(caption: str, trigger: str) -> bool:
    """Whether a caption contains the trigger as whole words."""
    return bool(plain(trigger)) and says(plain(caption), (plain(trigger),))


def regularisation_metadata(regularisation: Dataset, config: TrainConfig) -> dict[str, Any]:
    """What kohya's metadata say of them: folders by name, without their paths; {} without any."""
    if not len(regularisation):
        return {}
    folders: dict[str, dict[str, int]] = defaultdict(lambda: {"n_repeats": 1, "img_count": 0})
    for sample in regularisation:
        row = folders[sample.path.parent.name]
        row["n_repeats"] = sample.repeats
        row["img_count"] += 1
    return {"ss_num_reg_images": sum(sample.repeats for sample in regularisation),
            "ss_reg_dataset_dirs": json.dumps(folders, ensure_ascii=False, sort_keys=True),
            "ss_prior_loss_weight": config.data.prior_loss_weight}
