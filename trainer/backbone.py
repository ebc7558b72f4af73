"""The contract between the training loop and a model: any denoiser behind a few verbs.

`pipeline.py` implements it over diffusers, `host.py` over ComfyUI. The loop asks for no model's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .families import Family
from .objectives import NoiseSchedule


@dataclass(frozen=True)
class Conditioning:
    """What a network hears besides the noisy latents: named tensors, row i belonging to caption i."""

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def rows(self, indices: Sequence[int]) -> Conditioning:
        return Conditioning({name: tensor[list(indices)] for name, tensor in self.tensors.items()})

    def to(self, device: torch.device | str) -> Conditioning:
        return Conditioning({name: tensor.to(device) for name, tensor in self.tensors.items()})

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """Stack rows. Raises ValueError if the parts' tensors differ in name or in row shape."""
        names = parts[0].tensors.keys()
        if any(part.tensors.keys() != names for part in parts):
            raise ValueError(f"conditionings name different tensors: {[sorted(p.tensors) for p in parts]}")
        return Conditioning({name: torch.cat([part.tensors[name] for part in parts]) for name in names})


@runtime_checkable
class Backbone(Protocol):
    """A latent text-to-image model that can be trained.

    Attributes:
        network: the denoiser that adapters go into.
        network_prefix: what its modules are called under in a LoRA file ("unet", "diffusion_model").
        text_network: the text encoders as a ModuleDict keyed by their prefixes in a LoRA file, or None if they
            cannot be trained here.
        family: facts about the model's family.
        schedule: how noise is mixed in; times t are in [0, 1], 0 clean and 1 pure noise.
        device: where the network computes.
        fingerprint: a hash of the weights, by which caches and runs know the base.
    """

    network: nn.Module
    network_prefix: str
    text_network: nn.ModuleDict | None
    family: Family
    schedule: NoiseSchedule
    device: torch.device

    @property
    def fingerprint(self) -> str: ...

    def training(self, gradient_checkpointing: bool) -> AbstractContextManager[None]:
        """The state the model must be in while it is trained; leaving restores what was found."""

    def encode_images(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in 0..1 → latents in the model's own scale, [B, C, ...] float32. Deterministic."""

    def encode_text(self, captions: Sequence[str]) -> Conditioning:
        """One row per caption. With gradients if the text network has trainable parameters and grad is on."""

    def noised(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network is given at times t [B]."""

    def predict(self, noisy: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's raw prediction (noise, velocity, or flow, as the family's objective says)."""

    def decode(self, latents: Tensor) -> Tensor:
        """Latents → pixels [B, 3, H, W] in 0..1."""

    def generate(self, prompts: Sequence[str], *, seeds: Sequence[int], width: int, height: int,
                 steps: int, cfg: float, negative: str = "") -> Tensor:
        """Pictures [B, 3, height, width] in 0..1 with the network as it stands, for previews and sweeps.

        Row i depends on prompts[i] and seeds[i] alone, not on the rest of the batch (up to rounding).
        """

    def token_count(self, caption: str) -> tuple[int, int]:
        """(tokens of the caption, tokens the model hears), both without start and end marks."""
