"""What a run may train, by the setting `method`: one row each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from ...models.backbone import Backbone
from ...proofs.proof import Proof
from ...proofs.same_text import Probe
from ..config import FULL, LORA, TrainConfig
from .adapter import AdapterTraining
from .network import NetworkTraining


class Handle(Protocol):
    """What is trained in one network."""

    @property
    def module_names(self) -> Sequence[str]:
        """The layers that it changes."""

    def disabled(self) -> AbstractContextManager[None]:
        """The network computes as the base while the block lasts."""


class Training(Protocol):
    """What a run trains, in the backbone's networks until `close`.

    It is made with (backbone, config, folder of the run, changed); `changed` is called when a step changes weights
    before its end, after which it cannot be undone.

    Attributes:
        handles: by the network's prefix in a LoRA file.
        parameters: all that is trained.
        notes: what the user should know of how it is held.
    """

    @property
    def handles(self) -> Mapping[str, Handle]: ...

    @property
    def parameters(self) -> Sequence[nn.Parameter]: ...

    @property
    def notes(self) -> Sequence[str]: ...

    def close(self) -> None:
        """Leave the networks as they were before. Safe to call twice."""

    def new_optimizer(self) -> Any:
        """An optimizer without a state, over all parameters."""

    def tensors(self) -> dict[str, Tensor]:
        """What is trained, not copied, by its name in the training state."""

    def expect(self, last: bool) -> None:
        """Call this before each backward pass; `last`: whether it is the last one of a step."""

    def clip(self) -> Tensor:
        """Clip the gradients as far as that is not done; returns their norm before that, on the device."""

    def limit(self) -> None:
        """Call this after each step: keeps what a layer adds within `optimizer.max_norm`."""

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write what was trained to one file, which Load LoRA loads."""

    def prove(self, path: Path, probe: Probe, predict: Callable[[], Tensor], release: Callable[[], None]) -> Proof:
        """Prove that a saved file does what was trained, which ends the training.

        Args:
            predict: the training's prediction for the probe.
            release: takes what is trained out of the networks.
        """


METHODS: Mapping[str, Callable[[Backbone, TrainConfig, Path, Callable[[], None]], Training]] = {
    LORA: AdapterTraining, FULL: NetworkTraining}
