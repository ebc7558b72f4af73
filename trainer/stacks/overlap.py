"""How much two LoRAs overlap in one layer, from products of their small factors alone.

A change dW = up @ down responds to the row space of down; Q is an orthonormal basis of it. With the squared norms N =
|dW|² and T_ab = |dW_b Q_a|², kappa = sqrt(T_ab T_ba / (N_a N_b)) says how much two respond to the same inputs, whatever
their strengths. It is this project's own score. That it uses the row space, not the column space, follows NP-LoRA,
arXiv:2511.11051.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..lora.layers import LayerDelta

TOLERANCE = 0.2
"""Share of a LoRA's output that another may overwrite before it counts as a conflict."""
MANY_DIRECTIONS, KEPT_ENERGY = 64, 0.95
"""With at least this many directions, only the largest that hold this share of the squared norm count; the rest are
unused."""
LEAST_DIRECTION = 1e-10
"""A direction with less than this share of the largest one's squared size is a rounding error."""
_NOTHING = 1e-300


@dataclass(frozen=True, eq=False)
class Reading:
    """The directions that a change responds to.

    Attributes:
        sizes: [k], squared singular values of the directions that count.
        turn: [rank, k], the directions' coefficients in down's rows; or [k], the indices of rows that are directions.
        energy: squared norm of the whole change.
    """

    change: LayerDelta
    sizes: Tensor
    turn: Tensor
    energy: float

    def heard(self, down: Tensor) -> Tensor:
        """Coefficients [n, k] of rows [n, in] on the directions."""
        return _turn(down @ self.change.down.T, self.turn)

    def project(self, down: Tensor) -> Tensor:
        """The part [n, in] of rows [n, in] that lies in the directions."""
        heard = self.heard(down)
        if self.turn.ndim == 1:
            return heard @ self.change.down[self.turn]
        return heard @ self.turn.T @ self.change.down


def _turn(matrix: Tensor, turn: Tensor) -> Tensor:
    return matrix[:, turn] if turn.ndim == 1 else matrix @ turn


def read_change(change: LayerDelta, most: int | None = None) -> Reading:
    """The directions that a change responds to, whatever its factors. Unused directions are left out.

    Args:
        most: use this many of the largest, instead of those that count.

    It works with rank x rank matrices: with G = up^T up = L L^T, the eigenvectors z of L^T (down down^T) L have the
    squared singular values s² as eigenvalues, and down^T L z / s are the right singular vectors.
    """
    if change.orthogonal:
        sizes = change.up.square().sum(0)
        order = sizes.argsort(descending=True)
        kept = order[: _count_kept(sizes[order], most)]
        return Reading(change, sizes[kept], kept, float(sizes.sum()))
    values, vectors = torch.linalg.eigh(change.up.T @ change.up)
    root = vectors * values.clamp_min(0).sqrt()
    sizes, vectors = torch.linalg.eigh(root.T @ (change.down @ change.down.T) @ root)
    sizes, vectors = sizes.flip(0), vectors.flip(1)
    count = _count_kept(sizes, most)
    turn = root @ vectors[:, :count] / sizes[:count].sqrt()
    return Reading(change, sizes[:count], turn, float(sizes.clamp_min(0).sum()))


def _count_kept(sizes: Tensor, most: int | None) -> int:
    """How many of the squared sizes, largest first, count."""
    if not len(sizes) or sizes[0] <= 0:
        return 0
    count = int((sizes > LEAST_DIRECTION * sizes[0]).sum())
    if most is not None or count < MANY_DIRECTIONS:
        return min(count, most or count)
    # the small allowance keeps a repeated measurement from falling on the other side by rounding
    reached = sizes[:count].cumsum(0) >= (KEPT_ENERGY - 1e-9) * sizes[:count].sum()
    return int(reached.int().argmax()) + 1


