"""Reading and writing LoRA files: key names, alpha per module, and atomic writes. safetensors only.

Key names: kohya sd-scripts (read by every tool), peft as diffusers writes it, and ComfyUI's generic
`diffusion_model.` names. What else a file says of itself is in `lora_metadata.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..common.errors import UserError, unknown_name
from ..common.files import atomic_write
from .key_names import dotted, flat, with_text_model


@dataclass(frozen=True, eq=False)
class Factors:
    """One module's LoRA: its weight changes by up @ down * alpha / rank.

    Attributes:
        down: [rank, in], for a convolution [rank, in, kh, kw].
        up: [out, rank], for a convolution [out, rank, 1, 1].
    """

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return len(self.down)

    def rescaled(self, alpha: float) -> Factors:
        """The same change of the weights under another alpha."""
        if alpha == self.alpha:
            return self
        return Factors(self.down, self.up.float() * (self.alpha / alpha), alpha)

    def padded(self, rank: int) -> Factors:
        """The same change of the weights under a larger rank: zeros are added, and alpha grows with the rank."""
        down = self.down.new_zeros(rank, *self.down.shape[1:])
        up = self.up.new_zeros(len(self.up), rank, *self.up.shape[2:])
        down[:self.rank], up[:, :self.rank] = self.down, self.up
        return Factors(down, up, self.alpha * rank / self.rank)


@dataclass(frozen=True, eq=False)
class LoraWeights:
    """A LoRA.

    Attributes:
        modules: by dotted name: `unet.`, `text_encoder.` or `text_encoder_2.` and diffusers' module path, or
            `diffusion_model.` and the path in the model's original layout.
        metadata: the file's own description, texts only.
        ignored: keys of the file that are no part of a LoRA and were not read.
    """

    modules: Mapping[str, Factors]
    metadata: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyStyle:
    """How a module's three tensors are named in a file.

    Attributes:
        name: (dotted key, whether the model has two text encoders) → the file's name for the module.
        alpha: whether the style has a key for alpha; if not, alpha / rank is multiplied into up, and ranks are made
            equal by zeros.
    """

    title: str
    name: Callable[[str, bool], str]
    down: str
    up: str
    alpha: bool = True


def _kohya_name(key: str, two_encoders: bool) -> str:
    part, path = _split(key)
    first = "lora_te1" if two_encoders else "lora_te"
    words = {"text_encoder": first, "text_encoder_2": "lora_te2"}
    return f"{words.get(part, 'lora_unet')}_{flat(path)}"


def _comfy_name(key: str, two_encoders: bool) -> str:
    part, path = _split(key)
    words = {"text_encoder": "text_encoders.clip_l.transformer", "text_encoder_2": "text_encoders.clip_g.transformer"}
    if part == "unet":
        raise UserError(f"key style 'comfy' has no names for diffusers modules such as {key}: use key style kohya.")
    return f"{words.get(part, part)}.{path}"


KEY_STYLES = {
    "kohya": KeyStyle("kohya (works everywhere)", _kohya_name, "lora_down.weight", "lora_up.weight"),
    "peft": KeyStyle("peft / diffusers", lambda key, _: ".".join(_split(key)), "lora_A.weight", "lora_B.weight", False),
    "comfy": KeyStyle("ComfyUI", _comfy_name, "lora_down.weight", "lora_up.weight"),
}

ROLES = {
    # how a key ends → what it is; the first that fits counts
    ".lora_down.weight": "down", ".lora_up.weight": "up", ".alpha": "alpha",
    ".lora_A.weight": "down", ".lora_B.weight": "up", ".lora_A.default.weight": "down", ".lora_B.default.weight": "up",
    ".lora.down.weight": "down", ".lora.up.weight": "up", "_lora.down.weight": "down", "_lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down", ".lora_linear_layer.up.weight": "up",
}
_OTHER_KINDS = {
    ".dora_scale": "DoRA", ".lora_magnitude_vector": "DoRA", ".hada_w1_a": "LoHa", ".hada_w1_b": "LoHa",
    ".hada_w2_a": "LoHa", ".hada_w2_b": "LoHa", ".lokr_w1": "LoKr", ".lokr_w2": "LoKr", ".lora_mid.weight": "Tucker",
    ".oft_blocks": "OFT",
}
_PREFIXES = {
    "lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2",
}
_DOTTED_PREFIXES = {
    "text_encoders.clip_l.transformer.": "text_encoder.", "text_encoders.clip_g.transformer.": "text_encoder_2.",
    "base_model.model.": "unet.", "unet.": "unet.", "text_encoder.": "text_encoder.",
    "text_encoder_2.": "text_encoder_2.", "transformer.": "transformer.", "diffusion_model.": "diffusion_model.",
}
_ATTENTION = re.compile(r"\.(to_[qkv]|to_out\.0)$")
_ALPHA_TABLE = "lora_adapter_metadata"
_OLD_DIFFUSERS = re.compile(r"\.processor\.(to_[qkv]|to_out)$")


def _split(key: str) -> tuple[str, str]:
    """(part, path), the path of a CLIP text encoder as every file names it, whatever this transformers does."""
    part, _, path = key.partition(".")
    return part, with_text_model(path) if part.startswith("text_encoder") else path


def save_lora(
    path: str | os.PathLike[str], lora: LoraWeights, *, key_style: str = "kohya", dtype: torch.dtype = torch.float32
) -> None:
    """Write a LoRA atomically. Alphas are float32 whatever `dtype` is.

    float32 reloads to the training-time output; float16 halves the file.
    Raises UserError if a weight is not a number (or too large for `dtype`), or for an unknown key style.
    """
    if key_style not in KEY_STYLES:
        raise unknown_name("key style", key_style, KEY_STYLES)
    style, two = KEY_STYLES[key_style], _has_two_encoders(lora)
    prepared = _with_safe_alphas if style.alpha else _with_scale_one
    tensors: dict[str, Tensor] = {}
    for key, factors in prepared(lora.modules).items():
        name = style.name(key, two)
        rows = {style.down: factors.down.detach().to("cpu", dtype), style.up: factors.up.detach().to("cpu", dtype)}
        for role, tensor in rows.items():
            if not tensor.isfinite().all():
                raise UserError(f"LoRA module {key} has weights that are not {dtype} numbers, so {path} was not "
                                "written: the training diverged (lower the learning rate), or dtype must be float32.")
            tensors[f"{name}.{role}"] = tensor.contiguous()
        if style.alpha:
            tensors[f"{name}.alpha"] = torch.tensor(float(factors.alpha))
    # an alpha table copied from another file would be applied on top of the alphas written here
    metadata = {name: text for name, text in lora.metadata.items() if name != _ALPHA_TABLE}
    atomic_write(path, save(tensors, metadata=metadata | hashes(tensors)))


def _has_two_encoders(lora: LoraWeights) -> bool:
    # an SDXL LoRA without text encoders has no such keys, and needs no such names
    return any(key.startswith("text_encoder_2.") for key in lora.modules) or (
        lora.metadata.get("ss_base_model_version", "").startswith("sdxl"))


def _with_safe_alphas(modules: Mapping[str, Factors]) -> dict[str, Factors]:
    """The factors to write where alpha is written too: nearly always the modules' own.

    From kohya's keys, diffusers (0.42 at least) gives every attention projection and text encoder module the
    commonest alpha of its part. Where that would be another than its own, the difference goes into up instead.
    """
    written = dict(modules)
    for part in {key.partition(".")[0] for key in modules}:
        keys = [key for key in modules if key.startswith(f"{part}.")]
        (common, count), *others = Counter(modules[key].alpha for key in keys).most_common()
        tied = bool(others) and others[0][1] == count
        misread = _ATTENTION if part == "unet" else re.compile("")
        written |= {key: modules[key].rescaled(common) for key in keys if tied or misread.search(key)}
    return written


def _with_scale_one(modules: Mapping[str, Factors]) -> dict[str, Factors]:
    """The factors to write where alpha is not: scale 1, and one rank in each part.

    Without alphas, older diffusers (0.30 for one) take the commonest rank as every module's alpha, so smaller ones are
    filled up with zeros.
    """
    ranks: dict[str, int] = {}
    for key, factors in modules.items():
        part = key.partition(".")[0]
        ranks[part] = max(factors.rank, ranks.get(part, 0))
    return {key: factors.rescaled(factors.rank).padded(ranks[key.partition(".")[0]])
            for key, factors in modules.items()}


def hashes(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Hash of the tensor bytes, which other tools and sites know a LoRA by whatever its metadata says."""
    data = memoryview(save(dict(tensors)))
    digest = hashlib.sha256(data[8 + int.from_bytes(data[:8], "little"):]).hexdigest()
    return {"modelspec.hash_sha256": f"0x{digest}", "sshs_model_hash": digest}


