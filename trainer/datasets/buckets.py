"""Aspect buckets: images of similar shape are trained in one batch (NovelAI's aspect ratio bucketing, 2022)."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import math
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from PIL import Image

from ..common.errors import UserError

Size = tuple[int, int]
"""(width, height) in pixels."""


@lru_cache(maxsize=64)
def make_buckets(resolution: int, step: int, max_aspect: float = 2.0) -> tuple[Size, ...]:
    """Every bucket: sides are multiples of `step`, the area is at most resolution², neither side is more than
    `max_aspect` times the other; for each width the greatest height, and vice versa.

    Raises UserError if the resolution is below two steps.
    """
    if step < 1 or resolution < 2 * step:
        raise UserError(f"resolution is {resolution}; it must be at least {2 * step}, two steps of {step} pixels.")
    if max_aspect < 1:
        raise UserError(f"max_aspect is {max_aspect}; it must be 1 or more.")
    area, buckets = resolution * resolution, set()
    for width in range(step, area // step + 1, step):
        height = area // width // step * step
        if height and max(width, height) <= max_aspect * min(width, height):
            buckets |= {(width, height), (height, width)}
    return tuple(sorted(buckets, key=lambda size: (size[0] / size[1], size)))


def assign_bucket(size: Size, buckets: Sequence[Size], upscale: bool = False, step: int | None = None) -> Size:
    """The bucket nearest in aspect. Unless `upscale`, an image that does not cover it gets a smaller one of its own:
    the largest multiples of the step that it does cover, within the buckets' area and aspect.

    `step` is the buckets' own; None: the largest that divides all their sides.
    Raises UserError if the image may not be enlarged and its shorter side is below two steps.
    """
    width, height = size
    facts = _facts(tuple(buckets), step)
    bucket = facts.buckets[bisect.bisect(facts.bounds, width / height)]
    if upscale or (bucket[0] <= width and bucket[1] <= height):
        return bucket
    if min(width, height) < 2 * facts.step:
        raise UserError(f"{width} x {height} pixels are too few to train on; the shorter side must be at least "
                        f"{2 * facts.step}. Use a larger image, or turn on upscale (data.upscale).")
    short = min(_floor(min(size), facts.step), _floor(math.isqrt(facts.area), facts.step))
    long = min(_floor(limit, facts.step) for limit in (max(size), facts.area // short, facts.aspect * short))
    return (long, short) if width > height else (short, long)


@dataclass(frozen=True)
class _Facts:
    """What `assign_bucket` needs to know about a set of buckets; computed once, because every image needs it."""

    buckets: tuple[Size, ...]
    """In ascending order of aspect; of those with the same aspect only the largest."""
    bounds: tuple[float, ...]
    """The aspects at which one bucket gives way to the next: geometric means of neighbours."""
    step: int
    area: int
    aspect: float


@lru_cache(maxsize=64)
def _facts(buckets: tuple[Size, ...], step: int | None) -> _Facts:
    by_aspect = {width / height: (width, height) for width, height in sorted(buckets)}
    aspects = sorted(by_aspect)
    bounds = tuple(math.sqrt(low * high) for low, high in zip(aspects, aspects[1:], strict=False))
    step = step or math.gcd(*(side for bucket in buckets for side in bucket))
    return _Facts(tuple(by_aspect[aspect] for aspect in aspects), bounds, step,
                  max(width * height for width, height in buckets), aspects[-1])


def _floor(value: float, step: int) -> int:
    return int(value // step) * step


def fit_to_bucket(image: Image.Image, bucket: Size) -> Image.Image:
    """The image resized (Lanczos, antialiased) to cover the bucket; what overhangs is cut off evenly on both sides."""
    scale = max(bucket[0] / image.width, bucket[1] / image.height)
    width, height = bucket[0] / scale, bucket[1] / scale
    left, top = max(0.0, (image.width - width) / 2), max(0.0, (image.height - height) / 2)
    box = (left, top, min(left + width, image.width), min(top + height, image.height))
    if image.size == tuple(bucket):
        return image
    return image.resize(bucket, Image.Resampling.LANCZOS, box=box)


LISTED = 1 << 20
"""An epoch of more samples is not shuffled as a list, but computed for each batch. Below that, its order is what it has
always been, because resumed runs depend on it."""


class BatchPlan:
    """Which samples make up which batch: an endless sequence, a pure function of the seed and the batch's index.

    In an epoch every sample occurs `repeats` times, each batch is from one bucket, and the last batch of a bucket may
    be smaller. A resumed run needs only the index to continue with the same batches.
    """

    def __init__(self, buckets_per_sample: Sequence[Size], repeats: Sequence[int], batch_size: int, seed: int) -> None:
        if len(buckets_per_sample) != len(repeats):
            raise ValueError(f"{len(buckets_per_sample)} buckets for {len(repeats)} repeats")
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be 1 or more.")
        members: dict[Size, list[int]] = {}
        for index, (width, height) in enumerate(buckets_per_sample):
            if repeats[index] > 0:
                members.setdefault((width, height), []).append(index)
        if not members:
            raise UserError("there is nothing to train on: there are no images, or all have 0 repeats. Add images.")
        self._passes = [_Passes(inside, [repeats[i] for i in inside]) for inside in members.values()]
        self._batch_size, self._seed = batch_size, seed
        self._epoch = -1
        self._order: _ListedEpoch | _ComputedEpoch | None = None
        self.batches_per_epoch: int = sum(-(-passes.length // batch_size) for passes in self._passes)

    def batch(self, index: int) -> list[int]:
        """Sample indices of the index-th batch, counted from 0."""
        epoch, place = divmod(index, self.batches_per_epoch)
        if self._order is None or epoch != self._epoch:
            kind = _ListedEpoch if sum(passes.length for passes in self._passes) <= LISTED else _ComputedEpoch
            self._epoch, self._order = epoch, kind(self._passes, self._batch_size, f"{self._seed}:{epoch}")
        return self._order.batch(place)

    def epoch_of(self, index: int) -> int:
        """The epoch, counted from 0, that the index-th batch belongs to."""
        return index // self.batches_per_epoch


class _Passes:
    """The samples of a bucket, pass by pass, so that repeats of the same sample are rarely in one batch: in each pass
    those that have repeats left occur once. Passes with the same samples make up a level."""

    def __init__(self, members: Sequence[int], repeats: Sequence[int]) -> None:
        self.levels: list[tuple[int, int, list[int]]] = []
        """(first place, first pass, samples) of each level."""
        place = done = 0
        for most in sorted(set(repeats)):
            due = [i for i, count in zip(members, repeats, strict=True) if count >= most]
            self.levels.append((place, done, due))
            place, done = place + (most - done) * len(due), most
        self.length, self.count = place, done

    def due(self, number: int) -> list[int]:
        """The samples of a pass."""
        return self.levels[bisect.bisect(self.levels, number, key=lambda level: level[1]) - 1][2]

    def at(self, place: int, key: str) -> int:
        """The sample at a place, if each pass is shuffled by the key."""
        first, done, due = self.levels[bisect.bisect(self.levels, place, key=lambda level: level[0]) - 1]
        number, slot = divmod(place - first, len(due))
        return due[_permuted(slot, len(due), f"{key}:{done + number}")]


class _ListedEpoch:
    """An epoch as a list."""

    def __init__(self, buckets: Sequence[_Passes], batch_size: int, key: str) -> None:
        rng = random.Random(key)
        self._samples, self._starts, self._ends = array("q"), array("q"), array("q")
        for passes in buckets:
            start = len(self._samples)
            for number in range(passes.count):
                due = list(passes.due(number))
                rng.shuffle(due)
                self._samples.extend(due)
            self._starts.extend(range(start, len(self._samples), batch_size))
            self._ends.extend(min(at + batch_size, len(self._samples)) for at in self._starts[len(self._ends):])
        self._batches = array("q", range(len(self._starts)))
        rng.shuffle(self._batches)  # type: ignore[arg-type]  # it only swaps items

    def batch(self, place: int) -> list[int]:
        number = self._batches[place]
        return list(self._samples[self._starts[number]:self._ends[number]])


class _ComputedEpoch:
    """An epoch of any length, without a list of it."""

    def __init__(self, buckets: Sequence[_Passes], batch_size: int, key: str) -> None:
        self._buckets, self._size, self._key = buckets, batch_size, key
        self._ends = list(itertools.accumulate(-(-passes.length // batch_size) for passes in buckets))

    def batch(self, place: int) -> list[int]:
        number = _permuted(place, self._ends[-1], self._key)
        bucket = bisect.bisect(self._ends, number)
        passes = self._buckets[bucket]
        start = (number - (self._ends[bucket - 1] if bucket else 0)) * self._size
        return [passes.at(at, f"{self._key}:{bucket}") for at in range(start, min(start + self._size, passes.length))]


def _permuted(place: int, count: int, key: str) -> int:
    """Where a place goes in a random order of `count` places that depends on the key alone.

    A Feistel network permutes the next power of four; what falls outside goes through again (Black & Rogaway, "Ciphers
    with Arbitrary Finite Domains", CT-RSA 2002).
    """
    half = max(1, ((count - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = place >> half, place & mask
        for turn in range(4):
            digest = hashlib.blake2b(f"{key}:{turn}:{right}".encode(), digest_size=8).digest()
            left, right = right, left ^ (int.from_bytes(digest, "big") & mask)
        place = left << half | right
        if place < count:
            return place
