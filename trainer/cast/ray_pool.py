"""Workers on Ray: an actor each, which keeps the base model that it loaded last. Local by default, a cluster by its
address.

All workers read and write the same output folder, by the same path: on a cluster it is a shared one. Ray is an optional
library (`cast` in pyproject.toml), imported only here.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..common.errors import UserError
from .batch import TaskResult
from .tasks import Job

STORE = 80 * 2**20
"""Bytes of Ray's object store where it is local: only settings and figures pass through it."""
MISSING = "Ray, which shares the work among several workers, is not installed: pip install ray"


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Attributes:
        workers: how many; 0 for as many as the machines have GPUs, or one where they have none.
        gpus: GPUs of a worker; None: one where there are GPUs, else 0. A fraction puts several on one GPU.
        threads: CPU cores, and threads of torch, of a worker.
        address: of a cluster, or "auto" for the one that runs here; "" to start Ray on this machine.
    """

    workers: int = 0
    gpus: float | None = None
    threads: int = 1
    address: str = ""


def require_ray() -> None:
    """Raises UserError if Ray is not installed."""
    if find_spec("ray") is None:
        raise UserError(f"{MISSING}.")


@dataclass
class _Slot:
    """A worker's place. The actor is made when it is first needed, and again after it died."""

    actor: Any = None
    job: Job | None = None
    base: tuple[str, str] | None = None
    reference: Any = None
    started: float = 0.0


class RayPool:
    """A context manager of `WorkerSettings.workers` workers; see `batch.Pool`."""

    def __init__(self, output: Path, settings: WorkerSettings) -> None:
        require_ray()
        self.output, self.settings = output.resolve(), settings
        self._slots: list[_Slot] = []
        self._own = False
        self.gpus = 0.0

    def __enter__(self) -> RayPool:
        import ray

        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to others unasked
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a worker without a GPU must not see one
        asked = self.settings
        if not ray.is_initialized():
            local: dict[str, Any] = {} if asked.address else {
                "num_cpus": max(asked.workers, 1) * asked.threads if asked.workers else None,
                "object_store_memory": STORE, "include_dashboard": False}
            try:
                ray.init(address=asked.address or "local", log_to_driver=False, logging_level=logging.ERROR, **local)
            except Exception as error:  # Ray raises plain ones too, as where its start takes over 30 seconds
                ray.shutdown()
                remedy = ("Give the address of a cluster that runs, or leave --address out." if asked.address else
                          "Try again when the machine is less busy.")
                raise UserError(f"Ray does not start at {asked.address or 'this machine'}: {error} {remedy}") from error
            self._own = True
        try:
            self._plan_workers(ray.cluster_resources())
        except UserError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        import ray

        for slot in self._slots:
            if slot.actor is not None:
                ray.kill(slot.actor)
        if self._own:
            ray.shutdown()

    @property
    def size(self) -> int:
        return len(self._slots)

    def idle(self) -> Sequence[tuple[int, tuple[str, str] | None]]:
        return [(number, slot.base) for number, slot in enumerate(self._slots) if slot.job is None]

    def submit(self, worker: int, job: Job) -> None:
        slot = self._slots[worker]
        if slot.actor is None:
            slot.actor = self._make_actor()
        slot.job, slot.base, slot.started = job, job.character.base, time.monotonic()
        slot.reference = slot.actor.run.remote(job.to_dict())

    def wait(self) -> Sequence[tuple[int, Job, TaskResult]]:
        import ray

        busy = {slot.reference: number for number, slot in enumerate(self._slots) if slot.job is not None}
        if not busy:
            return []
        ready, _ = ray.wait(list(busy), num_returns=1, timeout=1.0)
        return [self._end(busy[reference]) for reference in ready]

    def stop(self) -> None:
        for slot in self._slots:
            if slot.actor is not None:
                slot.actor.stop.remote()

    def busy(self) -> dict[int, Job]:
        """What each worker that is not idle does."""
        return {number: slot.job for number, slot in enumerate(self._slots) if slot.job is not None}

    def pid(self, worker: int) -> int:
        """The number of a worker's process; 0 while it has none."""
        import ray

        actor = self._slots[worker].actor
        return int(ray.get(actor.pid.remote())) if actor is not None else 0

    def _end(self, number: int) -> tuple[int, Job, TaskResult]:
        import ray

        slot = self._slots[number]
        job = slot.job
        assert job is not None
        seconds = time.monotonic() - slot.started
        try:
            result = TaskResult(seconds, **ray.get(slot.reference))
        except ray.exceptions.RayError as error:  # the process, its machine or the way to it is gone
            result = TaskResult(seconds, lost=True, problem=_first_line(error))
            ray.kill(slot.actor)  # one that lives on would keep its GPU from the next
            slot.actor, slot.base = None, None
        slot.job, slot.reference = None, None
        return number, job, result

    def _make_actor(self) -> Any:
        import ray

        from .worker import Worker

        options = {"num_cpus": self.settings.threads, "num_gpus": self.gpus, "max_concurrency": 4}
        return ray.remote(Worker).options(**options).remote(str(self.output), self.settings.threads)

    def _plan_workers(self, there: dict[str, float]) -> None:
        """Raises UserError if not even one worker has room: Ray would wait for ever."""
        asked, found = self.settings, int(there.get("GPU", 0))
        self.gpus = (1.0 if found else 0.0) if asked.gpus is None else asked.gpus
        for name, wanted in (("CPU", float(self.settings.threads)), ("GPU", self.gpus)):
            if wanted > there.get(name, 0.0):
                raise UserError(f"a worker takes {wanted:g} {name}s, but the machines have {there.get(name, 0.0):g}. "
                                f"Give a smaller --{'threads' if name == 'CPU' else 'gpus'}.")
        count = asked.workers or (int(found / self.gpus) if self.gpus else 1)
        self._slots = [_Slot() for _ in range(count)]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"its worker ended: {lines[0] if lines else type(error).__name__}"
