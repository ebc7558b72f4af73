"""Module paths as LoRA files spell them: kohya's underscores back to dots, and LDM's blocks to diffusers'."""

from __future__ import annotations

import re

_JOINED = sorted(
    """
    down_blocks mid_block up_blocks transformer_blocks single_transformer_blocks motion_modules
    to_q to_k to_v to_out to_qkv to_add_out add_q_proj add_k_proj add_v_proj proj_in proj_out proj_mlp
    ff_context time_emb_proj conv_in conv_out conv_shortcut conv_norm_out time_embedding add_embedding linear_1 linear_2
    text_model self_attn q_proj k_proj v_proj o_proj out_proj text_projection visual_projection
    input_blocks middle_block output_blocks in_layers out_layers emb_layers skip_connection time_embed label_emb
    double_blocks single_blocks joint_blocks img_attn txt_attn img_mlp txt_mlp img_mod txt_mod
    x_block context_block x_embedder t_embedder y_embedder context_embedder pos_embed final_layer norm_out
    noise_refiner context_refiner feed_forward adaLN_modulation cross_attn k_img v_img gate_proj up_proj down_proj
    """.split(),
    key=len, reverse=True,
)
_WORD = re.compile("(" + "|".join(_JOINED) + r"|[^_]+)(?:_|$)")
_ORIGINAL = re.compile(r"(input_blocks|middle_block|output_blocks|double_blocks|single_blocks|joint_blocks)\.")


def flat(path: str) -> str:
    """The path as kohya writes it."""
    return path.replace(".", "_")


def dotted(part: str, path: str) -> str:
    """The dotted key of a path that kohya flattened, by the field's known names of more than one word.

    Paths in a model's original layout (LDM, Flux) come under `diffusion_model.`, all others under `part`.
    """
    words = ".".join(_WORD.findall(path))
    return f"diffusion_model.{words}" if part == "unet" and _ORIGINAL.match(words) else f"{part}.{words}"


def with_text_model(path: str) -> str:
    """A CLIP module's path with the `text_model.` that files have, and newer transformers leave out."""
    return f"text_model.{path}" if path.startswith(("encoder.", "embeddings.", "final_layer_norm")) else path


_LDM = re.compile(r"(input_blocks|middle_block|output_blocks)\.(\d+)\.(.*)")
_LDM_BLOCKS = {"input_blocks": "down_blocks", "output_blocks": "up_blocks"}
_LDM_RESNET = {
    "in_layers.2": "conv1", "out_layers.3": "conv2",
    "emb_layers.1": "time_emb_proj", "skip_connection": "conv_shortcut",
}


def ldm_to_diffusers(path: str, layers_per_block: int) -> str | None:
    """diffusers' path of a module that the original UNet (LDM, sgm) calls `path`; None for other paths.

    The original counts through all levels: an input level has `layers_per_block` layers and the step down, an output
    level one layer more, its last with the step up in it. kohya's SDXL LoRAs are named like this.
    """
    match = _LDM.fullmatch(path)
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
