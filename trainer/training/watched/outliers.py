"""Images whose loss is unlike the others', from the losses of their draws.

A loss depends on the time t more than on anything else, and on the step. So its logarithm is held against what is
expected at that time and step, by medians over bins; what is left over says how hard the image is. How much detail an
image has decides most of that, at all times alike. But at high noise only the layout and the colours are left to
predict, and those follow from the caption and from what the other images teach. So an image whose loss there is high
for its detail does not go with its caption, or with the others. It is judged by its first draws: later it is learnt by
heart. bench/outliers.py measures how well this works.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .image_losses import LossTable, read_losses_by_image

Floats = NDArray[np.float64]
MISFIT, HARD, EASY = "misfit", "hard", "easy"
LEAST_IMAGES = 8
"""With fewer images, none is unlike the others."""
LEAST_DRAWS = 6
"""An image with fewer draws at high noise is not judged."""
FIRST_DRAWS, FIRST_SHARE = 8, 0.3
"""An image's fit is judged by this many of its draws at high noise, or this share of them if that is more."""
HIGH_NOISE, LOW_NOISE = 0.4, 0.4
"""Quantiles of the drawn times: high noise is above the one, low noise below the other."""
FAR, VERY_FAR = 2.5, 5.0
"""Robust standard deviations from the median of the images for a misfit, and for an image that is hard or easy at all
times: images differ by themselves in that."""
ALIKE_SHARE, ALIKE_DRAWS = 0.25, 3
"""An image is compared with the others if it was drawn about as often as most of them: within this share and so many
draws more. One that is drawn more often is learnt better, and repeats are given to images of another kind, such as the
crops beside what a bootstrap generated."""
CERTAIN = 4.0
"""Standard errors of the image's own mean that it must be away."""
_TIME_BINS, _STEP_BINS, _ROUNDS = 16, 8, 3
_LEAST_SPREAD = 0.05
"""Of the logarithm: images that differ by less do not differ."""
_ALL_PAIRS = 500


class Outlier(NamedTuple):
    """An image that is unlike the others.

    Attributes:
        image: its number in the table.
        why: MISFIT, HARD or EASY, a key of REASONS.
        deviation: from the median of the images, in robust standard deviations.
        ratio: of its loss to what is expected.
        draws: how many losses that is the mean of.
    """

    image: int
    name: str
    why: str
    deviation: float
    ratio: float
    draws: int


class Reason(NamedTuple):
    """How an outlier is described: its figure, and what to look for."""

    figure: str
    look: str


REASONS = {
    MISFIT: Reason("its loss at high noise is {ratio:.2f} times what is expected",
                   "Look whether its caption fits, or someone else is in it"),
    HARD: Reason("its loss at all times is {ratio:.2f} times what is expected",
                 "Look whether it is noisy, damaged, or far more detailed than the others"),
    EASY: Reason("its loss at all times is {ratio:.2f} times what is expected",
                 "Look whether it is a copy of another, or nearly empty"),
}


def describe_outlier(outlier: Outlier) -> str:
    """`its loss at high noise is 1.62 times what is expected (6.1 deviations, 24 draws). Look whether ...`"""
    reason = REASONS[outlier.why]
    return (f"{reason.figure.format(ratio=outlier.ratio)} ({abs(outlier.deviation):.1f} deviations, {outlier.draws} "
            f"draws). {reason.look}.")


def word_outliers(run: Path) -> list[str]:
    """A line for each outlier of the run in a folder, as its training says it, and whether it was set aside."""
    table = read_losses_by_image(run)
    return [f"{outlier.name}: {describe_outlier(outlier)}"
            + (f" It was set aside after step {table.set_aside[outlier.image]}." if outlier.image in table.set_aside
               else "")
            for outlier in find_outliers(table)]


def find_outliers(table: LossTable) -> list[Outlier]:
    """The outliers of a run so far, the worst first; an image is named once."""
    if len(table.names) < LEAST_IMAGES or sum(loss > 0 for loss in table.losses) < LEAST_IMAGES * LEAST_DRAWS:
        return []
    draws = _Draws.of(table)
    found: dict[int, Outlier] = {}
    for why, score in _SCORES.items():
        for outlier in score(draws, table.names, why):
            found.setdefault(outlier.image, outlier)
    return sorted(found.values(), key=lambda outlier: -abs(outlier.deviation))


