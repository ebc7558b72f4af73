"""One name for a layer in every layout of its network, with its block and the block's role.

diffusers' names are the common ones. They are derived from LDM's and sgm's UNet blocks, and from the original blocks of
Flux, SD3, Lumina 2 and Z-Image, where one layer makes query, key and value (and more) that diffusers keeps apart. Roles
of blocks: B-LoRA, arXiv:2403.14572, for SDXL. None are published for other families.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from .names import CLIP_G, CLIP_L, DENOISER, OTHER_TEXT, T5, TRANSFORMER, UNET, UNET_WORDS, LayerName, flat

# -- UNets -------------------------------------------------------------------------------------------------------------

_LDM = ("input_blocks", "middle_block", "output_blocks")
_LDM_PATH = re.compile(r"(input_blocks|middle_block|output_blocks)\.(\d{1,6})\.(.*)")
_LDM_BLOCKS = {"input_blocks": "down_blocks", "output_blocks": "up_blocks"}
_LDM_RESNET = {
    "in_layers.2": "conv1", "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj", "skip_connection": "conv_shortcut",
}
_LDM_ENDS = {
    "input_blocks.0.0": "conv_in", "out.2": "conv_out", "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2", "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    # the host reads both of diffusers' names for one layer of SDXL
    "class_embedding.linear_1": "add_embedding.linear_1", "class_embedding.linear_2": "add_embedding.linear_2",
}
_KREA_ENDS = {
    "first": "img_in", "last.linear": "final_layer.linear", "tmlp.0": "time_embed.linear_1",
    "tmlp.2": "time_embed.linear_2", "tproj.1": "time_mod_proj", "txtmlp.1": "txt_in.linear_1",
    "txtmlp.3": "txt_in.linear_2",
}


def ldm_to_diffusers(path: str, layers_per_block: int) -> str | None:
    """diffusers' path of a module that the original UNet (LDM, sgm) calls `path`; None for other paths.

    The original numbers blocks through all levels. An input level has `layers_per_block` layers and the step down. An
    output level has one layer more, and its last layer includes the step up. kohya's SDXL LoRAs are named like this.
    """
    match = _LDM_PATH.fullmatch(path)
    if not match:
        return None
    side, number, rest = match[1], int(match[2]), match[3]
    if side == "middle_block":
        return f"mid_block.attentions.0.{rest}" if number == 1 else (
            f"mid_block.resnets.{number // 2}.{_LDM_RESNET.get(rest, rest)}")
    level, layer = divmod(number - (side == "input_blocks"), layers_per_block + 1)
    part, _, leaf = rest.partition(".")
    block = f"{_LDM_BLOCKS[side]}.{level}"
    if leaf in ("op", "conv"):
        return f"{block}.{'downsamplers' if leaf == 'op' else 'upsamplers'}.0.conv"
    if part == "0":
        return f"{block}.resnets.{layer}.{_LDM_RESNET.get(leaf, leaf)}"
    return f"{block}.attentions.{layer}.{leaf}"


def layers_per_block(paths: Iterable[str]) -> int:
    """The number of layers in each level of an LDM UNet, from its paths; 2, as in SD and SDXL, if they do not show it.

    Every (layers + 1)-th input block is the step down, which has neither attention nor a resnet.
    """
    found = [re.match(r"input_blocks\.(\d{1,6})\.\d+\.(.*)", path) for path in paths]
    numbers = {int(match[1]) for match in found if match and match[2] not in ("", "op") and match[1] != "0"}
    fitting = (layers for layers in (2, 1, 3) if all(number % (layers + 1) for number in numbers))
    return next(fitting, 2)


# -- transformers ------------------------------------------------------------------------------------------------------

_QKV, _ADDED = ("attn.to_q", "attn.to_k", "attn.to_v"), ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
_LUMINA = {
    "attention.qkv": ("attention.to_q", "attention.to_k", "attention.to_v"), "attention.out": ("attention.to_out.0",),
    "attention.q_norm": ("attention.norm_q",), "attention.k_norm": ("attention.norm_k",),
}
_ORIGINAL = {
    # original block → (diffusers' block, {layer: diffusers' layers in the order of its rows})
    "double_blocks": ("transformer_blocks", {
        "img_attn.qkv": _QKV, "txt_attn.qkv": _ADDED, "img_attn.proj": ("attn.to_out.0",),
        "txt_attn.proj": ("attn.to_add_out",), "img_mlp.0": ("ff.net.0.proj",), "img_mlp.2": ("ff.net.2",),
        "txt_mlp.0": ("ff_context.net.0.proj",), "txt_mlp.2": ("ff_context.net.2",), "img_mod.lin": ("norm1.linear",),
        "txt_mod.lin": ("norm1_context.linear",), "img_attn.norm.query_norm": ("attn.norm_q",),
        "img_attn.norm.key_norm": ("attn.norm_k",), "txt_attn.norm.query_norm": ("attn.norm_added_q",),
        "txt_attn.norm.key_norm": ("attn.norm_added_k",)}),
    "single_blocks": ("single_transformer_blocks", {
        "linear1": (*_QKV, "proj_mlp"), "linear1_qkv": _QKV, "linear2": ("proj_out",),
        "modulation.lin": ("norm.linear",), "norm.query_norm": ("attn.norm_q",), "norm.key_norm": ("attn.norm_k",)}),
    "joint_blocks": ("transformer_blocks", {
        "x_block.attn.qkv": _QKV, "context_block.attn.qkv": _ADDED, "x_block.attn.proj": ("attn.to_out.0",),
        "context_block.attn.proj": ("attn.to_add_out",), "x_block.mlp.fc1": ("ff.net.0.proj",),
        "x_block.mlp.fc2": ("ff.net.2",), "context_block.mlp.fc1": ("ff_context.net.0.proj",),
        "context_block.mlp.fc2": ("ff_context.net.2",), "x_block.adaLN_modulation.1": ("norm1.linear",),
        "context_block.adaLN_modulation.1": ("norm1_context.linear",), "x_block.attn2.proj": ("attn2.to_out.0",),
        "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v")}),
    # Lumina 2 and Z-Image: only their attention has a different name in diffusers
    "layers": ("layers", _LUMINA), "noise_refiner": ("noise_refiner", _LUMINA),
    "context_refiner": ("context_refiner", _LUMINA),
}
_FLUX2_LINEAR1 = ("attn.to_qkv_mlp_proj",)
_FLUX_ENDS = {
    "img_in": "x_embedder", "txt_in": "context_embedder", "final_layer.linear": "proj_out",
    **{f"{ours}.{side}_layer": f"time_text_embed.{theirs}.linear_{number}"
       for ours, theirs in (("time_in", "timestep_embedder"), ("vector_in", "text_embedder"),
                            ("guidance_in", "guidance_embedder"))
       for number, side in enumerate(("in", "out"), 1)},
}
_SD3_ENDS = {
    "x_embedder.proj": "pos_embed.proj", "final_layer.linear": "proj_out",
    **{f"{ours}.mlp.{2 * number - 2}": f"time_text_embed.{theirs}.linear_{number}"
       for ours, theirs in (("t_embedder", "timestep_embedder"), ("y_embedder", "text_embedder"))
       for number in (1, 2)},
}
_LUMINA_ENDS = {
    "x_embedder": "all_x_embedder.2-1", "final_layer.linear": "all_final_layer.2-1.linear",
    "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
}
_ENDS = {
    "double_blocks": _FLUX_ENDS, "single_blocks": _FLUX_ENDS, "joint_blocks": _SD3_ENDS,
    "noise_refiner": _LUMINA_ENDS, "context_refiner": _LUMINA_ENDS,
}
"""By a block of the original layout: diffusers' names of layers outside the blocks. Flux's and SD3's
`final_layer.adaLN_modulation.1` is left out, because diffusers swaps the halves of its `norm_out`."""
_SECOND_NAMES = (
    # names in newer diffusers (Flux 2) and LyCORIS that differ from older diffusers
    (re.compile(r"(transformer_blocks\.\d+\.ff(?:_context)?)\.linear_in$"), r"\1.net.0.proj"),
    (re.compile(r"(transformer_blocks\.\d+\.ff(?:_context)?)\.linear_out$"), r"\1.net.2"),
    (re.compile(r"(single_transformer_blocks\.\d+)\.attn\.to_out$"), r"\1.proj_out"),
    # Krea 2, of which the host knows the original names as well as diffusers'
    (re.compile(r"^blocks\.(\d+)\.(?=attn\.(?:w[qkvo]|gate)$|mlp\.(?:gate|up|down)$)"), r"transformer_blocks.\1."),
    (re.compile(r"^txtfusion\."), "text_fusion."),
    (re.compile(r"(blocks\.\d+)\.attn\.w([qkv])$"), r"\1.attn.to_\2"),
    (re.compile(r"(blocks\.\d+)\.attn\.wo$"), r"\1.attn.to_out.0"),
    (re.compile(r"(blocks\.\d+)\.attn\.gate$"), r"\1.attn.to_gate"),
    (re.compile(r"(blocks\.\d+)\.mlp\.(gate|up|down)$"), r"\1.ff.\2"),
    # diffusion-pipe's names of Hunyuan Video
    (re.compile(r"(double_blocks\.\d+\.(?:img|txt)_attn)_(qkv|proj)$"), r"\1.\2"),
    (re.compile(r"(double_blocks\.\d+\.(?:img|txt)_mlp)\.fc1$"), r"\1.0"),
    (re.compile(r"(double_blocks\.\d+\.(?:img|txt)_mlp)\.fc2$"), r"\1.2"),
    (re.compile(r"(individual_token_refiner\.blocks\.\d+\.mlp)\.fc1$"), r"\1.0"),
    (re.compile(r"(individual_token_refiner\.blocks\.\d+\.mlp)\.fc2$"), r"\1.2"),
    (re.compile(r"((?:double|single)_blocks\.\d+\.\w+)\.linear$"), r"\1.lin"),
)


def is_original(name: LayerName) -> bool:
    """Whether the layer's name is certainly not diffusers'."""
    first, _, layer = _parted(name.path)
    return name.part == DENOISER and (first in _LDM or first in _ORIGINAL and (
        first != _ORIGINAL[first][0] or layer in _ORIGINAL[first][1]))


def is_diffusers(name: LayerName) -> bool:
    """Whether the layer's name is certainly diffusers' one for a layer that has another as well."""
    first, _, layer = _parted(name.path)
    return name.part == DENOISER and (first in _DIFFUSERS or bool(_UNET_PATH.match(name.path)) or
                                      not is_original(name) and (first, layer) in _LEAVES)


_CLIP_PATH = re.compile(r"text_model\.encoder\.layers\.\d+\.(self_attn|mlp)\.\w+")
_T5_PATH = re.compile(r"encoder\.block\.\d+\..*")
_UNET_PATH = re.compile(r"((down_blocks|up_blocks)\.\d+|mid_block)\.(attentions|resnets|downsamplers|upsamplers)\.|"
                        r"(time_embedding|add_embedding|class_embedding)\.linear_[12]$|conv_(in|out)$")
_DIFFUSERS = ("transformer_blocks", "single_transformer_blocks", "time_text_embed", "norm_out", "proj_out",
              "all_x_embedder", "all_final_layer")
_LEAVES = {("single_transformer_blocks", *_FLUX2_LINEAR1)} | {
    (block, leaf) for block, table in _ORIGINAL.values() for leaves in table.values() for leaf in leaves}
"""(block, layer) in diffusers' names."""


