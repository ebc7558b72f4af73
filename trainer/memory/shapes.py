"""Networks at their published sizes, as data: the class of diffusers, and what it is built with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..models.families import FAMILIES, UNET_BLOCKS, Family, get_family


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A base network at its published size.

    Attributes:
        kind: its class in diffusers.
        settings: what it is built with where the class's own defaults, which are a published model's, differ.
        family: a name in models.families; presets come from there.
        blocks: its lists of blocks, by diffusers' names.
        tokens, width: of the text that it reads; `pooled` of the summary beside it.
        encoders, vae: parameters of the text encoders and of the VAE.
        source: where `settings` and the numbers of parameters come from.
    """

    name: str
    title: str
    kind: str
    family: str
    tokens: int
    width: int
    source: str
    pooled: int = 0
    blocks: tuple[str, ...] = ("transformer_blocks", "single_transformer_blocks")
    channels: int = 16
    pixels: int = 8
    settings: Mapping[str, Any] = field(default_factory=dict)
    encoders: int = 0
    vae: int = 84_000_000


_HUB = "https://huggingface.co/"

SHAPES = {
    shape.name: shape
    for shape in (
        Shape(name="sd15", title="Stable Diffusion 1.5", kind="UNet2DConditionModel",
              family="sd15", tokens=77, width=768, blocks=UNET_BLOCKS, channels=4, encoders=123_000_000,
              settings={"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
              source=_HUB + "stable-diffusion-v1-5/stable-diffusion-v1-5/blob/main/unet/config.json"),
        Shape(name="sdxl", title="Stable Diffusion XL", kind="UNet2DConditionModel",
              family="sdxl", tokens=77, width=2048, pooled=1280, blocks=UNET_BLOCKS, channels=4, encoders=818_000_000,
              settings={
                  "sample_size": 128, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D",
                                                           "CrossAttnDownBlock2D"),
                  "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                  "block_out_channels": (320, 640, 1280), "cross_attention_dim": 2048,
                  "transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20),
                  "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
                  "projection_class_embeddings_input_dim": 2816, "use_linear_projection": True},
              source=_HUB + "stabilityai/stable-diffusion-xl-base-1.0/blob/main/unet/config.json"),
        Shape(name="sd35_medium", title="Stable Diffusion 3.5 Medium", kind="SD3Transformer2DModel",
              family="sd3", tokens=154, width=4096, pooled=2048, encoders=5_580_000_000,
              settings={
                  "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536,
                  "pos_embed_max_size": 384, "dual_attention_layers": tuple(range(13)), "qk_norm": "rms_norm"},
              source=_HUB + "stabilityai/stable-diffusion-3.5-medium/blob/main/transformer/config.json"),
        Shape(name="sd35_large", title="Stable Diffusion 3.5 Large", kind="SD3Transformer2DModel",
              family="sd3", tokens=154, width=4096, pooled=2048, encoders=5_580_000_000,
              settings={
                  "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432,
                  "pos_embed_max_size": 192, "qk_norm": "rms_norm"},
              source=_HUB + "stabilityai/stable-diffusion-3.5-large/blob/main/transformer/config.json"),
        Shape(name="flux", title="Flux.1 dev", kind="FluxTransformer2DModel", family="flux",
              tokens=256, width=4096, pooled=768, encoders=4_890_000_000, settings={"guidance_embeds": True},
              source=_HUB + "black-forest-labs/FLUX.1-dev/blob/main/transformer/config.json"),
        Shape(name="flux2_dev", title="Flux.2 dev", kind="Flux2Transformer2DModel",
              family="flux2", tokens=512, width=15360, channels=128, pixels=16, encoders=24_000_000_000,
              source=_HUB + "black-forest-labs/FLUX.2-dev/blob/main/transformer/config.json"),
        Shape(name="flux2_klein_4b", title="Flux.2 Klein 4B", kind="Flux2Transformer2DModel",
              family="flux2_klein", tokens=512, width=7680, channels=128, pixels=16, encoders=4_000_000_000,
              settings={"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24,
                        "joint_attention_dim": 7680, "guidance_embeds": False},
              source=_HUB + "black-forest-labs/FLUX.2-klein-4B/blob/main/transformer/config.json"),
        Shape(name="flux2_klein_9b", title="Flux.2 Klein 9B", kind="Flux2Transformer2DModel",
              family="flux2_klein", tokens=512, width=12288, channels=128, pixels=16, encoders=8_200_000_000,
              settings={"num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32,
                        "joint_attention_dim": 12288, "guidance_embeds": False},
              source=_HUB + "black-forest-labs/FLUX.2-klein-9B/blob/main/transformer/config.json"),
        Shape(name="qwen_image", title="Qwen-Image", kind="QwenImageTransformer2DModel",
              family="qwen_image", tokens=128, width=3584, encoders=8_290_000_000, vae=127_000_000,
              source=_HUB + "Qwen/Qwen-Image/blob/main/transformer/config.json"),
        Shape(name="z_image", title="Z-Image", kind="ZImageTransformer2DModel",
              family="z_image", tokens=128, width=2560, encoders=4_020_000_000,
              blocks=("layers", "context_refiner", "noise_refiner"),
              source=_HUB + "Tongyi-MAI/Z-Image-Turbo/blob/main/transformer/config.json"),
        Shape(name="lumina2", title="Lumina 2", kind="Lumina2Transformer2DModel",
              family="lumina2", tokens=128, width=2304, encoders=2_610_000_000,
              blocks=("layers", "context_refiner", "noise_refiner"), settings={"cap_feat_dim": 2304},
              source=_HUB + "Alpha-VLLM/Lumina-Image-2.0/blob/main/transformer/config.json"),
        Shape(name="chroma", title="Chroma", kind="ChromaTransformer2DModel", family="chroma",
              tokens=256, width=4096, encoders=4_760_000_000,
              source=_HUB + "lodestones/Chroma1-HD/blob/main/transformer/config.json"),
        Shape(name="krea2", title="Krea 2", kind="Krea2Transformer2DModel", family="krea2",
              tokens=128, width=2560, encoders=4_440_000_000, vae=127_000_000,
              source=_HUB + "krea/Krea-2-Raw/blob/main/transformer/config.json"),
    )
}


def shape_family(shape: Shape) -> Family:
    """The family's row; a flow model's defaults where there is none."""
    row = FAMILIES.get(shape.family)
    return row or replace(get_family("flux"), name=shape.family, title=shape.title, latent_channels=shape.channels)
