"""A fine-tune's saved difference, applied to the network that it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ...common.errors import UserError
from ...lora.difference import load_difference
from ...models.own_weights import check_trainable


class NetworkDifference:
    """A difference on a network; both `backbone.AppliedLora` and `backbone.LoadedLora`.

    Attributes:
        unmatched: keys of the file that are not in the network.
    """

    def __init__(self, weights: Mapping[nn.Parameter, Tensor], unmatched: tuple[str, ...]) -> None:
        """`weights`: what the file adds to each parameter."""
        self._differences, self.unmatched = dict(weights), unmatched
        self._before = {parameter: parameter.data for parameter in weights}

    @property
    def layers(self) -> int:
        return len(self._differences)

    @classmethod
    @contextmanager
    def applied(cls, network: nn.Module, prefix: str, key_style: str, path: str | Path
                ) -> Iterator[NetworkDifference]:
        """The file on the network, without effect until a strength is set. After the block the network has the very
        weights that it had.

        Raises UserError if the file is damaged, or made from a network of other shapes.
        """
        named = {f"{prefix}.{name}": parameter for name, parameter in network.named_parameters()}
        found, unmatched = load_difference(path, named, key_style)
        for name, difference in found.items():
            check_trainable(name, named[name])
            if difference.shape != named[name].shape:
                raise UserError(f"{path} has {name} in shape {list(difference.shape)}, but this model's is "
                                f"{list(named[name].shape)}: it was fine-tuned from another model. Load that one.")
        applied = cls({named[name]: difference for name, difference in found.items()}, unmatched)
        try:
            yield applied
        finally:
            applied._give_back()

    def set_strength(self, strength: float) -> None:
        """Multiply what the file adds: 1 as trained, 0 nothing, negative the opposite."""
        for parameter, difference in self._differences.items():
            before = self._before[parameter]
            added = strength * difference.to(before.device, torch.float32)
            parameter.data = (before.float() + added).to(before.dtype)

    def _give_back(self) -> None:
        for parameter, before in self._before.items():
            parameter.data = before
