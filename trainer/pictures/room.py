"""Memory for images that are opened side by side: how much each takes, and a queue for those that do not fit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..common.errors import UserError

MAX_PIXELS = 250_000_000
"""A file with more pixels counts as a decompression bomb. The largest phone photos have 200 million pixels."""
MAX_BYTES = 2_000_000_000
"""Most bytes that an image may take while it is opened, and that all images being opened at once take together."""
_HELD = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
"""Bytes that Pillow holds for a pixel of a mode; 4 for all others."""
_RESULT = 4
_WEBP = 13
"""Bytes a pixel that libwebp and Pillow's decoder hold besides the result (measured)."""


def bytes_to_open(size: tuple[int, int], mode: str, file_format: str) -> int:
    """Bytes at the peak of opening an image as RGB: what its decoder holds, and the result."""
    held = _WEBP if file_format == "WEBP" else _HELD.get(mode, 4)
    return size[0] * size[1] * (held + _RESULT)


def check_room(what: object, size: tuple[int, int], mode: str, file_format: str) -> int:
    """`bytes_to_open`. Raises UserError, which calls the image `what`, if that is more than is allowed."""
    width, height = size
    if width * height > MAX_PIXELS:
        raise UserError(f"{what} has {width} x {height} pixels; at most {MAX_PIXELS // 10**6} million are allowed. "
                        "Make it smaller.")
    needed = bytes_to_open(size, mode, file_format)
    if needed > MAX_BYTES:
        raise UserError(f"{what} is a {file_format} of {width} x {height} pixels, which takes {needed / 1e9:.1f} GB to "
                        f"open; at most {MAX_BYTES / 1e9:g} GB are allowed. Make it smaller.")
    return needed


class _Queue:
    """Lets threads in while what they take together fits; one that is alone always gets in."""

    def __init__(self, capacity: int) -> None:
        self._capacity, self._taken, self._changed = capacity, 0, threading.Condition()
        self._inside = threading.local()

    @contextmanager
    def room(self, needed: int) -> Iterator[None]:
        """Waits for `needed` bytes. A thread that has room already is not asked to wait for more."""
        if getattr(self._inside, "entered", False):
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + needed <= self._capacity)
            self._taken += needed
        self._inside.entered = True
        try:
            yield
        finally:
            self._inside.entered = False
            with self._changed:
                self._taken -= needed
                self._changed.notify_all()


_QUEUE = _Queue(MAX_BYTES)
room_for = _QUEUE.room
