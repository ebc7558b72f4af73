"""Shares the tasks of a cast among workers, and writes the report as results come.

Which worker does what is decided here; what a worker is, is the pool's business (`ray_pool`). A task that fails, or
whose worker dies, is begun again and resumes by the files that exist.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..common.events import Event, Events, Interrupted, Warned
from .character import Character
from .records import CELLS, KINDS, PROJECT, SCORE, CastRecords, CharacterRecord
from .report import CastReport
from .tasks import Job, count_shares

RETRIES = 2
"""How often a task is begun again by default."""
NOT_SHARED = ("its worker finished the project, but the LoRA is not in {folder} here. Give an --output that all "
              "machines share.")


@dataclass(frozen=True)
class TaskResult:
    """Attributes:
        seconds: that the worker was busy with it.
        facts: what the task returned.
        stopped: the worker was asked to stop; everything made so far is saved.
        lost: the worker died; `problem` says how.
        problem: why it failed; "" if it did not.
        mistake: what went wrong is the user's to mend, so that trying again is useless.
    """

    seconds: float
    facts: dict[str, Any] | None = None
    stopped: bool = False
    lost: bool = False
    problem: str = ""
    mistake: bool = False

    @property
    def words(self) -> str:
        return "stopped" if self.stopped else self.problem or "done"


class Pool(Protocol):
    """Workers that do one task at a time each."""

    @property
    def size(self) -> int:
        """How many workers there are."""

    def idle(self) -> Sequence[tuple[int, tuple[str, str] | None]]:
        """Workers without a task, each with the base that it holds."""

    def submit(self, worker: int, job: Job) -> None: ...

    def wait(self) -> Sequence[tuple[int, Job, TaskResult]]:
        """Tasks that have ended; [] if none does for about a second."""

    def stop(self) -> None:
        """Ask all workers to stop at their next step."""


@dataclass(frozen=True)
class TaskStarted(Event):
    job: Job
    worker: int


@dataclass(frozen=True)
class TaskEnded(Event):
    job: Job
    result: TaskResult
    again: bool
    """Whether it is begun again."""


@dataclass(frozen=True)
class BatchFinished(Event):
    report: CastReport
    page: Path


def run_batch(cast: Sequence[Character], records: CastRecords, pool: Pool, *, retries: int = RETRIES,
              price: float | None = None, should_stop: Callable[[], bool] = lambda: False) -> Events:
    """Make every character of a cast, yielding events; the last is BatchFinished, or Interrupted.

    Args:
        retries: how often a task is begun again, if it failed or its worker died.
        price: of an hour of a worker, for characters that do not have their own.
        should_stop: called about once a second. If it returns true, workers end their step and everything stays.
    """
    yield from _Batch(cast, records, pool, retries, price).run(should_stop)


class _Batch:
    def __init__(self, cast: Sequence[Character], records: CastRecords, pool: Pool, retries: int,
                 price: float | None) -> None:
        self.cast, self.records, self.pool, self.retries, self.price = cast, records, pool, retries, price
        self.state: dict[str, CharacterRecord] = {each.name: records.read(each) for each in cast}
        self.open: Counter[str] = Counter()
        self.waiting: list[Job] = [job for each in cast for job in self._next(each)]
        self.attempts: Counter[tuple[str, str, int]] = Counter()
        self.running = 0
        self.stopping = False

    def run(self, should_stop: Callable[[], bool]) -> Events:
        self._write()
        while self.running or (self.waiting and not self.stopping):
            if should_stop() and not self.stopping:
                self.stopping = True
                self.pool.stop()
            for worker, base in () if self.stopping else self.pool.idle():
                if self.waiting:
                    yield self._start(worker, base)
            for _, job, result in self.pool.wait():
                self.running -= 1
                yield from self._end(job, result)
        page = self._write()
        if self.stopping:
            yield Interrupted("batch")
        else:
            yield BatchFinished(self._report(), page)

    def _start(self, worker: int, base: tuple[str, str] | None) -> Event:
        """What needs the base that the worker holds comes first, as loading one takes long; of these, what is
        nearest to its end, so that results come early."""
        job = max(self.waiting, key=lambda job: (job.character.base == base, KINDS.index(job.kind)))
        self.waiting.remove(job)
        self.pool.submit(worker, job)
        self.running += 1
        return TaskStarted(job, worker)

    def _end(self, job: Job, result: TaskResult) -> Events:
        record = self.state[job.character.name]
        record.spend(job.kind, result.seconds)
        record.lost += result.lost
        again = self._tries_again(job, result)
        if again:
            self.waiting.append(job)
        elif result.problem and not (self.stopping and result.lost):
            record.problem = result.problem
        elif result.facts is not None:
            self._go_on(job, record, result.facts)
        self.records.write(job.character, record)
        self._write()
        yield TaskEnded(job, result, again)
        if record.problem and not again:
            yield Warned(f"{job.character.name}: {record.problem}")

    def _tries_again(self, job: Job, result: TaskResult) -> bool:
        if result.stopped or result.mistake or not result.problem:
            return False
        attempt = job.character.name, job.kind, job.number
        self.attempts[attempt] += 1
        return self.attempts[attempt] <= self.retries and not self.stopping

    def _go_on(self, job: Job, record: CharacterRecord, facts: dict[str, Any]) -> None:
        """Queue what follows from a finished task."""
        name = job.character.name
        if job.kind == PROJECT:
            record.project, record.score = facts, None
            following = self._next(job.character)
            if any(other.kind == PROJECT for other in following):
                record.problem = NOT_SHARED.format(folder=self.records.output)
            else:
                self.waiting += following
        elif job.kind == CELLS:
            self.open[name] -= 1
            if not self.open[name] and not record.problem:
                self.waiting.append(Job(job.character, SCORE))  # also if cells failed: the report says how many
        else:
            record.score = facts

    def _next(self, character: Character) -> list[Job]:
        """The tasks that can be done for it now."""
        kind = self.records.next_kind(character, self.state[character.name])
        if kind != CELLS:
            return [] if kind is None else [Job(character, kind)]
        sweep = self.records.sweep(character)
        count = count_shares(len(sweep.missing()) if sweep else 1, self.pool.size)
        self.open[character.name] = count
        return [Job(character, CELLS, number, count) for number in range(count)]

    def _report(self) -> CastReport:
        return CastReport.of(self.cast, self.state, self.price)

    def _write(self) -> Path:
        return self._report().write(self.records)
