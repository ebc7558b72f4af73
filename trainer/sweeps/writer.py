"""Writes the cells of a sweep beside the drawing of the next ones, in one thread: an image's PNG takes a tenth of a
second and more, in which a GPU would wait."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from PIL import Image

from ..common.errors import UserError
from .cells import NO_TEXTS, Cell, Sweep

MOST_WAITING = 4
"""Cells that wait to be written; then the drawing waits. Only these are lost if the process is killed."""

log = logging.getLogger(__name__)


class CellWriter:
    """A context manager. At its end, whatever the reason, all cells that were given to it are on disk.

    What the system refuses, such as a full disk, is raised as a UserError by the next call, or at the end.
    """

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._thread = ThreadPoolExecutor(1, "sweep")
        self._pending: deque[tuple[Cell, Future[Any]]] = deque()
        self._written: list[Cell] = []

    def __enter__(self) -> CellWriter:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: Any) -> None:
        self._thread.shutdown(wait=True)
        if error is None:
            self.flush()

    def save(self, cell: Cell, image: Image.Image, texts: Mapping[str, str] | None = NO_TEXTS,
             more: Sequence[Image.Image] = ()) -> None:
        """Write a cell, as `Sweep.save` does."""
        self._add(cell, self._write, cell, image, texts, more)

    def fail(self, cell: Cell, why: str) -> None:
        """Mark a cell that could not be made."""
        self._add(cell, self.sweep.fail, cell, why)

    def written(self) -> list[Cell]:
        """The cells that were written or marked since the last call, in order."""
        while self._pending and self._pending[0][1].done():
            self._wait_for_first()
        cells, self._written = self._written, []
        return cells

    def flush(self) -> None:
        """Wait until every cell is written."""
        while self._pending:
            self._wait_for_first()

    def _add(self, cell: Cell, work: Callable[..., Any], *values: Any) -> None:
        while self._pending and (len(self._pending) >= MOST_WAITING or self._pending[0][1].done()):
            self._wait_for_first()
        self._pending.append((cell, self._thread.submit(work, *values)))

    def _wait_for_first(self) -> None:
        cell, future = self._pending.popleft()
        future.result()
        self._written.append(cell)

    def _write(self, cell: Cell, image: Image.Image, texts: Mapping[str, str] | None,
               more: Sequence[Image.Image]) -> None:
        try:
            self.sweep.save(cell, image, texts, more)
        except UserError:
            raise
        except Exception as error:  # an image that cannot be written must not lose the others
            log.warning("a cell of %s was not written", self.sweep.folder.name, exc_info=error)
            self.sweep.fail(cell, f"{type(error).__name__}: {error}")
