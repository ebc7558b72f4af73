"""When memory runs out in a step: the same step is taken again, with more of the blocks recomputed, or, in a
fine-tune, held in RAM.

A step's images, noise and times depend on its number alone, and neither the LoRA nor the optimizer's state has changed
by then, so the run goes on as if nothing had happened.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

import torch

from ..common.events import Event, Warned
from .backbone import Backbone

Made = TypeVar("Made")

SHARES = (0.5, 1.0)
"""Shares of the blocks that are recomputed, and then held in RAM, tried one after another."""


@dataclass(frozen=True)
class _Saving:
    """A way to take less memory.

    Attributes:
        apply, record: called with the share of the blocks, the second to save that it was needed.
        words: what is done to blocks.
    """

    share: float
    apply: Callable[[float], None]
    record: Callable[[float], None]
    words: str


class MemorySaver:
    """Takes the steps of a run."""

    def __init__(self, backbone: Backbone, allowed: bool, record_recomputed: Callable[[float], None],
                 record_offloaded: Callable[[float], None]) -> None:
        """
        Args:
            allowed: whether more blocks may be recomputed, or in RAM, than at first.
            record_recomputed, record_offloaded: called with the share of the blocks that memory was found to need.
        """
        self._backbone, self._allowed = backbone, allowed
        self._records = record_recomputed, record_offloaded

    def _next(self) -> _Saving | None:
        """What saves memory at the least cost, and is not done yet: recomputing, then holding blocks in RAM."""
        backbone, (recomputed, offloaded) = self._backbone, self._records
        ways = ((backbone.recompute, backbone.set_recompute, recomputed,
                 "computed again in the backward pass from this step on"),
                (backbone.offload, backbone.set_offload, offloaded, "held in RAM from this step on"))
        return next((_Saving(share, apply, record, words) for now, apply, record, words in ways for share in SHARES
                     if share > now), None)

    def retried(self, step: int, take: Callable[[], Made], undo: Callable[[], bool]) -> Generator[Event, None, Made]:
        """What `take` returns, tried with more and more of the blocks recomputed or in RAM.

        Args:
            step: counts from 1.
            undo: makes a step that was broken off as if it had never begun; false if that is too late.

        Raises whatever `take` raises: what is not about memory, and, where nothing more can be saved, what is.
        """
        while True:
            try:
                return take()
            except BaseException as error:
                more = self._next() if self._allowed and is_out_of_memory(error) else None
                if more is None:
                    raise
                if not undo():
                    more.record(more.share)  # or the next start would fail alike
                    raise
            # only here, where the error is gone, is the memory free again that its traceback held
            more.apply(more.share)
            more.record(more.share)
            yield Warned(f"memory ran out at step {step}, so {describe_share(more.share)} {more.words}, which takes "
                         "less memory and more time. Nothing is lost.")


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