def is_known(name: LayerName) -> bool:
    """Whether this is a layer of a network whose names are known in every layout, so that it can be renamed."""
    if name.part != DENOISER:
        pattern = {CLIP_L: _CLIP_PATH, CLIP_G: _CLIP_PATH, T5: _T5_PATH}.get(name.part)
        return bool(pattern and pattern.fullmatch(name.path))
    first, _, layer = _parted(name.path)
    return is_unet(name) or (first, layer) in _LEAVES or first in _ORIGINAL and layer in _ORIGINAL[first][1]


def is_unet(name: LayerName) -> bool:
    """Whether this is a layer of a UNet, in diffusers' layout or the original one."""
    path = name.path
    return name.part == DENOISER and not path.endswith((".weight", ".bias")) and bool(
        _UNET_PATH.match(path) or path.partition(".")[0] in _LDM or path in _LDM_ENDS)


def _parted(path: str) -> tuple[str, str, str]:
    """(block, its number, layer) of a path such as `double_blocks.3.img_attn.qkv`."""
    first, _, rest = path.partition(".")
    number, _, layer = rest.partition(".")
    return first, number, layer


def names_of_ends(names: Iterable[LayerName]) -> dict[str, str]:
    """Original name → diffusers' name for layers outside a network's blocks. The blocks show which network it is."""
    words = {_parted(name.path)[0] for name in names if name.part == DENOISER}
    return {ours: theirs for word in words & _ENDS.keys() for ours, theirs in _ENDS[word].items()}


