"""One name for a layer whatever a LoRA file calls it, and the block and role it has in the network.

Names meet as diffusers has them: kohya's underscores, LDM's and sgm's UNet blocks, and the original blocks of Flux and
SD3, where one layer makes query, key and value (and more) that diffusers keeps apart. Roles of blocks: B-LoRA,
arXiv:2403.14572, for SDXL; nobody has published any for other families.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .key_names import dotted, flat, ldm_to_diffusers, with_text_model

DENOISER = "denoiser"
PARTS = (DENOISER, "text_encoder", "text_encoder_2", "text_encoder_3")
_FLAT = {
    # kohya, OneTrainer, LyCORIS; the first that fits counts
    "lora_unet_": DENOISER, "lora_transformer_": DENOISER, "lycoris_": DENOISER, "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2", "lora_te3_": "text_encoder_3",
}
_DOTTED = {
    "model.diffusion_model.": DENOISER, "diffusion_model.": DENOISER, "unet.": DENOISER, "transformer.": DENOISER,
    "text_encoders.clip_l.transformer.": "text_encoder", "text_encoders.clip_g.transformer.": "text_encoder_2",
    "text_encoders.t5xxl.transformer.": "text_encoder_3", "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2", "text_encoder_3.": "text_encoder_3", "text_model.": "text_encoder",
}
_WRAPPERS = "base_model.model."
_UNET = ("down_blocks", "mid_block", "up_blocks", "conv_in", "conv_out", "time_embedding", "add_embedding")
_LDM = ("input_blocks", "middle_block", "output_blocks")
_DIFFUSERS_DIT = ("transformer_blocks", "single_transformer_blocks")
_BARE = re.compile(r"(double_blocks|single_blocks|joint_blocks|blocks|layers|" + "|".join(
    (*_UNET[:3], *_LDM, *_DIFFUSERS_DIT)) + r")\.")
_PROCESSOR = re.compile(r"\.processor\.(to_[qkv]|to_out)$")

_LDM_ENDS = {
    "input_blocks.0.0": "conv_in", "out.2": "conv_out", "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2", "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
}
_QKV, _ADDED = ("attn.to_q", "attn.to_k", "attn.to_v"), ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
_ORIGINAL = {
    # original block → (diffusers' block, {layer: diffusers' layers in the order of its rows})
    "double_blocks": ("transformer_blocks", {
        "img_attn.qkv": _QKV, "txt_attn.qkv": _ADDED, "img_attn.proj": ("attn.to_out.0",),
        "txt_attn.proj": ("attn.to_add_out",), "img_mlp.0": ("ff.net.0.proj",), "img_mlp.2": ("ff.net.2",),
        "txt_mlp.0": ("ff_context.net.0.proj",), "txt_mlp.2": ("ff_context.net.2",), "img_mod.lin": ("norm1.linear",),
        "txt_mod.lin": ("norm1_context.linear",)}),
    "single_blocks": ("single_transformer_blocks", {
        "linear1": (*_QKV, "proj_mlp"), "linear2": ("proj_out",), "modulation.lin": ("norm.linear",)}),
    "joint_blocks": ("transformer_blocks", {
        "x_block.attn.qkv": _QKV, "context_block.attn.qkv": _ADDED, "x_block.attn.proj": ("attn.to_out.0",),
        "context_block.attn.proj": ("attn.to_add_out",), "x_block.mlp.fc1": ("ff.net.0.proj",),
        "x_block.mlp.fc2": ("ff.net.2",), "context_block.mlp.fc1": ("ff_context.net.0.proj",),
        "context_block.mlp.fc2": ("ff_context.net.2",), "x_block.adaLN_modulation.1": ("norm1.linear",),
        "context_block.adaLN_modulation.1": ("norm1_context.linear",), "x_block.attn2.proj": ("attn2.to_out.0",),
        "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v")}),
}
_BLOCK = re.compile(r"(?:down_blocks|up_blocks)\.\d+\.\w+\.\d+|mid_block\.\w+\.\d+|[a-z_]+(?:\.[a-z_]+)*?\.\d+")

CONTENT, STYLE, OTHER = "content", "style", "other"
ROLES = {"sdxl": {"up_blocks.0.attentions.0": CONTENT, "up_blocks.0.attentions.1": STYLE}}
"""By architecture: the role of a block; all others are OTHER."""


@dataclass(frozen=True)
class LayerName:
    """A layer as a file names it: `path` in the part's own network, with dots.

    Attributes:
        part: one of PARTS.
        word: the first word of its key in `LoraWeights.modules`.
    """

    part: str
    path: str
    word: str

    @property
    def key(self) -> str:
        return f"{self.word}.{self.path}"

    @property
    def original(self) -> bool:
        """Whether the layout is not diffusers'."""
        return self.part == DENOISER and self.path.partition(".")[0] in (*_LDM, *_ORIGINAL)


