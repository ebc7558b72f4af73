"""How many directions each layer gets: the rules of `settings.RULES`, from the layers' singular values."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..common.errors import UserError
from .settings import CUMULATIVE, ENERGY, FIXED, RATIO, SIZE, RankSettings

_NOTHING = 1e-7
"""Directions this many times smaller than a layer's largest are rounding errors."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What is known of a layer's singular values.

    Attributes:
        sizes: the largest of them, falling, float64; as many as the layer may have directions.
        energy: the sum of the squares of all, the squared norm of the layer's change.
        total: the sum of all; NaN where only the largest are known.
        numbers: numbers that a direction takes in the file.
    """

    sizes: Tensor
    energy: float
    numbers: int
    total: float = float("nan")

    @property
    def most(self) -> int:
        """The number of directions that are more than rounding errors."""
        return max(1, int((self.sizes > _NOTHING * self.sizes[:1]).sum()))

    def lost(self, rank: int) -> float:
        """The squared norm that is lost at a rank."""
        return max(0.0, self.energy - float(self.sizes[:rank].square().sum()))


def _count_energy(spectrum: Spectrum, share: float) -> int:
    return _reached(spectrum.sizes.square(), share * spectrum.energy)


def _count_cumulative(spectrum: Spectrum, share: float) -> int:
    return _reached(spectrum.sizes, share * spectrum.total)


def _reached(values: Tensor, wanted: float) -> int:
    """How many of the values it takes for a sum of at least `wanted`, up to rounding."""
    return int((values.cumsum(0) < wanted * (1 - 1e-12)).sum()) + 1


def _count_ratio(spectrum: Spectrum, ratio: float) -> int:
    return int((spectrum.sizes > spectrum.sizes[0] / ratio).sum())


_COUNTS: dict[str, Callable[[Spectrum, float], int]] = {
    FIXED: lambda spectrum, target: len(spectrum.sizes), ENERGY: _count_energy, RATIO: _count_ratio,
    CUMULATIVE: _count_cumulative,
}


def looks_at_all(settings: RankSettings) -> bool:
    """Whether a layer's rank depends on the other layers."""
    return settings.rule == SIZE


def choose_rank(spectrum: Spectrum, settings: RankSettings) -> int:
    """The rank of one layer, from 1 on, for the rules that look at each alone."""
    count = _COUNTS[settings.rule](spectrum, settings.chosen_target)
    return min(max(1, count), spectrum.most)


def choose_ranks(spectra: Sequence[Spectrum], settings: RankSettings, *, itemsize: int, spare: int) -> list[int]:
    """The ranks of all layers; 0 where a layer gets no direction.

    Args:
        itemsize: bytes of a number in the file.
        spare: bytes that the file takes besides the layers' directions.

    Raises UserError if a size is too small for any direction.
    """
    if not looks_at_all(settings):
        return [choose_rank(spectrum, settings) for spectrum in spectra]
    room = settings.chosen_target * 1e6 - spare
    ranks = [0] * len(spectra)
    queue = [row for index, spectrum in enumerate(spectra) if (row := _next(spectrum, 0, index))]
    heapq.heapify(queue)
    while queue:
        _, index = heapq.heappop(queue)
        price = spectra[index].numbers * itemsize
        if price > room:  # another layer's directions may still fit, but none of this one
            continue
        room, ranks[index] = room - price, ranks[index] + 1
        if row := _next(spectra[index], ranks[index], index):
            heapq.heappush(queue, row)
    if not any(ranks):
        least = (spare + min(spectrum.numbers for spectrum in spectra) * itemsize) / 1e6
        raise UserError(f"a file of {settings.chosen_target:g} MB has no room for a direction of any layer; it takes "
                        f"more than {least:.2g} MB. Give a larger target.")
    return ranks


def _next(spectrum: Spectrum, taken: int, index: int) -> tuple[float, int] | None:
    """(less than any worse direction's, the layer) of the layer's next direction; None if there are no more.

    A direction is worth its squared singular value for each number that it takes in the file.
    """
    if taken >= spectrum.most:
        return None
    return -float(spectrum.sizes[taken]) ** 2 / spectrum.numbers, index


def all_sizes(sizes: Tensor) -> tuple[float, float]:
    """(the sum of squares, the sum) of a layer's complete singular values."""
    values = sizes.to(torch.float64)
    return float(values.square().sum()), float(values.sum())