def diffusers_names(
    name: LayerName, layers: int, *, split: bool = True, ends: Mapping[str, str] | None = None,
    shape: tuple[int, int] | None = None
) -> tuple[str, ...]:
    """diffusers' paths of a layer, each with its part in front; several if the layer corresponds to several in
    diffusers.

    Args:
        layers: see `layers_per_block`.
        split: False leaves layers that would become several, and all original names of transformers, unchanged.
        ends: see `names_of_ends`; without them, layers outside the blocks keep their names.
        shape: the layer's. Flux 2 has one layer where Flux 1 has four in diffusers.
    """
    if name.part != DENOISER:
        return (f"{name.part}.{name.path}",)
    path = _usual_path(name.path)
    first, number, layer = _parted(path)
    if split and layer and first in _ORIGINAL:
        block, table = _ORIGINAL[first]
        leaves = table.get(layer, (layer,))
        if len(leaves) == 4 and shape and shape[0] != 7 * shape[1]:
            leaves = _FLUX2_LINEAR1
        return tuple(f"{DENOISER}.{block}.{number}.{leaf}" for leaf in leaves)
    path = _LDM_ENDS.get(path) or (ldm_to_diffusers(path, layers) if first in _LDM else None) or path
    return (f"{DENOISER}.{ends.get(path, path) if split and ends else path}",)


