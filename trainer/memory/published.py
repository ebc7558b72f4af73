"""A step on a network of diffusers at its published size, without its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ..models.noise import DiscreteSchedule, NoiseSchedule
from ..models.recompute import Recomputation
from ..training.config import TrainConfig
from .shapes import Shape, shape_family

Call = Callable[[Any, Tensor, Tensor, Shape], Tensor]
"""(network, noisy latents, times, shape) → the raw prediction."""


class FlowSchedule:
    """Rectified flow: x_t = (1 - t)·x0 + t·noise."""

    def coefficients(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t


# -- how a step calls each class ---------------------------------------------------------------------------------------


def _text(network: Any, noisy: Tensor, shape: Shape) -> Tensor:
    return torch.empty(len(noisy), shape.tokens, shape.width, dtype=_dtype(network))


def _dtype(network: nn.Module) -> torch.dtype:
    weights = list(network.parameters())  # all are trained in a fine-tune, none is frozen
    return next((p.dtype for p in weights if not p.requires_grad), weights[0].dtype)


def _patched(noisy: Tensor, network: nn.Module) -> Tensor:
    """[B, C, H, W] → [B, H/2·W/2, 4·C]: four latent pixels to one token."""
    batch, channels, height, width = noisy.shape
    cut = noisy.to(_dtype(network)).view(batch, channels, height // 2, 2, width // 2, 2)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * 4)


def _unpatched(tokens: Tensor, noisy: Tensor) -> Tensor:
    batch, channels, height, width = noisy.shape
    cut = tokens.view(batch, height // 2, width // 2, channels, 2, 2)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(noisy.shape)


def _call_unet(network: Any, noisy: Tensor, t: Tensor, shape: Shape) -> Tensor:
    extra = {}
    if shape.pooled:
        extra["added_cond_kwargs"] = {
            "text_embeds": torch.empty(len(noisy), shape.pooled, dtype=_dtype(network)),
            "time_ids": torch.empty(len(noisy), 6, dtype=_dtype(network))}
    return network(noisy.to(_dtype(network)), (t * 1000).long(), encoder_hidden_states=_text(network, noisy, shape),
                   return_dict=False, **extra)[0].float()


def _call_sd3(network: Any, noisy: Tensor, t: Tensor, shape: Shape) -> Tensor:
    return network(noisy.to(_dtype(network)), encoder_hidden_states=_text(network, noisy, shape),
                   pooled_projections=torch.empty(len(noisy), shape.pooled, dtype=_dtype(network)), timestep=t * 1000,
                   return_dict=False)[0].float()


def _call_flux(network: Any, noisy: Tensor, t: Tensor, shape: Shape) -> Tensor:
    tokens, axes = _patched(noisy, network), len(network.config.axes_dims_rope)
    extra: dict[str, Tensor] = {}
    if shape.pooled:
        extra["pooled_projections"] = torch.empty(len(noisy), shape.pooled, dtype=_dtype(network))
    if getattr(network.config, "guidance_embeds", False):
        extra["guidance"] = torch.empty(len(noisy))
    return _unpatched(network(
        tokens, encoder_hidden_states=_text(network, noisy, shape), timestep=t, return_dict=False,
        img_ids=torch.empty(tokens.shape[1], axes), txt_ids=torch.empty(shape.tokens, axes), **extra)[0], noisy).float()


def _call_flux2(network: Any, noisy: Tensor, t: Tensor, shape: Shape) -> Tensor:
    # its VAE's latents are patched already: one latent pixel is one token
    tokens = noisy.to(_dtype(network)).flatten(2).transpose(1, 2)
    guidance = torch.empty(len(noisy)) if network.config.guidance_embeds else None
    made = network(tokens, encoder_hidden_states=_text(network, noisy, shape), timestep=t, guidance=guidance,
                   img_ids=torch.empty(tokens.shape[1], 4), txt_ids=torch.empty(shape.tokens, 4), return_dict=False)[0]
    return made.transpose(1, 2).reshape(noisy.shape).float()


def _call_qwen(network: Any, noisy: Tensor, t: Tensor, shape: Shape) -> Tensor:
    height, width = noisy.shape[-2:]
    return _unpatched(network(
        _patched(noisy, network), encoder_hidden_states=_text(network, noisy, shape), timestep=t,
        img_shapes=[[(1, height // 2, width // 2)]] * len(noisy), return_dict=False)[0], noisy).float()


def _call_z_image(network: Any, noisy: Tensor, t: Tensor, shape: Shape) -> Tensor:
    images = list(noisy.to(_dtype(network)).unsqueeze(2))
    captions = list(_text(network, noisy, shape))
    return torch.stack(network(images, t, captions, return_dict=False)[0]).squeeze(2).float()


def _call_lumina2(network: Any, noisy: Tensor, t: Tensor, shape: Shape) -> Tensor:
    mask = torch.ones(len(noisy), shape.tokens, dtype=torch.bool)
    _tell_lengths(network.rope_embedder)
    return network(noisy.to(_dtype(network)), t, _text(network, noisy, shape), mask, return_dict=False)[0].float()


def _tell_lengths(embedder: Any) -> None:
    """Answer how long the captions are, which diffusers reads from the values of the mask."""
    forward = type(embedder).forward

    def with_lengths(hidden: Tensor, mask: Tensor) -> Any:
        lengths = SimpleNamespace(tolist=lambda: [mask.shape[1]] * len(mask))
        return forward(embedder, hidden, SimpleNamespace(shape=mask.shape, sum=lambda dim: lengths))

    embedder.forward = with_lengths


def _call_krea2(network: Any, noisy: Tensor, t: Tensor, shape: Shape) -> Tensor:
    tokens = _patched(noisy, network)
    text = torch.empty(len(noisy), shape.tokens, network.config.num_text_layers, shape.width, dtype=_dtype(network))
    places = torch.empty(shape.tokens + tokens.shape[1], 3)
    return _unpatched(network(tokens, text, t, places, return_dict=False)[0], noisy).float()

CALLS: dict[str, Call] = {
    # class of diffusers → how a step calls it
    "UNet2DConditionModel": _call_unet, "SD3Transformer2DModel": _call_sd3, "FluxTransformer2DModel": _call_flux,
    "ChromaTransformer2DModel": _call_flux, "Flux2Transformer2DModel": _call_flux2,
    "QwenImageTransformer2DModel": _call_qwen, "ZImageTransformer2DModel": _call_z_image,
    "Lumina2Transformer2DModel": _call_lumina2, "Krea2Transformer2DModel": _call_krea2,
}


class PublishedNetwork:
    """A `step.Rehearsal` of a shape. Made where tensors are fake, it takes no memory."""

    def __init__(self, shape: Shape, config: TrainConfig, dtype: torch.dtype, recompute: float | None = None) -> None:
        """`recompute`: share of the blocks that are computed again; None: as the config says."""
        import diffusers

        self.shape, self.config = shape, config
        self.family, self.blocks = shape_family(shape), shape.blocks
        with torch.device("meta"):
            self.network: nn.Module = getattr(diffusers, shape.kind)(**shape.settings).to(dtype)
        self.network.requires_grad_(False)
        share = float(config.gradient_checkpointing) if recompute is None else recompute
        Recomputation(self.network).set_share(share)
        unet = self.family.objective != "flow"
        self.schedule: NoiseSchedule = DiscreteSchedule(torch.ones(1000)) if unet else FlowSchedule()

    def latents(self) -> Tensor:
        step = self.family.bucket_step  # as the buckets of images are
        side = max(self.config.data.resolution // step * step, step) // self.shape.pixels
        return torch.empty(self.config.data.batch_size, self.shape.channels, side, side)

    def predict(self, noisy: Tensor, t: Tensor) -> Tensor:
        return CALLS[self.shape.kind](self.network, noisy, t, self.shape)

    def step(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()
