"""The events of a training run, beside those that all work shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..common.events import Event
from ..proofs.proof import Proof


@dataclass(frozen=True)
class RunStarted(Event):
    folder: Path
    steps: int
    first_step: int
    """0, or the step that a resumed run continues from."""
    samples: int
    validation_samples: int
    adapted_modules: int
    trained_parameters: int
    covered: int = 0
    """Linear layers in the denoiser's blocks that get a LoRA,"""
    coverable: int = 0
    """of so many."""


@dataclass(frozen=True)
class Caching(Event):
    """Latents and text embeddings are being made before the first step."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Proved(Event):
    """The run has proved something about itself, or failed to; run.json holds it too."""

    proof: Proof


@dataclass(frozen=True)
class StepDone(Event):
    step: int
    """Counts from 1."""
    epoch: int
    loss: float
    learning_rate: float
    grad_norm: float
    seconds: float
    image_losses: tuple[float, ...] = ()
    """The loss of each image in the step's batches, in their order."""


@dataclass(frozen=True)
class Validated(Event):
    step: int
    loss: float
    base_loss: float
    """The base model's own loss on the same images, noise, and times."""
    ratio: float
    """Mean over the times of loss / base loss. Below 1: better than the base; rising again: overfitting."""


@dataclass(frozen=True)
class Previewed(Event):
    step: int
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class CheckpointSaved(Event):
    step: int
    path: Path


@dataclass(frozen=True)
class Finished(Event):
    step: int
    path: Path
    stopped: bool
    """True: the run was stopped before its last step; what was trained is saved."""
    reused: bool = False
    """True: an identical finished run was found; nothing was trained."""