def _usual_path(path: str) -> str:
    for second, usual in _SECOND_NAMES:
        path = second.sub(usual, path)
    return _KREA_ENDS.get(path, path)


def is_swapped(name: LayerName, shape: tuple[int, int]) -> bool:
    """Whether diffusers swaps the halves of a layer's rows: SD3's last block only scales and shifts its context."""
    return name.path.endswith("context_block.adaLN_modulation.1") and shape[0] == 2 * shape[1]


def row_counts(parts: int, rows: int, columns: int) -> tuple[int, ...]:
    """The number of rows of a fused layer that each of its parts has; `columns` is the width of its input, per pixel.

    Of three parts (query, key and value) each is a third, unless the query alone is as wide as the input (Lumina 2 has
    fewer keys and values). In Flux's linear1 each is as wide as its input, and the rest belongs to the feed-forward.
    """
    if parts > 3:
        return (columns,) * (parts - 1) + (rows - columns * (parts - 1),)
    if parts == 3 and columns < rows < 3 * columns:
        return (columns, (rows - columns) // 2, rows - columns - (rows - columns) // 2)
    return (rows // parts,) * (parts - 1) + (rows - rows // parts * (parts - 1),)


def text_names(names: Iterable[LayerName]) -> dict[str, str]:
    """Part and path → those with the encoder's name, for layers of the only text encoder besides CLIP and T5.

    The host's names for it have its name or not, kohya's never have.
    """
    names = [name for name in names if name.part in (CLIP_L, T5, OTHER_TEXT)]
    named = [_named_encoder(name.path) for name in names if name.part == OTHER_TEXT]
    encoders = {encoder for encoder, _ in named} - {""}
    if len(encoders) > 1:
        return {}
    prefix = f"{OTHER_TEXT}.{''.join(f'{encoder}.' for encoder in encoders)}transformer."
    t5 = any(encoder and path.startswith("encoder.") for encoder, path in named)
    inner = {f"{name.part}.{name.path}": _inner_path(name, t5) for name in names}
    return {name: f"{prefix}{path}" for name, path in inner.items() if path}


def _named_encoder(path: str) -> tuple[str, str]:
    """(the text encoder's name, the path inside it) of a path of OTHER_TEXT; the name is "" if it has none."""
    encoder, _, rest = path.partition("transformer.")
    return encoder.rstrip("."), rest


def _inner_path(name: LayerName, t5: bool) -> str:
    """The path inside the only other text encoder; "" if it may be CLIP's or the T5's own."""
    if name.part == OTHER_TEXT:
        return _named_encoder(name.path)[1]
    if name.part == T5:
        return name.path if t5 else ""
    return f"model.{name.path}" if name.path.startswith("layers.") else ""


def match_key(name: str) -> str:
    """A form of a layer's name that is the same in all files, whatever became of the dots."""
    return flat(name)


def diffusers_key(name: str) -> str:
    """The key in `LoraWeights.modules` of a layer that `diffusers_names` has renamed."""
    part, _, path = name.partition(".")
    if part != DENOISER:
        return name
    unet = path.partition(".")[0] in UNET_WORDS
    return f"{UNET if unet else TRANSFORMER}.{path}"


# -- blocks ------------------------------------------------------------------------------------------------------------

_BLOCK = re.compile(r"(?:down_blocks|up_blocks)\.\d+\.\w+\.\d+|mid_block\.\w+\.\d+|[a-z_]+(?:\.[a-z_]+)*?\.\d+")

CONTENT, STYLE, OTHER = "content", "style", "other"
ROLES = {"sdxl": {"up_blocks.0.attentions.0": CONTENT, "up_blocks.0.attentions.1": STYLE}}
"""Architecture → block → role; all other blocks are OTHER."""


def block_of(name: str) -> str:
    """The block of a layer from `diffusers_names`, such as `up_blocks.0.attentions.1`; a text encoder is one block."""
    part, _, path = name.partition(".")
    if part != DENOISER:
        return part
    match = _BLOCK.match(path)
    return match[0] if match else path.partition(".")[0]


def block_order(block: str) -> tuple:
    """A sort key that orders blocks as data runs through the network, text encoders first."""
    places = ("text_encoder", "conv_in", "down_blocks", "mid_block", "up_blocks", "transformer_blocks")
    place = next((index for index, word in enumerate(places) if block.startswith(word)), len(places))
    return place, [text.zfill(6) if text.isdigit() else text for text in re.split(r"(\d+)", block)]


def architecture(names: Iterable[str], metadata: Iterable[Mapping[str, str]]) -> str:
    """A key of ROLES if the names from `diffusers_names` or the files' metadata show one, else ""."""
    told = " ".join(values.get(key, "") for values in metadata
                    for key in ("ss_base_model_version", "modelspec.architecture", "lora_bootstrap.family")).lower()
    deep = any("up_blocks.0.attentions" in name and "transformer_blocks.9." in name for name in names)
    return "sdxl" if deep or "sdxl" in told or "stable-diffusion-xl" in told else ""
