"""Which name a file made of others gives to each layer, so that what reads those reads it too.

The host has a map of names for each family (comfy/lora.py), and not every spelling is in every map. So names stay as
the files have them where these agree, and wherever a network's layouts are not known here. Only UNets always get
kohya's names, which every program knows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

from .layouts import is_known, is_unet
from .names import CLIP_G, CLIP_L, PREFIXES, T5, LayerName, file_name, fitting_style, is_flat, key_layer

_ROWS = re.compile(r"(layers|noise_refiner|context_refiner)\.\d+\.attention\.to_")
_HOST = ("diffusion_model.", "transformer.", "text_encoders.")
"""Dotted prefixes that the host reads for any network that has them."""


@dataclass(frozen=True)
class OwnName:
    """A layer as the file has it that it comes from.

    Attributes:
        module: its name there; "" for some rows of a layer.
        peft: whether its tensors are called lora_A and lora_B.
    """

    module: str
    peft: bool = False


def choose_names(own: Mapping[str, OwnName], others: Collection[str] = ()) -> tuple[str, dict[str, str]]:
    """(key style for the tensors, name of each layer) for a file with these layers, by `LoraWeights.modules`' keys.

    Args:
        others: see `names.file_name`.
    """
    layers = {key: key_layer(key) for key in own}
    known = {key for key, layer in layers.items() if not own[key].module or is_known(layer)}
    style, kept = fitting_style(known), own.keys() - known
    unets = any(is_unet(layer) for layer in layers.values())
    if not unets:
        for part in {layer.part for layer in layers.values()}:
            modules = {key: own[key].module for key, layer in layers.items() if layer.part == part}
            if _agree(modules, layers, known):
                kept |= {key for key, module in modules.items() if not _is_unread(layers[key], module)}
    names = {key: _readable(own[key].module) if key in kept else file_name(key, style, others) for key in own}
    peft = style == "peft" or not unets and all(name.peft for name in own.values())
    return "peft" if peft and not all(map(is_flat, names.values())) else "kohya", names


def _agree(modules: Mapping[str, str], layers: Mapping[str, LayerName], known: Set[str]) -> bool:
    """Whether the layers of one network keep their names: they have one spelling, and the host reads it, or it cannot
    be translated for all of them."""
    one = len({_prefix(module) for module in modules.values()}) == 1 and all(modules.values())
    return one and (not modules.keys() <= known or all(_is_read(layers[key], name) for key, name in modules.items()))


def _prefix(module: str) -> str:
    return next((row.text for row in PREFIXES if module.startswith(row.text)), "")


def _is_read(layer: LayerName, module: str) -> bool:
    """Whether the host reads the name, if it reads any names of this network."""
    prefix = _prefix(module)
    if _is_unread(layer, module):
        return False
    if layer.part in (CLIP_L, CLIP_G) and prefix in ("text_encoder.", "text_encoder_2."):
        return True
    return prefix.endswith("_") and layer.part != T5 or prefix.startswith(_HOST)


def _is_unread(layer: LayerName, module: str) -> bool:
    """Whether the host certainly does not read the name: musubi-tuner's for Z-Image's attention as diffusers has it."""
    return _prefix(module) == "lora_unet_" and bool(_ROWS.match(layer.path))


def _readable(module: str) -> str:
    """The host reads Wan-Fun's prefix in some files only, and then as kohya's (comfy/lora_convert.py)."""
    return module.replace("lora_unet__", "lora_unet_") if module.startswith("lora_unet__") else module
