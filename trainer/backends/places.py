"""Which parts of a pipeline are on the card: those that are at work.

Latents and captions are cached before the network is needed, and once they are, the text encoders and the VAE would
only take room from the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

CPU = torch.device("cpu")
NETWORK = "network"


class Places:
    """The parts of a pipeline by name.

    Weights of the network that are packed, or held in RAM, never move with it.

    Attributes:
        home: the card; on the CPU nothing ever moves.
    """

    def __init__(self, parts: Mapping[str, nn.Module], home: torch.device, in_ram: bool = False) -> None:
        """`in_ram`: whether all parts are in RAM now; else they are on the card."""
        self._parts, self.home = dict(parts), home
        self._away = set(self._parts) if in_ram and home != CPU else set()

    def is_away(self, name: str) -> bool:
        """Whether the part is in RAM, to be moved to the card when it is needed."""
        return name in self._away

    def bring(self, *names: str) -> None:
        """Move these parts to the card; without names, all."""
        for name in sorted(self._away & set(names or self._parts)):
            _move(self._parts[name], self.home)
            self._away.remove(name)

    def rest(self, *names: str) -> None:
        """Move these parts into RAM."""
        for name in sorted(set(names) - self._away if self.home != CPU else ()):
            _move(self._parts[name], CPU)
            self._away.add(name)

    def rest_untrained(self) -> None:
        """Move all but the network into RAM, and but for what is being trained."""
        self.rest(*(name for name, part in self._parts.items() if name not in self._away and name != NETWORK
                    and not any(parameter.requires_grad for parameter in part.parameters())))


def _move(part: nn.Module, device: torch.device) -> None:
    """Move what is frozen in it: a LoRA stays with its optimizer's state."""
    for tensor in _frozen(part):
        tensor.data = tensor.data.to(device)


def _frozen(part: nn.Module) -> Iterator[Tensor]:
    for tensor in (*part.parameters(), *part.buffers()):
        if not tensor.requires_grad and tensor.untyped_storage().nbytes() >= tensor.nbytes:  # else its weight is held
            yield tensor
