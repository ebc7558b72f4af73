"""Subscribers to training events, beside the progress display. The loop itself writes metrics.jsonl."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ...common.errors import UserError
from ...common.events import Event
from ...training.events import RunStarted, StepDone, Validated


class TensorBoardWriter:
    """Writes losses, learning rate and gradient norm to a TensorBoard log beside each run.

    Raises UserError if the tensorboard library is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("--tensorboard needs the tensorboard library; install it with "
                            "`pip install tensorboard`, or leave the option out: metrics.jsonl has the same figures."
                            ) from error
        self._make: Callable[..., Any] = SummaryWriter
        self._writer: Any = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.close()
            # what a killed run logged after its last saved state is overwritten by the resumed one
            self._writer = self._make(Path(event.folder) / "tensorboard", purge_step=event.first_step + 1)
        elif isinstance(event, StepDone):
            for name in ("loss", "learning_rate", "grad_norm"):
                self._writer.add_scalar(f"train/{name}", getattr(event, name), event.step)
        elif isinstance(event, Validated):
            self._writer.add_scalar("validation/loss", event.loss, event.step)
            self._writer.add_scalar("validation/ratio_to_base", event.ratio, event.step)

    def close(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None


def watch(events: Iterable[Event], *subscribers: Callable[[Event], None]) -> Iterator[Event]:
    """Pass events on after every subscriber has seen them."""
    for event in events:
        for subscriber in subscribers:
            subscriber(event)
        yield event
