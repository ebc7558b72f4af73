"""How a command prints to people and to scripts, and how it loads a base model quietly."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TextIO

from ...training.parallel.launched import count_launched


@dataclass
class Console:
    """A command's output: text for people on stdout (stderr with --json), one JSON object for scripts on stdout."""

    as_json: bool
    stopping: bool = False
    rank: int = 0
    """Number of this process among those that a launcher started. Only the first one, 0, shows anything."""

    @property
    def stream(self):
        if self.rank:
            return self._nowhere
        return sys.stderr if self.as_json else sys.stdout

    @cached_property
    def _nowhere(self) -> TextIO:
        return open(os.devnull, "w")  # noqa: SIM115 (kept open)

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def complain(self, problem: object) -> None:
        """Show why the command ends, on stderr."""
        if not self.rank:
            print(f"lora-bootstrap: {problem}", file=sys.stderr)

    def asked_to_stop(self) -> bool:
        return self.stopping

    def follow(self, events: Iterable[Any], *subscribers: Callable[[Any], None]) -> Any:
        """Show events as they come; returns the last. The first Ctrl-C stops at the next step; no result is lost."""
        from .progress import ProgressBar
        from .tensorboard import watch

        # a launcher ends the other processes by SIGTERM when one has ended, and they can save what they have
        signals = (signal.SIGINT, signal.SIGTERM) if count_launched() > 1 else (signal.SIGINT,)
        last, progress = None, ProgressBar(self.stream)
        with ExitStack() as stack:
            stack.callback(progress.close)
            for subscriber in subscribers:
                if hasattr(subscriber, "close"):
                    stack.callback(subscriber.close)
            for number in signals:
                stack.callback(signal.signal, number, signal.signal(number, self._on_interrupt))
            for event in watch(events, progress, *subscribers):
                last = event
        return last

    def count(self, what: str, work: Callable[..., Any], *values: Any) -> Any:
        """Run `work(*values, progress=)`, which calls `progress(done, total)`, and show how far it is.

        Returns what the work returns. Ctrl-C ends it at once.
        """
        from ...common.events import Progress
        from .progress import ProgressBar

        with closing(ProgressBar(self.stream)) as progress:
            return work(*values, progress=lambda done, total: progress(Progress(what, done, total)))

    def _on_interrupt(self, *_: Any) -> None:
        if self.stopping:
            raise KeyboardInterrupt
        self.stopping = True
        self.say("\nStopping after this step; all results so far are saved. Press Ctrl-C again to stop at once.")


def load_backbone_quietly(base: str, precision: str = "auto") -> Any:
    """The base model, loaded without the libraries' own progress bars; `precision` as in `load_backbone`."""
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    from ...backends.diffusers import load_backbone

    return load_backbone(base, precision=precision)
