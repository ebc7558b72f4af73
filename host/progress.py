"""A training's events in ComfyUI: its progress bar and Cancel, the text in the node, and every open tab."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
from PIL import Image
from server import PromptServer

from ..trainer.cli.terminal.progress import clock
from ..trainer.common.events import Event, Warned
from ..trainer.pictures.curves import Smoother
from ..trainer.pictures.images import open_image
from ..trainer.proofs.proof import COVERAGE, proof_rows
from ..trainer.training.events import (
    Caching,
    CheckpointSaved,
    Finished,
    Previewed,
    Proved,
    RunStarted,
    StepDone,
    Validated,
)
from ..trainer.training.runs import read_losses
from .events import INTERVAL, PROGRESS
from .paths import view_place
from .shown_text import has_panels, show_beside_panel
from .trainings import Training

PREVIEW_SIDE = 512
SHOWN_NOTES = 3
"""The latest notes, which stand in the node below the settings."""
MEASURED_STEPS = 2

log = logging.getLogger(__name__)


class Reporter:
    """Call it with every event of a training. Raises ComfyUI's own interruption if Cancel was pressed."""

    def __init__(self, training: Training, memory: Callable[[], int | None] = lambda: None) -> None:
        self.training, self.memory = training, memory
        self.notes: list[str] = []
        self.headline = ""
        """The settings of the training; shown in the node below the line that changes."""
        self.forecast = ""
        """What a step is expected to take in memory; shown below the settings, with what the second step took."""
        self.peak: Callable[[], int | None] = lambda: None
        """Bytes at the worst moment since it was last called; None where that is not known."""
        self._measured: int | None = None
        self._to_measure = MEASURED_STEPS
        self._bar: Any = None
        self._smoother = Smoother(1)
        self._loss: float | None = None
        self._smoothed: float | None = None
        self._rate: float | None = None
        self._validation: list[float] | None = None
        self._sample: dict[str, Any] | None = None
        self._told_at = 0.0
        self._tell: dict[type[Event], Callable[[Any], None]] = {
            RunStarted: self._started, Caching: self._caching, StepDone: self._step, Validated: self._validated,
            Previewed: self._previewed, CheckpointSaved: self._saved, Warned: self._warned, Finished: self._finished,
            Proved: self._proved,
        }

    def __call__(self, event: Event) -> None:
        # The bar checks for Cancel only when it redraws, which may be once in many steps.
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._tell[type(event)](event)

    def preparing(self, message: str) -> None:
        """Report what is being done before the first step."""
        changed = self.training.status != "preparing"
        self.training.status, self.training.message = "preparing", message
        self._send(now=changed)
        self._show(message)

    def ended(self, status: str, message: str = "") -> None:
        """The training is over: finished, stopped, cancelled, or failed."""
        self.training.status, self.training.message = status, message
        self._send(now=True)
        self._show(message or self._line())

    # -- events ----------------------------------------------------------------------------------------------------

    def _started(self, event: RunStarted) -> None:
        training = self.training
        training.folder, training.steps, training.step = event.folder.name, event.steps, event.first_step
        self._smoother = Smoother(event.steps)
        self._smoother.smooth(read_losses(event.folder))
        self._bar = comfy.utils.ProgressBar(event.steps, node_id=training.node_id)
        self._bar.update_absolute(event.first_step, event.steps)
        resumed = f", continuing from step {event.first_step}" if event.first_step else ""
        training.message = (f"{event.samples} images, {event.adapted_modules} layers, {event.trained_parameters:,} "
                            f"parameters{resumed}")
        log.info("LoRA Bootstrap: run %s: %s; %s", training.run, self.headline, training.message)
        self._send(now=True)
        self._show(training.message)

    def _caching(self, event: Caching) -> None:
        self.training.message = f"caching {event.what} {event.done}/{event.total}"
        if self._due():
            self._send()
            self._show(self.training.message)

    def _proved(self, event: Proved) -> None:
        training, proof = self.training, event.proof
        training.proofs = (*(other for other in training.proofs if other.name != proof.name), proof)
        if proof.name == COVERAGE and proof.passed:
            self.headline = f"{self.headline} · {proof.words}"
        (log.info if proof.passed else log.error)("LoRA Bootstrap: %s: %s", proof.name, proof.words)
        self._send(now=True)

    def _step(self, event: StepDone) -> None:
        training, started = self.training, self.training.status != "training"
        training.status, training.message = "training", self.headline
        training.step_done(event.step)
        self._loss, self._smoothed, self._rate = event.loss, self._smoother.add(event.loss), event.learning_rate
        self._bar.update_absolute(event.step, training.steps)
        if self._to_measure:  # before the first step ended, images were encoded and perhaps drawn, and the model loaded
            self._to_measure -= 1
            peak = self.peak()
            self._measured = None if self._to_measure else peak
        if started or self._due():
            training.memory = self.memory()
            self._send(now=started)
            self._show(self._line())

    def _validated(self, event: Validated) -> None:
        if self._validation is not None:  # one that no tab has received yet
            self._send(now=True)
        self._validation = [event.step, event.loss, event.ratio]

    def _previewed(self, event: Previewed) -> None:
        for path in event.paths:
            if self._sample is not None:
                self._send(now=True)
            self._sample = {"step": event.step, **view_place(path)}
        if event.paths:
            preview = None if has_panels() else ("JPEG", _side_by_side(event.paths), PREVIEW_SIDE)
            self._bar.update_absolute(event.step, self.training.steps, preview)

    def _saved(self, event: CheckpointSaved) -> None:
        log.info("LoRA Bootstrap: saved %s", event.path)

    def _warned(self, event: Warned) -> None:
        self.notes.append(event.message)
        log.warning("LoRA Bootstrap: %s", event.message)

    def _finished(self, event: Finished) -> None:
        training = self.training
        training.folder, training.step = event.path.parent.name, event.step
        training.steps = training.steps or event.step
        if event.reused:
            self.ended("finished", f"the same run already exists, {event.step} steps: {event.path.name}")
        elif event.stopped:
            self.ended("stopped", f"stopped at step {event.step} of {training.steps}; saved {event.path.name}")
        else:
            self.ended("finished", f"finished, {event.step} steps: {event.path.name}" + "".join(
                f" · ✗ {proof.words}" for proof in training.proofs if not proof.passed))

    # -- sending ---------------------------------------------------------------------------------------------------

    def _due(self) -> bool:
        return time.monotonic() - self._told_at >= INTERVAL

    def _show(self, line: str) -> None:
        lines = dict.fromkeys(filter(None, (line, self.headline, *self._all_notes())))
        show_beside_panel("\n".join(lines), self.training.node_id)

    def _all_notes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(filter(None, (self._memory_line(), *self.notes[-SHOWN_NOTES:]))))

    def _memory_line(self) -> str:
        measured = "" if self._measured is None else f"measured: {self._measured / 2**30:.1f} GiB at the peak of a step"
        return " · ".join(filter(None, (self.forecast, measured)))

    def _line(self) -> str:
        training = self.training
        parts = [f"step {training.step}/{training.steps}"]
        if self._smoothed is not None:
            parts.append(f"loss {self._smoothed:.4f}")
        if training.seconds_left is not None:
            parts.append(f"{clock(training.seconds_left)} left")
        if training.memory:
            parts.append(f"{training.memory / 2**30:.1f} GB")
        return " · ".join(parts)

    def _send(self, now: bool = False) -> None:
        if not (now or self._due()):
            return
        training, self._told_at = self.training, time.monotonic()
        training.notes = self._all_notes()
        PromptServer.instance.send_sync(PROGRESS, {
            "name": training.name, "run": training.run, "node_id": training.node_id, "status": training.status,
            "message": training.message, "step": training.step, "steps": training.steps,
            "seconds_left": training.seconds_left, "seconds_per_step": training.seconds_per_step,
            "memory": training.memory, "loss": self._loss, "smoothed": self._smoothed, "learning_rate": self._rate,
            "validation": self._validation, "sample": self._sample, "proofs": proof_rows(training.proofs),
            "notes": list(training.notes),
        })
        self._validation = self._sample = None


def _side_by_side(paths: tuple[Path, ...]) -> Image.Image:
    """Up to four previews in one image, because the node has room for only one."""
    pictures = [open_image(path) for path in paths[:4]]
    joined = Image.new("RGB", (sum(picture.width for picture in pictures), max(p.height for p in pictures)), "white")
    left = 0
    for picture in pictures:
        joined.paste(picture, (left, 0))
        left += picture.width
    return joined
