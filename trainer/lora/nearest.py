"""The matrix of a small rank nearest to a whole one, by singular values: randomised if it is large, otherwise exact."""

from __future__ import annotations

import torch
from torch import Tensor

from .layers import LayerDelta, decomposed

ITERATIONS = 4
"""Power iterations. With the extra directions they keep the error within 1e-3 of the least one even where singular
values fall slowly: bench/extract.py."""
_LEAST_EXTRA = 16
_SMALL = 4
"""A matrix is decomposed as a whole if this many times the directions looked for exceed its smaller side."""


def nearest(matrix: Tensor, rank: int, *, seed: int = 0, exact: bool = False) -> LayerDelta:
    """The change of this rank nearest to a whole matrix [out, in], its directions by falling size.

    For large matrices it is nearly the nearest, by random projection (Halko, Martinsson & Tropp, arXiv:0909.4061) with
    the same random numbers every time.

    Args:
        exact: decompose the whole matrix whatever its size.
    """
    width = rank + max(_LEAST_EXTRA, rank // 2)
    if exact or _SMALL * width > min(matrix.shape):
        found = decomposed(matrix.double())  # its Gram matrix needs the digits
        return LayerDelta(found.up[:, :rank], found.down[:rank], orthogonal=True, exact=False)
    cards = [matrix.device] if matrix.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):
        torch.manual_seed(seed)
        u, sizes, v = torch.svd_lowrank(matrix, q=width, niter=ITERATIONS)
    return LayerDelta(u[:, :rank] * sizes[:rank], v[:, :rank].T, orthogonal=True, exact=False)
