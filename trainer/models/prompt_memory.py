"""What the text encoders made of the prompts that were drawn last, so that previews do not encode theirs each time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Encoded = TypeVar("Encoded")
MOST = 16
"""Calls whose prompts are remembered."""


class PromptMemory(Generic[Encoded]):
    """The last results by all that decides them: prompts, control images, and what is on the text encoders."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._results: OrderedDict[Hashable, Encoded] = OrderedDict()

    def recall(self, key: Hashable, encode: Callable[[], Encoded]) -> Encoded:
        """The result of that key; `encode` is called only if it is not remembered."""
        if key not in self._results:
            self._results[key] = encode()
        self._results.move_to_end(key)
        while len(self._results) > self._most:
            self._results.popitem(last=False)
        return self._results[key]
