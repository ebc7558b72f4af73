"""What a job will take before it is sent away: seconds a step by card, counted, times a price an hour.

The seconds follow from counting one step on the base's network and from what makers publish of their cards
(`memory/cards.py`). They are of the training alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..common.checks import check
from ..common.counts import duration
from ..memory.bases import SANDBOX, find_base
from ..memory.cards import CARDS, GIB, step_seconds
from ..memory.counter import TookTooLong
from ..memory.plan import Estimate, count_published
from ..training.config import TrainConfig

SECONDS = 60.0
"""How long counting may take, the first time."""
ORIGIN = ("counted on the base's network and on the card's published speed, which misses measured speeds by a fifth on "
          "average; without loading, downloads, the sweep and idle time")
MOST_PRICE = 10_000.0


@dataclass(frozen=True)
class CardCost:
    """What a training takes on one card.

    Attributes:
        seconds: of all its steps.
        recomputed: whether it fits only with all blocks computed again in the backward pass.
    """

    card: str
    seconds: float
    recomputed: bool = False

    def price(self, hourly: float) -> float:
        """In whatever `hourly`, the price an hour, is in."""
        return self.seconds / 3600 * hourly


def count_costs(base: str, config: TrainConfig, precision: str = "bf16") -> tuple[CardCost, ...]:
    """What a training takes on each card that can hold it, the slowest first; () if it cannot be counted in SECONDS.

    Args:
        base: as `memory.bases.find_base` takes it.

    Raises UserError for a base that is not known.
    """
    found = find_base(base)
    precision = "fp32" if base == SANDBOX else precision
    costs: dict[str, CardCost] = {}
    try:
        for share in (0.0, 1.0) if config.fit_memory and not config.gradient_checkpointing else (1.0,):
            count = count_published(found.shape, config, precision, share, SECONDS)
            needed = Estimate(config, precision, count, recompute=share).needed
            for card in CARDS:
                if needed <= card.memory * GIB and card.name not in costs:
                    seconds = step_seconds(count, card) * config.accumulation_steps * config.steps
                    costs[card.name] = CardCost(card.name, seconds, bool(share))
            if len(costs) == len(CARDS):
                break
    except TookTooLong:
        return ()
    return tuple(sorted(costs.values(), key=lambda cost: -cost.seconds))


def describe_costs(costs: tuple[CardCost, ...], price: float = 0.0, card: str = "") -> list[str]:
    """Lines for people.

    Args:
        price: an hour, in any currency; 0 if it is not known.
        card: that the price is for; "" for all.

    Raises UserError for a card that is not in `memory.cards`, and for a price that is not a number.
    """
    check(math.isfinite(price) and 0 <= price <= MOST_PRICE, "price", price, f"from 0 to {MOST_PRICE:g} an hour")
    names = tuple(row.name for row in CARDS)
    check(not card or card in names, "card", card, f"one of {', '.join(names)}")
    if not costs:
        return ["time and cost could not be counted for this base; lora-bootstrap plan may know a nearer name"]
    shown = [cost for cost in costs if not card or cost.card == card]
    if not shown:
        return [f"the training does not fit {card} as it is; see lora-bootstrap plan"]
    lines = [f"{cost.card}: about {duration(cost.seconds)}"
             + (f", {cost.price(price):.2f} at {price:g} an hour" if price else "")
             + (", with gradient checkpointing" if cost.recomputed else "") for cost in shown]
    return [*lines, ORIGIN]
