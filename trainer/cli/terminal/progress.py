"""Progress on a terminal (bars that redraw) or in a log (plain lines), as a subscriber to events."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any, TextIO

from ...bootstrap.events import StageFinished, StageStarted
from ...common.events import Event, Interrupted, Progress, Warned
from ...training.events import Caching, CheckpointSaved, Finished, Previewed, Proved, RunStarted, StepDone, Validated

BAR = 24
PLAIN_PARTS = 5
"""Lines per run in a log: one after each fifth of the steps."""


class ProgressBar:
    """Shows every event it is called with. `close` ends the line of an unfinished bar."""

    def __init__(self, stream: TextIO, terminal: bool | None = None) -> None:
        self.stream = stream
        self.terminal = stream.isatty() if terminal is None else terminal
        self._open_bar = False
        self._steps = self._first = 0
        self._loss: float | None = None
        self._started = 0.0
        self._tell: dict[type[Event], Callable[[Any], None]] = {
            StageStarted: self._stage_started, StageFinished: self._stage_finished, RunStarted: self._run_started,
            Caching: self._caching, StepDone: self._step, Validated: self._validated, Progress: self._progress,
            CheckpointSaved: self._saved, Previewed: self._previewed, Warned: self._warned, Finished: self._finished,
            Interrupted: self._interrupted, Proved: self._proved,
        }

    def __call__(self, event: Event) -> None:
        tell = self._tell.get(type(event))
        if tell:
            tell(event)

    def close(self) -> None:
        if self._open_bar:
            self.stream.write("\n")
            self._open_bar = False
        self.stream.flush()

    def line(self, text: str) -> None:
        """Print a line of its own; an open bar is erased first."""
        if self._open_bar:
            self.stream.write("\r\x1b[K")
            self._open_bar = False
        self.stream.write(text + "\n")
        self.stream.flush()

    def _bar(self, label: str, done: int, total: int, rest: str = "") -> None:
        if self.terminal:
            filled = round(BAR * done / max(1, total))
            text = f"    {label} {'█' * filled}{'░' * (BAR - filled)} {done}/{total} {rest}"
            self.stream.write("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1])
            self.stream.flush()
            self._open_bar = True
        elif done == total or done % max(1, total // PLAIN_PARTS) == 0:
            self.line(f"    {label} {done}/{total} {rest}".rstrip())

    def _stage_started(self, event: StageStarted) -> None:
        self.line(f"[{event.number}/{event.total}] {event.title}")

    def _stage_finished(self, event: StageFinished) -> None:
        how = "already there" if event.reused else clock(event.seconds)
        self.line(f"    {event.summary} ({how})")

    def _run_started(self, event: RunStarted) -> None:
        self._steps, self._first, self._loss, self._started = event.steps, event.first_step, None, time.monotonic()
        resumed = f", continuing from step {event.first_step}" if event.first_step else ""
        self.line(f"    {event.samples} images, {event.adapted_modules} layers, "
                  f"{event.trained_parameters:,} parameters{resumed}")

    def _caching(self, event: Caching) -> None:
        if self.terminal:
            self._bar(f"caching {event.what}", event.done, event.total)

    def _step(self, event: StepDone) -> None:
        self._loss = event.loss if self._loss is None else 0.95 * self._loss + 0.05 * event.loss
        left = (time.monotonic() - self._started) / max(1, event.step - self._first) * (self._steps - event.step)
        self._bar("step", event.step, self._steps, f"loss {self._loss:.4f} · {clock(left)} left")

    def _validated(self, event: Validated) -> None:
        self.line(f"    step {event.step}: validation loss {event.loss:.4f}, {event.ratio:.2f} of the base's")

    def _progress(self, event: Progress) -> None:
        self._bar(event.what, event.done, event.total)

    def _saved(self, event: CheckpointSaved) -> None:
        if event.step < self._steps:
            self.line(f"    saved {event.path.name}")

    def _previewed(self, event: Previewed) -> None:
        self.line(f"    previews in {event.paths[0].parent}" if event.paths else "    no previews")

    def _warned(self, event: Warned) -> None:
        self.line(f"    note: {event.message}")

    def _proved(self, event: Proved) -> None:
        self.line(f"    {'proved' if event.proof.passed else 'NOT PROVED'}, {event.proof.name}: {event.proof.words}")

    def _finished(self, event: Finished) -> None:
        if event.stopped:
            self.line(f"    stopped at step {event.step}; saved {event.path.name}")

    def _interrupted(self, event: Interrupted) -> None:
        self.line(f"Stopped in stage {event.stage}. All results so far are saved; run the same command to continue.")


def clock(seconds: float) -> str:
    """1:05 for 65 seconds; 1:01:05 from an hour on; 4.2 s below ten seconds."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