def load_lora(path: str | os.PathLike[str], module_names: Iterable[str] | None = None) -> LoraWeights:
    """Read a LoRA in any of KEY_STYLES, or as older diffusers wrote them; weights become float32.

    Args:
        module_names: dotted names (`unet.…`) of the model at hand. kohya's names lose the difference between `.` and
            `_`; with these it is looked up, otherwise told from the field's known names.

    A module without alpha has alpha = rank. Raises UserError if the file is not a readable safetensors file, holds no
    LoRA, or holds weights that are not numbers or do not fit each other.
    """
    path = Path(path)
    tensors, metadata = _read(path)
    names = {flat(name): name for name in module_names or ()}
    found: dict[str, dict[str, Tensor]] = {}
    ignored = []
    for key, tensor in tensors.items():
        ending = next((ending for ending in ROLES if key.endswith(ending)), None)
        if other := next((kind for ending, kind in _OTHER_KINDS.items() if key.endswith(ending)), None):
            raise UserError(f"{path} is a {other}, not a plain LoRA (key {key}): only LoRA can be read.")
        module = _module_key(key.removesuffix(ending), names) if ending else None
        if module is None:
            ignored.append(key)
        else:
            found.setdefault(module, {})[ROLES[ending]] = tensor
    alphas = diffusers_alphas(metadata)
    modules = {key: _factors(path, key, roles, alphas) for key, roles in found.items() if roles.keys() - {"alpha"}}
    if not modules:
        raise UserError(f"{path} holds no LoRA: none of its {len(tensors)} tensors is named like one. "
                        "Choose a LoRA file, not a checkpoint, VAE or embedding.")
    return LoraWeights(modules, metadata, tuple(ignored))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not path.is_file():
        raise UserError(f"LoRA file {path} does not exist. Check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            # copies: a tensor that still maps the file keeps some systems from replacing it
            return {key: file.get_tensor(key).clone() for key in sorted(file.keys())}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        with open(path, "rb") as file:
            pickled = file.read(4)[:2] in (b"PK", b"\x80\x02", b"\x80\x04")
        why = "a pickle, which can run code and is never opened" if pickled else (
            f"not a whole safetensors file ({error})")
        raise UserError(f"{path} is {why}. Get the LoRA as .safetensors, or download it again.") from error


def _module_key(name: str, names: Mapping[str, str]) -> str | None:
    """The dotted key of a module as a file names it, or None if it is no LoRA's."""
    for prefix, part in _PREFIXES.items():
        if name.startswith(prefix):
            path = name.removeprefix(prefix)
            for candidate in (path, path.removeprefix("text_model_")):
                if f"{part}_{candidate}" in names:
                    return names[f"{part}_{candidate}"]
            return dotted(part, path)
    for prefix, part in _DOTTED_PREFIXES.items():
        if name.startswith(prefix):
            path = _OLD_DIFFUSERS.sub(r".\1", name.removeprefix(prefix))
            return part + re.sub(r"\.to_out$", ".to_out.0", path)
    return None


def diffusers_alphas(metadata: Mapping[str, str]) -> Callable[[str], float | None]:
    """Alphas as diffusers keeps them: in the metadata, by part, with patterns for exceptions."""
    try:
        settings = json.loads(metadata.get(_ALPHA_TABLE, "{}"))
    except ValueError:
        settings = {}

    def alpha(key: str) -> float | None:
        part, _, path = key.partition(".")
        patterns = settings.get(f"{part}.alpha_pattern") or {}
        fitting = (value for name, value in patterns.items() if re.match(rf"(.*\.)?({name})$", path))
        return next(fitting, settings.get(f"{part}.lora_alpha"))

    return alpha


def _factors(
    path: Path, key: str, roles: Mapping[str, Tensor], alphas: Callable[[str], float | None]
) -> Factors:
    missing = {"down", "up"} - roles.keys()
    if missing:
        raise UserError(f"{path} is incomplete: module {key} has no {missing.pop()} weight. Download it again.")
    down, up = roles["down"].float(), roles["up"].float()
    if down.ndim not in (2, 4) or up.ndim != down.ndim or up.shape[1] != len(down) or not down.numel():
        raise UserError(f"{path} is damaged: module {key} has shapes {list(down.shape)} and {list(up.shape)}, "
                        "which do not fit each other.")
    alpha = float(roles["alpha"]) if "alpha" in roles else float(alphas(key) or len(down))
    if not (down.isfinite().all() and up.isfinite().all() and math.isfinite(alpha)):
        raise UserError(f"{path} is damaged: module {key} holds weights that are not numbers (NaN or infinity), "
                        "as a diverged training leaves them. Use an earlier checkpoint.")
    return Factors(down, up, alpha)