@dataclass(frozen=True)
class Overlap:
    """The overlap of two LoRAs in some layers; every field is a sum over these layers.

    Attributes:
        first, second: squared norms of the changes (N).
        on_first: squared norm of the second's change on what the first responds to (T); `on_second` the reverse.
        inner: inner product of the two changes.
        chance_on_first, chance_on_second: T as expected for unrelated LoRAs.
        chance_inner: variance of `inner` in that case.
    """

    first: float = 0.0
    second: float = 0.0
    on_first: float = 0.0
    on_second: float = 0.0
    inner: float = 0.0
    chance_on_first: float = 0.0
    chance_on_second: float = 0.0
    chance_inner: float = 0.0

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(*(getattr(self, name) + getattr(other, name) for name in _FIELDS))

    def at(self, first: float, second: float) -> Overlap:
        """The overlap with the LoRAs at these strengths."""
        a, b = first * first, second * second
        return Overlap(a * self.first, b * self.second, b * self.on_first, a * self.on_second,
                       first * second * self.inner, b * self.chance_on_first, a * self.chance_on_second,
                       a * b * self.chance_inner)

    def swap(self) -> Overlap:
        return Overlap(self.second, self.first, self.on_second, self.on_first, self.inner, self.chance_on_second,
                       self.chance_on_first, self.chance_inner)

    @property
    def kappa(self) -> float:
        """0 if they respond to different inputs, 1 if to the same, whatever the strengths."""
        return min(1.0, _root(self.on_first * self.on_second, self.first * self.second))

    @property
    def chance(self) -> float:
        """The kappa of unrelated LoRAs of these sizes."""
        return min(1.0, _root(self.chance_on_first * self.chance_on_second, self.first * self.second))

    @property
    def excess(self) -> float:
        """kappa above chance, as a share of what is possible. Below 0 they avoid each other."""
        return _excess(self.kappa, self.chance)

    @property
    def cosine(self) -> float:
        """Cosine of the two changes. Above 0 they reinforce, below 0 they weaken each other."""
        both = math.sqrt(self.first * self.second)
        return max(-1.0, min(1.0, self.inner / both)) if both else 0.0

    @property
    def cosine_chance(self) -> float:
        """The size that a cosine has by chance (standard deviation)."""
        return min(1.0, _root(self.chance_inner, self.first * self.second))

    @property
    def cosine_excess(self) -> float:
        """The cosine's size above chance, as a share of what is possible, with its sign; 0 if it is not above."""
        return math.copysign(max(0.0, _excess(abs(self.cosine), self.cosine_chance)), self.cosine)

    @property
    def second_over_first(self) -> float:
        """On the inputs that the first responds to, the share of both outputs' energy that the second writes."""
        return _share(self.on_first, self.first)

    @property
    def first_over_second(self) -> float:
        """On the inputs that the second responds to, the share that the first writes."""
        return _share(self.on_second, self.second)

    @property
    def least_override(self) -> float:
        """No pair of strengths keeps both shares below this: kappa / (1 + kappa)."""
        return self.kappa / (1 + self.kappa)

    @property
    def balance(self) -> float | None:
        """Ratio of the second's to the first's strength at which both shares are `least_override`; None if there is
        none."""
        if min(self.on_first * self.second, self.on_second * self.first) <= 0:
            return None
        return (self.on_second * self.first / (self.on_first * self.second)) ** 0.25

    def most_second(self, tolerance: float = TOLERANCE) -> float:
        """Ratio of the second's to the first's strength up to which `second_over_first` is within the tolerance."""
        odds = tolerance / (1 - tolerance)
        return math.sqrt(odds * self.first / self.on_first) if self.on_first > 0 else math.inf

    def least_second(self, tolerance: float = TOLERANCE) -> float:
        """Ratio of the second's to the first's strength from which `first_over_second` is within the tolerance."""
        return 1 / most if (most := self.swap().most_second(tolerance)) > 0 else math.inf


_FIELDS = tuple(field.name for field in fields(Overlap))


def _root(part: float, whole: float) -> float:
    return math.sqrt(max(0.0, part) / whole) if whole > 0 else 0.0


def _share(part: float, rest: float) -> float:
    return part / (part + rest) if part + rest > 0 else 0.0


def _excess(value: float, chance: float) -> float:
    return (value - chance) / (1 - chance) if chance < 1 else 0.0


def total(overlaps: Iterable[Overlap]) -> Overlap:
    return sum(overlaps, Overlap())


def measure_overlap(first: Reading, second: Reading) -> Overlap:
    """The overlap of two LoRAs in one layer.

    If only the larger directions count, shares are taken of these, and T is that share of the whole N. So a change has
    kappa 1 with itself whatever its rank.
    """
    crossing = second.change.down @ first.change.down.T
    inner = float((first.change.up.T @ second.change.up * crossing.T).sum())
    cosines = _turn(_turn(crossing, first.turn).T, second.turn).square()  # [k first, k second], between the directions
    share_second = float(second.sizes @ cosines.sum(0)) / max(float(second.sizes.sum()), _NOTHING)
    share_first = float(first.sizes @ cosines.sum(1)) / max(float(first.sizes.sum()), _NOTHING)
    outputs, inputs = first.change.shape
    return Overlap(
        first.energy, second.energy,
        min(1.0, share_second) * second.energy, min(1.0, share_first) * first.energy, inner,
        second.energy * len(first.sizes) / inputs, first.energy * len(second.sizes) / inputs,
        first.energy * second.energy / (outputs * inputs))
