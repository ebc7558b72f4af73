"""What became of a LoRA that was extracted or resized: ranks, errors and size, in words and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..common.counts import count_noun

WORST = 5
"""Layers that are named in the short report."""
_NAMED = 3
"""Layers that are named where several were left out."""


@dataclass(frozen=True)
class LayerRow:
    """Attributes:
        key: the layer's key in `LoraWeights.modules`.
        error: what is lost of the layer's change, |result - whole| / |whole|.
        energy: the squared norm of its whole change.
    """

    key: str
    rank: int
    error: float
    energy: float


@dataclass(frozen=True)
class Report:
    """Attributes:
        done: what was done, such as "Extracted".
        of: what the errors are shares of.
        rows: the layers that got a rank.
        dropped: the squared norm of the layers that got none.
        size: bytes of the file.
    """

    done: str
    of: str
    rows: tuple[LayerRow, ...]
    size: int
    dropped: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """What is lost over all layers, |result - whole| / |whole|."""
        whole = sum(row.energy for row in self.rows) + self.dropped
        lost = sum(row.error**2 * row.energy for row in self.rows) + self.dropped
        return math.sqrt(lost / whole) if whole else 0.0

    @property
    def lines(self) -> tuple[str, ...]:
        """The short report."""
        ranks = [row.rank for row in self.rows]
        span = f"rank {ranks[0]}" if min(ranks) == max(ranks) else f"rank {min(ranks)} to {max(ranks)}"
        worst = sorted(self.rows, key=lambda row: -row.error)[:WORST]
        return (
            f"{self.done} {count_noun(len(ranks), 'layer')} of {span}, {self.size / 1e6:.3g} MB. The error over all is "
            f"{_percent(self.error)} of {self.of}.",
            "Largest errors: " + ", ".join(f"{row.key} {_percent(row.error)}" for row in worst) + ".", *self.notes)

    @property
    def text(self) -> str:
        """The short report, and a table of all layers."""
        table = (f"{row.rank:5d}  {_percent(row.error):>8}  {row.key}" for row in self.rows)
        return "\n".join((*self.lines, "", " rank     error  layer", *table))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"error": self.error, "bytes": self.size, "layers": [asdict(row) for row in self.rows],
                "notes": self.notes}


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share >= 1e-6 else "0 %"


def name_some(names: Sequence[str], what: str) -> str:
    """A line with some of the names and the number of all; "" if there are none.

    Args:
        what: what they are, such as "Skipped layers".
    """
    if not names:
        return ""
    some = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    return f"{what} ({len(names)}): {some}."
