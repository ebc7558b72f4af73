"""The contract between the training loop and a model: any denoiser behind a few methods.

`trainer/backends/diffusers.py` implements it over diffusers, `host/backbone/model.py` over ComfyUI. The loop never asks
for a model's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .blocks_in_ram import BlocksInRam
from .families import Family
from .noise import NoiseSchedule
from .own_weights import Keep

Rows = Tensor | tuple[Tensor | None, ...]
"""One tensor [B, ...], or B tensors [1, ...] if the rows' shapes differ (captions of different lengths); None for a row
that has no tensor of this name (a caption that needs no mask)."""


AT_ONCE = 8
"""Number of latents that `predict_for` gives to the network at once."""


@dataclass(frozen=True)
class Conditioning:
    """What a network is conditioned on besides the noisy latents: named tensors; row i belongs to caption i."""

    tensors: Mapping[str, Rows]

    def __len__(self) -> int:
        return len(next(iter(self.tensors.values())))

    def rows(self, indices: Sequence[int]) -> Conditioning:
        return Conditioning({name: _joined([tensor[i : i + 1] for i in indices])
                             for name, tensor in self.tensors.items()})

    def row(self, index: int) -> dict[str, Tensor]:
        """The tensors [1, ...] of one caption."""
        rows = {name: tensor[index : index + 1] if isinstance(tensor, Tensor) else tensor[index]
                for name, tensor in self.tensors.items()}
        return {name: tensor for name, tensor in rows.items() if tensor is not None}

    def to(self, device: torch.device | str) -> Conditioning:
        return self._each(lambda tensor: tensor.to(device))

    def detach(self) -> Conditioning:
        return self._each(Tensor.detach)

    def as_leaves(self) -> Conditioning:
        """The same values without what made them: what had gradients begins a graph of its own."""
        return self._each(lambda tensor: tensor.detach().requires_grad_(tensor.requires_grad))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Conditioning:
        return Conditioning({
            name: change(tensor) if isinstance(tensor, Tensor)
            else tuple(None if row is None else change(row) for row in tensor)
            for name, tensor in self.tensors.items()})

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """Join rows. A part without a tensor that others have has None for it in its rows."""
        names = dict.fromkeys(name for part in parts for name in part.tensors)
        return Conditioning({name: _joined([part.tensors.get(name, (None,) * len(part)) for part in parts])
                             for name in names})


def _joined(parts: Sequence[Rows]) -> Rows:
    """Rows one after another, in one tensor if their shapes allow it."""
    rows = [row for part in parts for row in (part.split(1) if isinstance(part, Tensor) else part)]
    tensors = [row for row in rows if row is not None]
    if len(tensors) < len(rows) or any(row.shape != tensors[0].shape for row in tensors):
        return tuple(rows)
    return torch.cat(tensors)


@dataclass(frozen=True)
class Controls:
    """Images that an edit model is given beside captions.

    Attributes:
        form: how the model is given them, a key of `edit_forms.EDIT_FORMS`.
        rows: those of each caption, each [3, H, W] in 0..1, of any size; empty for a caption without any.
    """

    form: str
    rows: Sequence[Sequence[Tensor]]

    @property
    def digest(self) -> str:
        """A hash of all of it."""
        shapes = [[tuple(image.shape) for image in row] for row in self.rows]
        hasher = hashlib.sha256(repr((self.form, shapes)).encode())
        for row in self.rows:
            for image in row:
                hasher.update(image.contiguous().cpu().numpy().data)
        return hasher.hexdigest()


class AppliedLora(Protocol):
    """A LoRA on a backbone's networks, as `Backbone.lora` yields it.

    Attributes:
        unmatched: names of the LoRA's modules that the model does not have.
    """

    @property
    def unmatched(self) -> Sequence[str]: ...

    def set_strength(self, strength: float) -> None:
        """Multiply what the LoRA adds: 1 as trained, 0 nothing, negative the opposite."""


class LoadedLora(Protocol):
    """A LoRA file that the sampling path's own loader has applied, as `Backbone.sampling_lora` yields it.

    Attributes:
        layers: number of the model's layers that the loader changes by it.
        unmatched: what it found in the file but not in the model.
    """

    @property
    def layers(self) -> int: ...

    @property
    def unmatched(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class NetworkInputs:
    """What a network is conditioned on for one caption, to be compared by name.

    Attributes:
        encoded: what the text encoders make of the caption.
        given: what the network itself receives, beside the latents and the time.
    """

    encoded: Mapping[str, Tensor]
    given: Mapping[str, Tensor]


@dataclass(frozen=True)
class OwnWeights:
    """A network that trains weights of its own.

    Attributes:
        before: the weights that it had, by name.
        blocks: those of its weights that are in RAM.
    """

    before: Mapping[str, Tensor]
    blocks: BlocksInRam


@runtime_checkable
class Backbone(Protocol):
    """A latent text-to-image model that can be trained.

    Attributes:
        network: the denoiser that adapters go into.
        network_prefix: the prefix of its modules in a LoRA file ("unet", "diffusion_model").
        key_style: how its LoRA files name them, a key of `lora.names.KEY_STYLES`.
        text_network: the text encoders as a ModuleDict keyed by their prefixes in a LoRA file, or None if they
            cannot be trained here.
        family: facts about the model's family.
        schedule: how noise is mixed in; times t are in [0, 1], 0 clean and 1 pure noise.
        device, text_device: where the network and the text encoders compute.
        half_precision: "bf16", or "fp16" where the device has no bfloat16.
        fingerprint: a hash of the weights, by which caches and runs recognize the base.
        encoding: what else decides, if only in its last bits, what the VAE and the text encoders make: the versions of
            the host and its libraries, their dtypes and devices. It counts in the keys of caches, not in those of runs.
        recompute: share of the network's blocks that are computed again in the backward pass; see `training`.
        offload: share of the blocks that are in RAM while the network trains weights of its own; 1 where no more of
            them can be.
        frees_base: whether the memory of the weights of before can be freed while the network trains its own.
    """

    network_prefix: str
    key_style: str
    family: Family

    @property
    def network(self) -> nn.Module: ...

    @property
    def text_network(self) -> nn.ModuleDict | None: ...

    @property
    def schedule(self) -> NoiseSchedule: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def text_device(self) -> torch.device: ...

    @property
    def half_precision(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def encoding(self) -> Mapping[str, str]: ...

    @property
    def recompute(self) -> float: ...

    @property
    def offload(self) -> float: ...

    @property
    def frees_base(self) -> bool: ...

    def training(self, recompute: float = 0.0, offload: float = 0.0) -> AbstractContextManager[None]:
        """Puts the model into the state that training needs; leaving restores the state before.

        Args:
            recompute: share (0 to 1) of the network's blocks to compute again in the backward pass.
            offload: share of its blocks whose weights are in RAM and are copied to the device at each use. A host that
                does so by itself ignores it.
        """

    def set_recompute(self, share: float) -> None:
        """In training: set the share of blocks to compute again from the next step on. Also gives back to the device
        whatever memory nothing uses any more."""

    def set_offload(self, share: float) -> None:
        """While the network trains weights of its own: set the share of blocks in RAM from the next step on. Also gives
        back to the device whatever memory nothing uses any more."""

    def own_weights(self, dtype: torch.dtype, offload: float = 0.0, keep: Keep | None = None
                    ) -> AbstractContextManager[OwnWeights]:
        """In training: give the network weights of its own in `dtype` on its device while the block lasts, all for
        training; after it the network is as before.

        Args:
            offload: share of the blocks whose weights are in RAM and are copied to the device at each use.
            keep: where the weights of before are kept; None: in RAM. Only with `frees_base`.

        Raises UserError if they are not plain numbers of 16 or 32 bits, or are held otherwise than they compute.
        """

    def step(self) -> AbstractContextManager[None]:
        """Around every forward pass with gradients and its backward pass."""

    def encode_images(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in 0..1 → latents in the model's own scale, [B, C, ...] float32. Deterministic."""

    def edit_form(self, wanted: str) -> str:
        """The form of `Controls` for this model: `wanted`, or the model's own if that is `edit_forms.AUTO`.

        Raises UserError if the model takes no control images, or not in that form.
        """

    def encode_text(self, captions: Sequence[str], controls: Controls | None = None) -> Conditioning:
        """One row per caption. With gradients if the text network has trainable parameters and grad is on."""

    def noised(self, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network is given at times t [B], which may be on the CPU."""

    def predict(self, noisy: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's raw prediction (noise, velocity, or flow, as the family's objective says).

        `t` and `conditioning` may be on the CPU: what the network needs of them is moved without waiting for it.
        """

    def decode(self, latents: Tensor) -> Tensor:
        """Latents → pixels [B, 3, H, W] in 0..1."""

    def generate(self, prompts: Sequence[str], *, seeds: Sequence[int], width: int, height: int,
                 steps: int, cfg: float, negative: str = "", controls: Controls | None = None,
                 at_step: Callable[[float], None] | None = None) -> Tensor:
        """Images [B, 3, height, width] in 0..1 with the network as it is, for previews and sweeps.

        Row i depends on prompts[i] and seeds[i] alone, not on the rest of the batch (up to rounding).

        Args:
            at_step: called before each step with the share of the steps that is done. It may change the strength of a
                LoRA.
        """

    def remember_prompts(self, prompts: Sequence[str], *, cfg: float, negative: str = "",
                         controls: Controls | None = None) -> None:
        """Encode what `generate` will be asked for later, so that it loads no text encoder then. While the text
        encoders are trained, `generate` encodes it each time."""

    def lora(self, source: str | Path, strength: float = 1.0) -> AbstractContextManager[AppliedLora]:
        """The LoRA file applied at this strength while the block lasts; after it the model is as it was before.

        Raises UserError if the file cannot be read or nothing in it fits this model.
        """

    def sampling_prediction(self, noisy: Tensor, t: Tensor, caption: str | Sequence[str],
                            controls: Controls | None = None) -> Tensor:
        """What the own sampling path of the host, or of diffusers, predicts without guidance for a caption, or for one
        caption a row: the same quantity as `predict`, by none of its code. Captions are read as `encode_text` reads
        them: brackets are text. `controls` has one row, which is beside every caption.
        """

    def sampling_inputs(self, noisy: Tensor, caption: str, controls: Controls | None = None) -> NetworkInputs:
        """What that path conditions the network on, for latents [1, ...]."""

    def training_inputs(self, noisy: Tensor, conditioning: Conditioning) -> NetworkInputs:
        """What `predict` conditions the network on by the first row, under the same names."""

    def sampling_lora(self, path: str | Path) -> AbstractContextManager[LoadedLora]:
        """The LoRA file in the model by the sampling path's own loader at strength 1, for `sampling_prediction`, while
        the block lasts. Call it without adapters in the network.

        Raises UserError if the file cannot be read or nothing in it fits this model.
        """

    def token_count(self, caption: str) -> tuple[int, int]:
        """(tokens of the caption, tokens that the model reads), both without start and end marks."""


def predict_for(caption: str, backbone: Backbone, noisy: Tensor, t: Tensor) -> Tensor:
    """What the network predicts for latents [B, ...] at times t [B] if all of them have that caption, as float32."""
    conditioning = backbone.encode_text([caption]).to(backbone.device)
    return torch.cat([backbone.predict(rows, times, conditioning.rows([0] * len(rows))).float()
                      for rows, times in zip(noisy.split(AT_ONCE), t.split(AT_ONCE), strict=True)])


def dtypes_of(*networks: nn.Module) -> str:
    """The types of the networks' weights, as text."""
    return " ".join(sorted({str(parameter.dtype) for network in networks for parameter in network.parameters()}))
