"""Which network a base is: a name, a diffusers folder, or a .safetensors file, told by its header alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ..common.errors import UserError
from ..common.files import read_json
from ..models.families import FAMILIES
from .shapes import SHAPES, Shape

SANDBOX = "sandbox"
BASES = ("fp32", "bf16", "fp8", "int8", "nf4")
"""Precisions in which the weights of a base lie on the card."""
_DTYPES = {"F32": "fp32", "F16": "bf16", "BF16": "bf16", "F8_E4M3": "fp8", "F8_E5M2": "fp8"}
_WIDTHS = ("cross_attention_dim", "joint_attention_dim", "cap_feat_dim", "text_hidden_dim")


@dataclass(frozen=True)
class Base:
    """A network, and the precision of its file; bf16 if that is not known. fp16 takes as much as bf16.

    Attributes:
        note: what is not counted; "" if nothing.
    """

    shape: Shape
    precision: str = "bf16"
    note: str = ""


_NAMES = {
    # name → (shape, family) where the names of families differ from those of shapes
    "illustrious": ("sdxl", "illustrious"), "noobai": ("sdxl", "illustrious"), "pony": ("sdxl", "sdxl"),
    "sd3": ("sd35_medium", "sd3"), "flux2": ("flux2_dev", "flux2"), "flux2_klein": ("flux2_klein_9b", "flux2_klein"),
    "z_image_turbo": ("z_image", "z_image"), "qwen_image_edit": ("qwen_image", "qwen_image_edit"),
}
_NOTES = {"qwen_image_edit": "without control images, which take more: Train LoRA counts them in ComfyUI"}
_IN_COMFYUI = ("anima", "wan")
"""Families without a shape here."""


def find_base(text: str) -> Base:
    """The base that a name or a path stands for. Raises UserError if it is neither, or a network that is not known."""
    name = text.lower().replace("-", "_")
    path = Path(text).expanduser()
    if name in SHAPES:
        return Base(SHAPES[name])
    if name in _NAMES:
        shape, family = _NAMES[name]
        return Base(replace(SHAPES[shape], family=family), note=_NOTES.get(name, ""))
    if name in _IN_COMFYUI:
        raise UserError(f"{text} cannot be counted here. Train LoRA counts it in ComfyUI before the first step.")
    if text == SANDBOX:
        from ...sandbox import BASE_DIR

        read = _read_folder(BASE_DIR).shape
        return Base(replace(read, family=SANDBOX, title=FAMILIES[SANDBOX].title, pixels=4), "fp32")
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return _read_file(path)
    raise UserError(f"base {text!r} is neither a known name nor a file or folder. Give a path, or one of sandbox, "
                    f"{', '.join((*SHAPES, *_NAMES))}.")


# -- a folder of diffusers ---------------------------------------------------------------------------------------------


def _read_folder(folder: Path) -> Base:
    file = next((file for part in ("transformer", "unet", ".") if (file := folder / part / "config.json").is_file()),
                None)
    if file is None:
        raise UserError(f"base folder {str(folder)!r} has no transformer/config.json or unet/config.json. Give a "
                        "diffusers folder.")
    config = read_json(file)
    kind = str(config.get("_class_name", "")) if isinstance(config, Mapping) else ""
    shape = find_shape(config, str(folder), f"{kind} of {folder.name}", str(file)) if kind else None
    if shape is None:
        raise UserError(f"{file} describes {kind or 'nothing'!r}, whose step cannot be counted; valid: "
                        f"{', '.join(dict.fromkeys(shape.kind for shape in SHAPES.values()))}.")
    return Base(shape)


def find_shape(config: Mapping[str, Any], name: str, title: str, source: str) -> Shape | None:
    """The shape of a network that has this config of diffusers; None if its class is not known."""
    kind = config.get("_class_name")
    row = next((shape for shape in SHAPES.values() if shape.kind == kind and _is_like(shape, config)), None)
    if row is None:
        return None
    settings = {name: value for name, value in config.items() if not name.startswith("_")}
    width = next((value for name in _WIDTHS if isinstance(value := config.get(name), int)), row.width)
    return replace(row, name=name, title=title, settings=settings, width=width, channels=_latent_channels(row, config),
                   source=source)


def _is_like(shape: Shape, config: Mapping[str, Any]) -> bool:
    return bool(shape.pooled) == (config.get("addition_embed_type") == "text_time") or not shape.kind.startswith("UNet")


def _latent_channels(row: Shape, config: Mapping[str, Any]) -> int:
    return int(config.get("in_channels", row.channels)) if row.kind.startswith("UNet") else row.channels


# -- a file ------------------------------------------------------------------------------------------------------------


def _sized(*widths: tuple[int, str]) -> Callable[[tuple[int, ...]], str]:
    """By the first side of the marked tensor: the name for the nearest of these widths."""
    return lambda shape: min(widths, key=lambda width: abs(width[0] - shape[0]))[1]


_MARKS: tuple[tuple[str, Callable[[tuple[int, ...]], str]], ...] = (
    # the end of a key that only this network has, and its name from the tensor's shape; the first that fits counts
    ("conditioner.embedders.1.model.ln_final.weight", lambda shape: "sdxl"),
    ("label_emb.0.0.weight", lambda shape: "sdxl"),
    ("distilled_guidance_layer.in_proj.weight", lambda shape: "chroma"),
    ("double_stream_modulation_img.lin.weight", _sized(
        (6 * 6144, "flux2_dev"), (6 * 4096, "flux2_klein_9b"), (6 * 3072, "flux2_klein_4b"))),
    ("double_blocks.0.img_attn.qkv.weight", lambda shape: "flux"),
    ("joint_blocks.0.x_block.attn.qkv.weight", _sized((3 * 1536, "sd35_medium"), (3 * 2432, "sd35_large"))),
    ("transformer_blocks.0.img_mod.1.weight", lambda shape: "qwen_image"),
    ("txtfusion.projector.weight", lambda shape: "krea2"),
    ("layers.0.attention.qkv.weight", _sized((3 * 3840, "z_image"), (24 * 96 + 16 * 96, "lumina2"))),
    ("input_blocks.0.0.weight", lambda shape: "sd15"),
)


def _read_file(path: Path) -> Base:
    try:
        with safe_open(path, framework="numpy") as file:
            keys = list(file.keys())
            name = _recognized(file, keys)
            precision = _precision(file, keys)
    except UserError:
        raise
    except Exception as error:  # safetensors raises its own, unexported error type
        raise UserError(f"base {str(path)!r} is not a readable .safetensors file: {error}") from error
    if name is None:
        raise UserError(f"base {str(path)!r} is not a network that is known here. Give the nearest name: "
                        f"{', '.join(SHAPES)}.")
    return Base(SHAPES[name], precision)


def _recognized(file: Any, keys: Iterable[str]) -> str | None:
    for mark, name_of in _MARKS:
        key = next((key for key in keys if key.endswith(mark)), None)
        if key is not None:
            return name_of(tuple(file.get_slice(key).get_shape()))
    return None


def _precision(file: Any, keys: Iterable[str]) -> str:
    """That of most weights of the network."""
    weights = [key for key in keys if re.search(r"(blocks|layers)\.\d+\..*weight$", key)]
    counts = Counter(_DTYPES.get(file.get_slice(key).get_dtype(), "bf16") for key in weights)
    return counts.most_common(1)[0][0] if counts else "bf16"
