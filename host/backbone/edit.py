"""Control images for edit models, through the host's own nodes, so that training gives the model what sampling does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import comfy.utils
from torch import Tensor

MEGAPIXEL = 1024 * 1024


def encode_edit(form: str, clip: Any, vae: Any, prompt: str, images: Sequence[Tensor]) -> list[Any]:
    """The host's CONDITIONING, [[tensor, values]], of a prompt and control images.

    Args:
        form: a key of `edit_forms.EDIT_FORMS`.
        clip, vae: of the host, or what has their `tokenize`, `encode_from_tokens_scheduled` and `encode`.
        images: [3, H, W] each, in 0..1.
    """
    made: list[Any] = _FORMS[form](clip, vae, prompt, [image.movedim(0, -1)[None] for image in images])
    return made


def _qwen(clip: Any, vae: Any, prompt: str, images: Sequence[Tensor]) -> Any:
    from comfy_extras.nodes_qwen import TextEncodeQwenImageEdit

    return TextEncodeQwenImageEdit.execute(clip, prompt, vae, *images).args[0]


def _qwen_plus(clip: Any, vae: Any, prompt: str, images: Sequence[Tensor]) -> Any:
    from comfy_extras.nodes_qwen import TextEncodeQwenImageEditPlus

    return TextEncodeQwenImageEditPlus.execute(clip, prompt, vae, *images).args[0]


def _at_time_0(clip: Any, vae: Any, prompt: str, images: Sequence[Tensor]) -> Any:
    """As the host's templates for Qwen-Image-Edit-2511 and for style references of Krea 2 have it."""
    from comfy_extras.nodes_flux import FluxKontextMultiReferenceLatentMethod

    conditioning = _qwen_plus(clip, vae, prompt, images)
    return FluxKontextMultiReferenceLatentMethod.execute(conditioning, "index_timestep_zero").args[0]


def _kontext(clip: Any, vae: Any, prompt: str, images: Sequence[Tensor]) -> Any:
    from comfy_extras.nodes_flux import FluxKontextImageScale

    return _with_references(clip, vae, prompt, [FluxKontextImageScale.execute(image).args[0] for image in images])


def _flux2(clip: Any, vae: Any, prompt: str, images: Sequence[Tensor]) -> Any:
    return _with_references(clip, vae, prompt, [_megapixel(image) for image in images])


def _with_references(clip: Any, vae: Any, prompt: str, images: Sequence[Tensor]) -> Any:
    from comfy_extras.nodes_edit_model import ReferenceLatent

    latents = [vae.encode(image) for image in images]
    conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))
    for latent in latents:
        conditioning = ReferenceLatent.execute(conditioning, {"samples": latent}).args[0]
    return conditioning


def _megapixel(image: Tensor) -> Tensor:
    """As the host's Scale Image to Total Pixels does at 1 megapixel with lanczos, as in its templates for Flux.2."""
    height, width = image.shape[1:3]
    scale = math.sqrt(MEGAPIXEL / (height * width))
    scaled = comfy.utils.common_upscale(image.movedim(-1, 1), round(width * scale), round(height * scale), "lanczos",
                                        "disabled")
    return scaled.movedim(1, -1)


_FORMS: dict[str, Callable[[Any, Any, str, Sequence[Tensor]], Any]] = {
    "qwen edit": _qwen,
    "qwen edit 2509": _qwen_plus,
    "qwen edit 2511": _at_time_0,
    "kontext": _kontext,
    "flux2": _flux2,
    "krea2": _at_time_0,
}
