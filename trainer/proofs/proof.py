"""A proof: what was compared, how far it was off, and whether that is right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from ..models.layers import base_modules

SAME_TEXT, COVERAGE, FILE_WORKS = "same text", "coverage", "file works"
"""What every run proves about itself, in this order."""

EXACT, ROUNDED, QUANTISED = 1e-3, 2e-2, 1e-1
"""How far two predictions may be apart, relative to their size: of networks in 32 bits, and of others. The last holds
for weights of 8 bits and less if both are conditioned on the same: sampling may round the activations too."""


@dataclass(frozen=True)
class Proof:
    """What one proof found.

    Attributes:
        name: SAME_TEXT, COVERAGE or FILE_WORKS.
        words: the outcome in one line; where it failed, with the remedy.
        figure: the relative difference, or the share of layers; None if nothing could be measured.
    """

    name: str
    passed: bool
    words: str
    figure: float | None = None


def proof_rows(proofs: Iterable[Proof]) -> list[dict[str, Any]]:
    """Proofs as JSON objects; a figure that JSON cannot hold becomes null."""
    return [{**asdict(proof), "figure": proof.figure if isfinite(proof.figure or 0.0) else None} for proof in proofs]


def tolerance(network: nn.Module) -> float:
    """How far two predictions of this network may be apart: EXACT if all its weights are plain and of 32 bits. Those
    of adapters do not count."""
    exact = all(type(parameter.data) is Tensor and parameter.dtype.itemsize >= 4
                for _, module in base_modules(network) for parameter in module.parameters(recurse=False)
                if parameter.is_floating_point())
    return EXACT if exact else ROUNDED


def is_quantised(network: nn.Module) -> bool:
    """Whether it has weights of 8 bits or less, or of a class of their own."""
    return any(type(parameter.data) is not Tensor or parameter.dtype.itemsize == 1
               for parameter in network.parameters())


def size(values: Tensor) -> float:
    """The L2 norm."""
    return values.double().norm().item()


def relative_difference(values: Tensor, reference: Tensor) -> float:
    """The L2 distance relative to the reference's norm; infinite if either holds what is not a number."""
    distance = size(values.double() - reference.double()) / max(size(reference), 1e-30)
    return distance if distance == distance else float("inf")


@contextmanager
def same_chance(device: torch.device) -> Iterator[None]:
    """With the same random numbers every time, for networks that draw some; the random state is restored."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield
