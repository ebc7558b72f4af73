"""Shares work among several ComfyUI servers: each with a free queue gets the next part, and one that fails gives its
part to the others.

What the parts are, and how their results are gathered, is in farm_sweep.py for the cells of a sweep, and in
farm_candidates.py for the candidates of a bootstrap round.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Protocol

from ..common.errors import UserError
from ..common.events import Event, Events, Interrupted, Progress, Warned
from ..common.files import read_json
from .comfy_host import DONE, ComfyHost, HostFailed

POLL = 1.0
"""Seconds between two questions how far a part is."""


class Wait:
    """Waits for a host in its thread, and stops when the farm ends."""

    def __init__(self, poll: float) -> None:
        self.ended, self._poll = threading.Event(), poll

    def __call__(self, host: ComfyHost, prompt: str) -> bool:
        """Wait until a host has run the workflow of that id; False if the farm ended before. Raises HostFailed."""
        return self.until(lambda: host.state(prompt) == DONE)

    def until(self, is_so: Callable[[], bool], seconds: float = math.inf) -> bool:
        """Wait until it is so, or for so many seconds; False if the farm ended before."""
        end = time.monotonic() + seconds
        while not is_so() and time.monotonic() < end:
            if self.ended.wait(self._poll):
                return False
        return True


class FarmWork(Protocol):
    """What is shared. All methods but `count`, `list_done` and `finish` run in a thread for each host, and raise
    HostFailed for what another host may do better, or UserError for what none can.

    Attributes:
        folder: where results are gathered.
    """

    folder: Path

    @property
    def count(self) -> int:
        """Number of parts."""

    def list_done(self) -> set[int]:
        """Numbers of the parts that an earlier command gathered."""

    def begin(self, host: ComfyHost, wait: Wait) -> bool:
        """Prepare a host before its first part; False if the farm ended before."""

    def draw(self, host: ComfyHost, number: int, wait: Wait) -> bool:
        """Let a host draw a part, and gather it; False if the farm ended before."""

    def finish(self) -> Event:
        """The last event, once all parts are gathered."""


def read_workflow(path: Path) -> dict[str, Any]:
    """The nodes of a workflow in API format. Raises UserError if it is not one."""
    graph = read_json(path)
    if not isinstance(graph, dict) or not graph or not all(
            isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)
            for node in graph.values()):
        raise UserError(f"{path} is not a workflow in API format. Export it with Workflow > Export (API).")
    return graph


def run_farm(work: FarmWork, hosts: Sequence[ComfyHost], should_stop: Callable[[], bool] = lambda: False,
             poll: float = POLL) -> Events:
    """Draw all parts on the hosts, yielding events; the last is the one of `work.finish`, or Interrupted.

    A host that fails is left out from then on. What was gathered stays, and is not fetched again. If stopped, the hosts
    end the parts that they have; the same command gathers them later.

    Raises UserError if every host has failed, or if the work cannot be done by these hosts together.
    """
    yield from _Farm(work, poll).run(hosts, should_stop)


class _Farm:
    def __init__(self, work: FarmWork, poll: float) -> None:
        self.work, self.wait = work, Wait(poll)
        self.finished = work.list_done()
        self.waiting: Queue[int] = Queue()
        for number in range(work.count):
            if number not in self.finished:
                self.waiting.put(number)
        self.told: Queue[Event | Exception] = Queue()

    @property
    def left(self) -> int:
        return self.work.count - len(self.finished)

    def run(self, hosts: Sequence[ComfyHost], should_stop: Callable[[], bool]) -> Events:
        threads = [threading.Thread(target=self._serve, args=(host,), daemon=True) for host in hosts]
        for thread in threads:
            thread.start()
        failed: list[str] = []
        try:
            yield self._progress()
            while any(thread.is_alive() for thread in threads) or not self.told.empty():
                if should_stop():
                    yield Interrupted("farm")
                    return
                for event in self._events():
                    failed += [event.message] if isinstance(event, Warned) else []
                    yield event
        finally:
            self.wait.ended.set()
        if self.left:
            raise UserError(f"no server is left to draw {self.left} of {self.work.count} parts. {' '.join(failed)} "
                            f"What was drawn is in {self.work.folder}; the same command goes on.")
        yield self.work.finish()

    def _progress(self) -> Progress:
        return Progress("parts", len(self.finished), self.work.count)

    def _events(self) -> Iterator[Event]:
        try:
            event = self.told.get(timeout=0.2)
        except Empty:
            return
        if isinstance(event, Exception):
            raise event
        yield event

    # -- in a thread for each host ---------------------------------------------------------------------------------

    def _serve(self, host: ComfyHost) -> None:
        try:
            if self.left and self.work.begin(host, self.wait):
                self._draw_parts(host)
        except HostFailed as error:
            self.told.put(Warned(f"{host.address} is left out: {error}"))
        except Exception as error:  # a full disk here, or hosts that differ: no other host could mend it
            self.told.put(error)
            self.wait.ended.set()

    def _draw_parts(self, host: ComfyHost) -> None:
        while not self.wait.ended.is_set() and self.left:
            try:
                number = self.waiting.get(timeout=0.1)  # another host may still give its part back
            except Empty:
                continue
            try:
                if not self.work.draw(host, number, self.wait):
                    return
            except HostFailed:
                self.waiting.put(number)
                raise
            self.finished.add(number)
            self.told.put(self._progress())
            if not self.left:
                self.wait.ended.set()  # a server that is still busy with other work is not waited for
