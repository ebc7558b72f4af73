"""Cards as their makers publish them, and how long a step takes on one of them, about.

Figures are dense bfloat16 products with float32 sums (tensor cores, without sparsity) and memory bandwidth, from
NVIDIA's architecture papers: Ampere GA102 and A100, Ada AD102 and L40, Hopper H100, and RTX Blackwell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names of cards are looked up before torch is imported
    from .step import StepCount

GIB = 2**30


@dataclass(frozen=True)
class Card:
    """Attributes:
        memory: GiB.
        tflops: 1e12 floating-point operations a second.
        bandwidth: 1e9 bytes a second.
    """

    name: str
    memory: int
    tflops: float
    bandwidth: float


CARDS = (
    Card("RTX 3060 12 GB", 12, 25.5, 360),
    Card("RTX 4060 Ti 16 GB", 16, 44.1, 288),
    Card("RTX 4070 Ti Super", 16, 88.2, 672),
    Card("RTX 5070 Ti", 16, 87.9, 896),
    Card("RTX 3090", 24, 71.0, 936),
    Card("RTX 4090", 24, 165.2, 1008),
    Card("RTX 5090", 32, 209.5, 1792),
    Card("L40S", 48, 362.0, 864),
    Card("A100 80 GB", 80, 312.0, 2039),
    Card("H100", 80, 989.4, 3350),
)

PRODUCTS, COPIES, LAUNCH = 0.5, 0.8, 45e-6
"""Share of a card's published speed that products and copies reach, and seconds that Python takes to start a kernel:
fitted on the published speeds in bench/results/memory.md, which they miss by a fifth on average."""


def step_seconds(count: StepCount, card: Card) -> float:
    """Seconds of a step: arithmetic and memory traffic one after the other, or starting the kernels if that is more."""
    busy = count.operations / (card.tflops * 1e12 * PRODUCTS) + count.traffic / (card.bandwidth * 1e9 * COPIES)
    return max(busy, count.kernels * LAUNCH)