@dataclass(frozen=True)
class _Draws:
    """All draws, with the part of each log loss that time and step do not explain.

    Attributes:
        residual, times, images: [N].
        place: [N], how many draws of the same image at high noise come before this one.
        high, low: [N], whether it is at high or low noise.
        count: number of images.
    """

    residual: Floats
    times: Floats
    images: NDArray[np.int64]
    place: NDArray[np.int64]
    high: NDArray[np.bool_]
    low: NDArray[np.bool_]
    count: int

    @classmethod
    def of(cls, table: LossTable) -> _Draws:
        losses, images = np.array(table.losses, np.float64), np.array(table.images, np.int64)
        measured = (losses > 0) & _drawn_alike(images, table)[images]
        times, steps = (np.array(values, np.float64)[measured] for values in (table.times, table.steps))
        images = images[measured]
        log = np.log(losses[measured])
        by_step = np.zeros(len(log))
        for _ in range(_ROUNDS):
            by_time = _trend(times, log - by_step, _TIME_BINS)
            by_step = _trend(steps, log - by_time, _STEP_BINS)
        high = times >= np.quantile(times, HIGH_NOISE)
        return cls(log - by_time - by_step, times, images, _places(images, high), high,
                   times < np.quantile(times, LOW_NOISE), len(table.names))

    def means(self, mask: NDArray[np.bool_]) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """(mean, its standard error, number) of the residuals of each image under a mask; nan without any."""
        images, residual = self.images[mask], self.residual[mask]
        number = np.bincount(images, minlength=self.count)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(images, residual, self.count) / number
            spread = np.std(residual - mean[images]) if len(images) else 0.0
            return mean, spread / np.sqrt(number), number


def _drawn_alike(images: NDArray[np.int64], table: LossTable) -> NDArray[np.bool_]:
    """[images of the table]: whether it was drawn about as often as most. Those set aside stay, drawn less as they are.
    """
    number = np.bincount(images, minlength=len(table.names))
    usual = np.median(number[number > 0])
    alike: NDArray[np.bool_] = np.abs(number - usual) <= ALIKE_SHARE * usual + ALIKE_DRAWS
    alike[list(table.set_aside)] = True
    return alike


def _trend(x: Floats, y: Floats, bins: int) -> Floats:
    """[N]: y as a function of x, through the medians of bins that hold equally many."""
    order = np.argsort(x, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    middles, values = (np.array([np.median(of[part]) for part in parts]) for of in (x, y))
    return np.interp(x, middles, values)


def _places(images: NDArray[np.int64], counted: NDArray[np.bool_]) -> NDArray[np.int64]:
    """[N]: how many counted entries of the same image come before each."""
    order = np.argsort(images, kind="stable")
    before: NDArray[np.int64] = np.cumsum(counted[order]) - counted[order]
    starts = np.searchsorted(images[order], images[order])
    places = np.empty(len(images), np.int64)
    places[order] = before - before[starts]
    return places


def _misfits(draws: _Draws, names: tuple[str, ...], why: str) -> list[Outlier]:
    detail, _, _ = draws.means(draws.low)
    _, _, number = draws.means(draws.high)
    most = np.maximum(FIRST_DRAWS, FIRST_SHARE * number)
    mean, error, number = draws.means(draws.high & (draws.place < most[draws.images]))
    slope = _slope(detail, mean)
    return _far(mean - slope * detail, error, number, names, why, FAR, above=True)


def _hard(draws: _Draws, names: tuple[str, ...], why: str) -> list[Outlier]:
    mean, error, number = draws.means(np.ones(len(draws.images), bool))
    return _far(mean, error, number, names, why, VERY_FAR, above=True)


def _easy(draws: _Draws, names: tuple[str, ...], why: str) -> list[Outlier]:
    mean, error, number = draws.means(np.ones(len(draws.images), bool))
    return _far(mean, error, number, names, why, VERY_FAR, above=False)


_SCORES: dict[str, Callable[[_Draws, tuple[str, ...], str], list[Outlier]]] = {
    MISFIT: _misfits, HARD: _hard, EASY: _easy}


def _slope(x: Floats, y: Floats) -> float:
    """The median of the slopes between pairs (Theil-Sen), within 0 and 1.5; of pairs half of the images apart, if there
    are many."""
    kept = np.isfinite(x) & np.isfinite(y)
    order = np.argsort(x[kept])
    x, y = x[kept][order], y[kept][order]
    if len(x) < 2:
        return 0.0
    half = len(x) // 2
    first, second = (np.triu_indices(len(x), 1) if len(x) <= _ALL_PAIRS
                     else (np.arange(len(x) - half), np.arange(half, len(x))))
    rise, run = y[second] - y[first], x[second] - x[first]
    apart = run > 1e-6
    return float(np.clip(np.median(rise[apart] / run[apart]), 0, 1.5)) if apart.any() else 0.0


def _far(values: Floats, errors: Floats, number: NDArray[np.int64], names: tuple[str, ...], why: str, far: float, *,
         above: bool) -> list[Outlier]:
    """The images that are further above (or below) the median than `far` allows."""
    judged = np.isfinite(values) & (number >= LEAST_DRAWS)
    if judged.sum() < LEAST_IMAGES:
        return []
    values = values - np.median(values[judged])
    spread = max(_LEAST_SPREAD, 1.4826 * float(np.median(np.abs(values[judged]))))
    found = []
    for image in np.flatnonzero(judged):
        distance = values[image] if above else -values[image]
        if distance > far * spread and distance > CERTAIN * errors[image]:
            found.append(Outlier(int(image), names[image], why, float(values[image] / spread),
                                 math.exp(float(values[image])), int(number[image])))
    return found
