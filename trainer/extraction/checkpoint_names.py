"""Which weight of a checkpoint file belongs to which layer: prefixes of single-file checkpoints, and open_clip's names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..lora.names import CLIP_G, CLIP_L, ORIGINAL, TRANSFORMER, UNET, UNET_WORDS, layer_name


@dataclass(frozen=True)
class Place:
    """Where a file has a weight: a key, or one of several equal parts of its rows."""

    key: str
    part: int = 0
    parts: int = 1


_DENOISERS = ("model.diffusion_model.", "diffusion_model.", "model.model.", "net.", "model.")
"""What the denoiser's keys begin with in a file, in the order in which they are tried; in others they are bare."""
_TRANSFORMERS = {"cond_stage_model.transformer.": CLIP_L, "conditioner.embedders.0.transformer.": CLIP_L}
"""Text encoders by the names that transformers gives their layers."""
_OPEN_CLIP = {"conditioner.embedders.1.model.": CLIP_G, "conditioner.embedders.0.model.": CLIP_G,
              "cond_stage_model.model.": "text_encoders.clip_h.transformer"}
"""Text encoders by open_clip's names."""
_HOST_TEXT = "text_encoders."
_BESIDE = ("first_stage_model.", "vae.", "model_ema.", "cond_stage_model.", "conditioner.", "alphas_cumprod", "betas",
           "denoiser.", "clip_vision.", "audio_vae.", "vocoder.")
"""Parts of a checkpoint that no LoRA is for."""
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
_LEAVES = {
    "ln_1.": "layer_norm1.", "ln_2.": "layer_norm2.", "mlp.c_fc.": "mlp.fc1.", "mlp.c_proj.": "mlp.fc2.",
    "attn.out_proj.": "self_attn.out_proj.",
}
_FUSED = "attn.in_proj_"
_QKV = ("q_proj", "k_proj", "v_proj")
_PARAMETERS = ("weight", "bias")
_DIFFUSERS = ("single_transformer_blocks.", "context_embedder.")
"""Beginnings of paths in files of transformers in diffusers' layout."""


def checkpoint_places(keys: Iterable[str]) -> dict[str, Place]:
    """Where a file has each weight of its denoiser and its text encoders, by key (see `sides`)."""
    keys = sorted(keys)
    prefix = next((text for text in _DENOISERS if any(key.startswith(text) for key in keys)), "")
    paths = [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]
    word = _word(paths)
    found: dict[str, Place] = {}
    for key in keys:
        text = dict(_text_places(key))
        if text:
            found |= text
        elif key.startswith(prefix) and not key.startswith((*_BESIDE, _HOST_TEXT)):
            found[f"{word}.{key.removeprefix(prefix)}"] = Place(key)
    return found


def _word(paths: list[str]) -> str:
    """The first word of the denoiser's keys, by its layout."""
    if any(path.partition(".")[0] in UNET_WORDS for path in paths):
        return UNET
    return TRANSFORMER if any(path.startswith(_DIFFUSERS) for path in paths) else ORIGINAL


def _text_places(key: str) -> Iterator[tuple[str, Place]]:
    for prefix, part in _OPEN_CLIP.items():
        if key.startswith(prefix):
            yield from _open_clip_places(key, key.removeprefix(prefix), part)
            return
    for prefix, part in _TRANSFORMERS.items():
        if key.startswith(prefix):
            yield f"{part}.{key.removeprefix(prefix)}", Place(key)
    if key.startswith(_HOST_TEXT):
        module, _, parameter = key.rpartition(".")
        layer = layer_name(module)
        if layer and parameter in _PARAMETERS:
            yield f"{layer.key}.{parameter}", Place(key)


def _open_clip_places(key: str, path: str, part: str) -> Iterator[tuple[str, Place]]:
    match = _BLOCK.fullmatch(path)
    if not match:
        return
    block, rest = f"{part}.text_model.encoder.layers.{match[1]}", match[2]
    if rest.startswith(_FUSED):
        for index, name in enumerate(_QKV):
            yield f"{block}.self_attn.{name}.{rest.removeprefix(_FUSED)}", Place(key, index, len(_QKV))
    for theirs, ours in _LEAVES.items():
        if rest.startswith(theirs):
            yield f"{block}.{ours}{rest.removeprefix(theirs)}", Place(key)
