"""When memory runs out in a step: the same step is taken again, with more of the blocks recomputed.

A step's images, noise and times depend on its number alone, and neither the LoRA nor the optimizer's state has changed
by then, so the run goes on as if nothing had happened.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from typing import TypeVar

import torch

from ..common.events import Event, Warned
from .backbone import Backbone

Made = TypeVar("Made")

SHARES = (0.5, 1.0)
"""Shares of the blocks that are tried one after another."""


class MemorySaver:
    """Takes the steps of a run."""

    def __init__(self, backbone: Backbone, allowed: bool, record: Callable[[float], None]) -> None:
        """
        Args:
            allowed: whether more blocks may be recomputed than at first.
            record: called with the share of the blocks that memory was found to need.
        """
        self._backbone, self._allowed, self._record = backbone, allowed, record

    def retried(self, step: int, take: Callable[[], Made], undo: Callable[[], bool]) -> Generator[Event, None, Made]:
        """What `take` returns, tried with more and more of the blocks recomputed.

        Args:
            step: counts from 1.
            undo: makes a step that was broken off as if it had never begun; false if that is too late.

        Raises whatever `take` raises: what is not about memory, and, with all blocks recomputed, what is.
        """
        while True:
            try:
                return take()
            except BaseException as error:
                more = next((share for share in SHARES if share > self._backbone.recompute), None)
                if more is None or not self._allowed or not is_out_of_memory(error):
                    raise
                if not undo():
                    self._record(more)  # or the next start would fail alike
                    raise
            # only here, where the error is gone, is the memory free again that its traceback held
            self._backbone.set_recompute(more)
            self._record(more)
            yield Warned(f"memory ran out at step {step}, so {describe_share(more)} computed again in the backward "
                         "pass from this step on, which takes less memory and more time. Nothing is lost.")


def describe_share(share: float) -> str:
    """The share of the blocks in words, with its verb: "half of the blocks are"."""
    known = {0.0: "no blocks are", 0.5: "half of the blocks are", 1.0: "all blocks are"}
    return known.get(share, f"{share:.0%} of the blocks are")


def release_memory() -> None:
    """Give back to the device what no tensor uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device's memory, or RAM, did not suffice."""
    kinds = (MemoryError, getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError))
    words = ("not enough memory", "out of memory", "alloc_failed")  # the last are cuBLAS's and cuDNN's
    return isinstance(error, kinds) or (isinstance(error, RuntimeError) and any(w in str(error).lower() for w in words))
