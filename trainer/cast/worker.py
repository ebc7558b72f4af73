"""One worker: does a task at a time, and keeps the base model that it loaded last."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Event as Flag
from typing import Any

from ..bootstrap.candidates import Stopped
from ..common.errors import UserError
from .tasks import TASKS, Job

log = logging.getLogger(__name__)


class Worker:
    """An actor of Ray, or an object of this process. `stop` may be called from another thread while `run` runs."""

    def __init__(self, output: str, threads: int = 1) -> None:
        import torch

        torch.set_num_threads(threads)
        self._output, self._stopping = Path(output), Flag()
        self._base: tuple[str, str] | None = None
        self._backbone: Any = None

    def run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Do the task of these values of `Job.to_dict`. Returns fields of a `batch.TaskResult`, all but its time."""
        job = Job.from_dict(values)
        try:
            work = TASKS[job.kind](job, self._output, self._load(job.character.base), self._stopping.is_set)
            while True:
                try:
                    next(work)
                except StopIteration as end:
                    return {"facts": end.value}
        except Stopped:
            return {"stopped": True}
        except UserError as error:
            return {"problem": str(error), "mistake": True}
        except Exception as error:  # whatever a library raises for one character must not end the others
            log.warning("a task of %s failed", job.character.name, exc_info=True)
            self._base = self._backbone = None  # it may be in the middle of something
            return {"problem": f"{type(error).__name__}: {error}"}

    def stop(self) -> None:
        """End the task at its next step."""
        self._stopping.set()

    def pid(self) -> int:
        return os.getpid()

    def _load(self, base: tuple[str, str]) -> Any:
        if self._base != base:
            self._base = self._backbone = None  # two would not fit
            self._backbone = _load_quietly(*base)
            self._base = base
        return self._backbone


def _load_quietly(base: str, precision: str) -> Any:
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    from ..backends.diffusers import load_backbone

    return load_backbone(base, precision=precision)