def layer_name(module: str) -> LayerName | None:
    """The layer that a LoRA file calls `module`, its key without the ending; None if it is no known network's."""
    while module.startswith(_WRAPPERS):
        module = module.removeprefix(_WRAPPERS)
    for prefix, part in _FLAT.items():
        if module.startswith(prefix):
            word = "unet" if part == DENOISER else part
            word, _, path = dotted(word, module.removeprefix(prefix)).partition(".")
            return _layer(part, path, word)
    for prefix, part in _DOTTED.items():
        if module.startswith(prefix):
            path = module if prefix == "text_model." else module.removeprefix(prefix)
            word = part if part != DENOISER else prefix.rstrip(".").rpartition(".")[2]
            return _layer(part, path, word)
    if not _BARE.match(module):
        return None
    return _layer(DENOISER, module, _word(module))


def _layer(part: str, path: str, word: str) -> LayerName:
    if part != DENOISER:
        return LayerName(part, with_text_model(path), word)
    path = re.sub(r"\.to_out$", ".to_out.0", _PROCESSOR.sub(r".\1", path))
    return LayerName(part, path, word)


def _word(path: str) -> str:
    first = path.partition(".")[0]
    return "unet" if first in _UNET else "transformer" if first in _DIFFUSERS_DIT else "diffusion_model"


def layers_per_block(paths: Iterable[str]) -> int:
    """How many layers each level of an LDM UNet has, told by its paths; 2, as SD and SDXL, if they do not tell.

    Every (layers + 1)-th input block is the step down, which has neither attention nor a resnet.
    """
    found = [re.match(r"input_blocks\.(\d+)\.\d+\.(.*)", path) for path in paths]
    numbers = {int(match[1]) for match in found if match and match[2] not in ("", "op") and match[1] != "0"}
    fitting = (layers for layers in (2, 1, 3) if all(number % (layers + 1) for number in numbers))
    return next(fitting, 2)


def diffusers_names(name: LayerName, layers: int, *, split: bool = True) -> tuple[str, ...]:
    """diffusers' paths of a layer, each with its part in front; several if it is one layer there for several here.

    Args:
        layers: see `layers_per_block`.
        split: False leaves layers that would be several, and all of Flux's and SD3's, as they are.
    """
    if name.part != DENOISER:
        return (f"{name.part}.{name.path}",)
    first, _, rest = name.path.partition(".")
    paths: tuple[str, ...] = (_LDM_ENDS.get(name.path) or (
        ldm_to_diffusers(name.path, layers) if first in _LDM else None) or name.path,)
    if split and first in _ORIGINAL:
        block, table = _ORIGINAL[first]
        number, _, layer = rest.partition(".")
        paths = tuple(f"{block}.{number}.{leaf}" for leaf in table.get(layer, (layer,)))
    return tuple(f"{name.part}.{path}" for path in paths)


def row_counts(parts: int, rows: int, columns: int) -> tuple[int, ...]:
    """How many of a fused layer's rows each of its parts has; columns is what it takes in, per pixel.

    Query, key and value are thirds; Flux's linear1 has them as wide as its input, and the rest is the feed-forward's.
    """
    if parts < 4:
        return (rows // parts,) * (parts - 1) + (rows - rows // parts * (parts - 1),)
    return (columns,) * (parts - 1) + (rows - columns * (parts - 1),)


def match_key(name: str) -> str:
    """What two files' names of one layer have in common, whatever became of their dots."""
    return flat(name)


def lora_key(name: str) -> str:
    """The key in `LoraWeights.modules` of a layer by its name from `diffusers_names`."""
    part, _, path = name.partition(".")
    return f"{_word(path)}.{path}" if part == DENOISER else name


def block_of(name: str) -> str:
    """The block of a layer from `diffusers_names`, such as `up_blocks.0.attentions.1`; a text encoder is one block."""
    part, _, path = name.partition(".")
    if part != DENOISER:
        return part
    match = _BLOCK.match(path)
    return match[0] if match else path.partition(".")[0]


def block_order(block: str) -> tuple:
    """Sorts blocks as data runs through the network, text encoders first."""
    places = ("text_encoder", "conv_in", "down_blocks", "mid_block", "up_blocks", "transformer_blocks")
    place = next((index for index, word in enumerate(places) if block.startswith(word)), len(places))
    return place, [int(text) if text.isdigit() else text for text in re.split(r"(\d+)", block)]


def architecture(names: Iterable[str], metadata: Iterable[Mapping[str, str]]) -> str:
    """A key of ROLES if the names from `diffusers_names` or the files' metadata tell one; else ""."""
    told = " ".join(values.get(key, "") for values in metadata
                    for key in ("ss_base_model_version", "modelspec.architecture", "lora_bootstrap.family")).lower()
    deep = any("up_blocks.0.attentions" in name and "transformer_blocks.9." in name for name in names)
    return "sdxl" if deep or "sdxl" in told or "stable-diffusion-xl" in told else ""
