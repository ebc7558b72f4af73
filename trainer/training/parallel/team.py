"""What the processes of a run do together. A process that trains alone is a team of one, for which this is nothing.

Each process computes its share of the rows of every step, with the noise and times that one process would draw, and
their gradients are added up. So all of them have the same weights after each step, and any number of processes gives
the same run, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor, nn

from ...common.errors import UserError
from ...common.events import Events
from ..config import FULL, TrainConfig

Rows = TypeVar("Rows", Tensor, list[Any])


@dataclass(frozen=True)
class Share:
    """The rows of a batch of `count` that one process trains: those from `first` to before `end`."""

    first: int
    end: int
    count: int

    def __bool__(self) -> bool:
        return self.first < self.end

    @property
    def fraction(self) -> float:
        """Part of the batch's mean loss that is theirs: 1 for the whole batch."""
        return (self.end - self.first) / self.count

    def of(self, rows: Rows) -> Rows:
        """These of all rows [count, ...]."""
        return rows[self.first : self.end]

    def spread(self, values: Tensor) -> Tensor:
        """Their values [end - first, ...] among zeros for the other rows, [count, ...]."""
        if self.first == 0 and self.end == self.count:
            return values
        whole = values.new_zeros(self.count, *values.shape[1:])
        whole[self.first : self.end] = values
        return whole


def share_rows(sizes: Sequence[int], rank: int, size: int) -> list[Share]:
    """What process `rank` of `size` trains of batches with so many rows: a stretch of all rows one after another, so
    that most batches stay whole. The first processes get the smaller stretches."""
    total, before, shares = sum(sizes), 0, []
    start, stop = total * rank // size, total * (rank + 1) // size
    for count in sizes:
        first, end = (min(max(place - before, 0), count) for place in (start, stop))
        shares.append(Share(first, end, count))
        before += count
    return shares


class Team:
    """A team of one, and the methods that `processes.Processes` has for more.

    All processes call each method at the same point of a run.

    Attributes:
        rank: number of this process, from 0. The first one writes all files and reports.
        committed: whether the step has gone so far that this process cannot take it again alone.
    """

    rank, size = 0, 1
    committed = False

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def shares(self, sizes: Sequence[int]) -> list[Share]:
        """What this process trains of batches with so many rows."""
        return share_rows(sizes, self.rank, self.size)

    def told(self, make: Callable[[], Any]) -> Any:
        """What `make` returns in the first process, as JSON holds it, in all of them. It is called there alone."""
        return make()

    @contextmanager
    def first(self) -> Iterator[None]:
        """The others begin the block when the first process has ended it."""
        yield

    def led(self, events: Events) -> Events:
        """The events, in the first process; the others wait until they have ended."""
        return events

    def largest(self, value: float) -> float:
        """The largest of the values that the processes have."""
        return value

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.largest(flag))

    def check_same(self, what: str, describe: Callable[[], str]) -> None:
        """Raises UserError if what is described is not the same in all processes. One process describes nothing."""

    @contextmanager
    def step(self, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
        """The backward passes of a step. After the block the gradients are those of all processes together.

        Raises in all processes if the block did in one: MemoryError if memory ran out there, else UserError.
        """
        yield

    def total(self, figures: Tensor) -> Tensor:
        """The figures [N] of all processes, added up."""
        return figures


ALONE = Team()


def check_team(team: Team, config: TrainConfig) -> None:
    """Raises UserError for a run that these processes cannot share."""
    if team.size == 1:
        return
    if config.method == FULL:
        raise UserError("method is full, but a fine-tune is trained in one process: it applies each gradient as it "
                        "arrives. Start it without a launcher, or train a LoRA.")
    batch, parts = config.data.batch_size, config.accumulation_steps
    if batch * parts < team.size:
        raise UserError(f"a step has {batch * parts} image{'s' * (batch * parts > 1)} (batch_size {batch} x "
                        f"accumulation_steps {parts}), which {team.size} processes cannot share. Raise either of them, "
                        f"or start at most {batch * parts} processes.")
