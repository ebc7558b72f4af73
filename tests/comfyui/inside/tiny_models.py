"""Tiny networks of every family, of the host's own classes with random weights, with a CLIP and a VAE to fit."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import comfy.latent_formats
import comfy.model_patcher
import comfy.supported_models as supported
import torch
from PIL import Image
from torch import nn

from lora_bootstrap.host.backbone.model import HostBackbone
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples

CPU = torch.device("cpu")
CAPTIONS = ("red, on the left", "green disc", "a blue disc, in the middle of it all")
UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "num_res_blocks": [1, 1], "channel_mult": [1, 2],
    "transformer_depth": [1, 1], "transformer_depth_output": [1, 1, 1, 1], "transformer_depth_middle": 1,
    "use_spatial_transformer": True, "legacy": False, "use_temporal_attention": False,
}
LUMINA = {
    "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "n_layers": 2, "n_refiner_layers": 1,
    "qk_norm": True, "dim": 256, "n_heads": 8, "n_kv_heads": 1, "axes_dims": [8, 12, 12], "axes_lens": [300, 512, 512],
    "rope_theta": 10000.0, "ffn_dim_multiplier": 4.0,
}
FLUX2 = {
    "image_model": "flux2", "in_channels": 128, "patch_size": 1, "out_channels": 128, "vec_in_dim": None,
    "mlp_ratio": 3.0, "depth": 1, "depth_single_blocks": 1, "axes_dim": [16, 16, 16, 16], "theta": 2000,
    "qkv_bias": False, "txt_ids_dims": [3], "global_modulation": True, "mlp_silu_act": True, "ops_bias": False,
}


@dataclass(frozen=True)
class Tiny:
    """How a tiny model of a family is built.

    Attributes:
        config: class in the host's supported_models.
        settings: what its network is built with.
        width, pooled: sizes of its conditioning; `pooled` 0 for none.
        tokens: every caption's length, or 0: as long as the caption is.
        mask: whether captions come with an attention mask.
        adds: what else the host's encoder gives for a caption of so many words.
        adapter: width of Anima's adapter for the text; 0 for the host's own size.
    """

    config: str
    settings: dict
    width: int
    pooled: int = 0
    tokens: int = 0
    mask: bool = False
    adds: Callable[[int], dict] = lambda words: {}
    adapter: int = 0


def t5_tokens(words: int) -> dict:
    """What comfy/text_encoders/anima.py adds for a caption of so many words: one token each and the end."""
    return {"t5xxl_ids": torch.arange(2, words + 3, dtype=torch.int), "t5xxl_weights": torch.ones(words + 1)}


def llama_layers(words: int) -> dict:
    """What comfy/text_encoders/hidream.py adds: the states of its language model's layers."""
    generator = torch.Generator().manual_seed(words)
    return {"conditioning_llama3": torch.randn(1, 2, words + 1, 64, generator=generator)}


FAMILIES = {
    "sd15": Tiny("SD15", {**UNET, "model_channels": 32, "context_dim": 768, "use_linear_in_transformer": False,
                          "adm_in_channels": None, "num_heads": 8, "num_head_channels": -1}, 768, tokens=77),
    "sdxl": Tiny("SDXL", {**UNET, "model_channels": 64, "context_dim": 2048, "use_linear_in_transformer": True,
                          "adm_in_channels": 2816, "num_classes": "sequential", "num_heads": -1,
                          "num_head_channels": 64}, 2048, pooled=1280, tokens=77),
    "sd3": Tiny("SD3", {
        "in_channels": 16, "patch_size": 2, "out_channels": 16, "depth": 2, "input_size": None,
        "adm_in_channels": 2048, "num_patches": 36, "pos_embed_max_size": 6, "pos_embed_scaling_factor": None,
        "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 128}},
        "x_block_self_attn_layers": []}, 4096, pooled=2048),
    "flux": Tiny("Flux", {
        "image_model": "flux", "in_channels": 16, "patch_size": 2, "out_channels": 16, "vec_in_dim": 64,
        "context_in_dim": 128, "hidden_size": 128, "mlp_ratio": 4.0, "num_heads": 2, "depth": 1,
        "depth_single_blocks": 1, "axes_dim": [8, 28, 28], "theta": 10000, "qkv_bias": True, "guidance_embed": True,
        "txt_ids_dims": []}, 128, pooled=64),
    "chroma": Tiny("Chroma", {
        "image_model": "chroma", "in_channels": 64, "out_channels": 64, "patch_size": 2, "context_in_dim": 128,
        "hidden_size": 128, "mlp_ratio": 4.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1,
        "axes_dim": [8, 28, 28], "theta": 10000, "qkv_bias": True, "in_dim": 64, "out_dim": 128, "hidden_dim": 64,
        "n_layers": 1, "txt_ids_dims": [], "vec_in_dim": None}, 128),
    "lumina2": Tiny("Lumina2", {**LUMINA, "cap_feat_dim": 96}, 96, mask=True),
    "z_image": Tiny("ZImage", {**LUMINA, "cap_feat_dim": 96, "n_kv_heads": 8, "z_image_modulation": True,
                               "time_scale": 1000.0, "pad_tokens_multiple": 32}, 96, mask=True),
    "qwen_image": Tiny("QwenImage", {
        "image_model": "qwen_image", "in_channels": 64, "num_layers": 2, "attention_head_dim": 128,
        "num_attention_heads": 1, "joint_attention_dim": 96}, 96, mask=True),
    "qwen_image_edit": Tiny("QwenImage", {
        "image_model": "qwen_image", "in_channels": 64, "num_layers": 2, "attention_head_dim": 128,
        "num_attention_heads": 1, "joint_attention_dim": 96, "default_ref_method": "index_timestep_zero"}, 96),
    "anima": Tiny("Anima", {
        "image_model": "anima", "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16,
        "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1, "model_channels": 128,
        "concat_padding_mask": True, "crossattn_emb_channels": 64, "pos_emb_cls": "rope3d",
        "pos_emb_learnable": True, "pos_emb_interpolation": "crop", "min_fps": 1, "max_fps": 30,
        "use_adaln_lora": True, "adaln_lora_dim": 32, "num_blocks": 2, "num_heads": 2,
        "extra_per_block_abs_pos_emb": False, "rope_h_extrapolation_ratio": 4.0, "rope_w_extrapolation_ratio": 4.0,
        "rope_t_extrapolation_ratio": 1.0, "rope_enable_fps_modulation": False}, 64, adds=t5_tokens,
        adapter=64),
    "krea2": Tiny("Krea2", {
        "image_model": "krea2", "features": 128, "tdim": 64, "txtdim": 64, "heads": 2, "kvheads": 1, "layers": 2,
        "txtlayers": 3, "txtheads": 2, "txtkvheads": 2, "channels": 16}, 192),
    "flux2": Tiny("Flux2", {
        **FLUX2, "context_in_dim": 128, "hidden_size": 64, "num_heads": 1, "guidance_embed": True}, 128, mask=True),
    "flux2_klein": Tiny("Flux2", {
        **FLUX2, "context_in_dim": 96, "hidden_size": 64, "num_heads": 1, "guidance_embed": False}, 96, mask=True),
    "wan": Tiny("WAN21_T2V", {
        "image_model": "wan2.1", "model_type": "t2v", "dim": 128, "ffn_dim": 256, "num_heads": 2, "num_layers": 2,
        "patch_size": (1, 2, 2), "freq_dim": 64, "window_size": (-1, -1), "qk_norm": True, "cross_attn_norm": True,
        "eps": 1e-6, "in_dim": 16, "out_dim": 16, "text_dim": 96, "text_len": 32}, 96),
}
MISSING = tuple(name for name, tiny in FAMILIES.items() if not hasattr(supported, tiny.config))
"""Families that this host does not have yet."""
for missing in MISSING:
    del FAMILIES[missing]


def make_model(name: str | Tiny, dtype: torch.dtype = torch.float32, cast: torch.dtype | None = None, seed: int = 0,
               operations: type | None = None, weights: dict[str, torch.Tensor] | None = None):
    """The MODEL of a family, one of FAMILIES or another. With `cast`, its weights of `dtype` are cast to that as they
    are used.

    `operations` are the host's layer classes, `weights` the network's if they are not to be random.
    """
    tiny = FAMILIES[name] if isinstance(name, str) else name
    settings = dict(tiny.settings)
    if cast is not None or dtype != torch.float32:
        settings["dtype"] = dtype
    config = getattr(supported, tiny.config)(settings)
    config.unet_config = settings  # without what detection would add
    config.set_inference_dtype(dtype, cast)
    config.custom_operations = operations
    with narrow_adapter(tiny.adapter):
        model = config.get_model({}, "", device=CPU)
    if weights is None:
        set_weights(model.diffusion_model, seed)
    else:
        model.load_model_weights(dict(weights), "")
    return comfy.model_patcher.ModelPatcher(model, CPU, CPU)


@contextlib.contextmanager
def narrow_adapter(width: int):
    """With Anima's adapter for the text of this width, which its settings do not tell."""
    if not width:
        yield
        return
    import comfy.ldm.anima.model as anima

    whole = anima.LLMAdapter
    anima.LLMAdapter = partial(whole, source_dim=width, target_dim=width, model_dim=width, num_layers=1, num_heads=2)
    try:
        yield
    finally:
        anima.LLMAdapter = whole


@torch.no_grad()
def set_weights(network: nn.Module, seed: int = 0) -> None:
    named = [*network.named_parameters(), *network.named_buffers()]
    noise = iter(_make_noise(seed, tuple(parameter.shape for _, parameter in named if parameter.ndim > 1)))
    for name, parameter in named:
        if parameter.ndim > 1:
            parameter.copy_(next(noise))
        else:
            parameter.fill_(1.0 if name.endswith(("weight", "scale")) else 0.0)


@lru_cache(maxsize=20)
def _make_noise(seed: int, shapes: tuple[torch.Size, ...]) -> list[torch.Tensor]:
    """Kept, as drawing numbers is most of what making a model takes."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) * 0.05 for shape in shapes]


class TextModel(nn.Module):
    """Stands for a text encoder: a caption's words are random vectors that depend on the words alone."""

    def __init__(self, tiny: Tiny) -> None:
        super().__init__()
        self.tiny, self.scale = tiny, nn.Parameter(torch.ones(1), requires_grad=False)

    def encode(self, caption: str) -> dict:
        words = caption.split() or [""]
        rows = torch.stack([self._vector(word, self.tiny.width) for word in words])
        length = self.tiny.tokens * -(-len(words) // self.tiny.tokens) if self.tiny.tokens else len(words)
        rows = torch.cat([rows, self._vector("", self.tiny.width).expand(length - len(words), -1)])
        made = {"cond": rows[None], "pooled_output": None}
        if self.tiny.pooled:
            made["pooled_output"] = self._vector(caption, self.tiny.pooled)[None]
        if self.tiny.mask:
            made["attention_mask"] = torch.ones(1, length, dtype=torch.long)
        return {**made, **self.tiny.adds(len(caption.split()))}

    def _vector(self, word: str, width: int) -> torch.Tensor:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        return torch.randn(width, generator=torch.Generator().manual_seed(seed)) * self.scale


class TinyClip:
    """What HostBackbone asks of a CLIP."""

    def __init__(self, tiny: Tiny) -> None:
        self.cond_stage_model = TextModel(tiny)
        self.patcher = comfy.model_patcher.ModelPatcher(self.cond_stage_model, CPU, CPU)
        self.layer_idx, self.tokenizer_options = None, {}

    def tokenize(self, text: str, return_word_ids: bool = False) -> dict:
        return {"tiny": [[(word, 1.0, number) for number, word in enumerate(text.split(), 1)]], "text": []}

    def encode_from_tokens(self, tokens: dict, return_pooled: bool = False, return_dict: bool = False) -> dict:
        return self.cond_stage_model.encode(" ".join(word for word, *_ in tokens["tiny"][0]))

    def encode_from_tokens_scheduled(self, tokens: dict) -> list:
        made = self.encode_from_tokens(tokens, return_pooled=True, return_dict=True)
        return [[made.pop("cond"), made]]

    def clone(self):
        return self

    def add_patches(self, patches, *strengths):
        return []


class TinyVae:
    """What HostBackbone asks of a VAE: eight pixels a side to one latent, coarse but invertible in colour."""

    def __init__(self, channels: int, frames: bool = False, scale: int = 8) -> None:
        self.colours = torch.randn(3, channels, generator=torch.Generator().manual_seed(1)) / 2
        self.frames, self.scale = frames, scale

    def spacial_compression_encode(self) -> int:
        return self.scale

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        small = nn.functional.avg_pool2d(pixels.movedim(-1, 1) * 2 - 1, self.scale)
        latents = torch.einsum("bkhw,kc->bchw", small, self.colours)
        return latents.unsqueeze(2) if self.frames else latents

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        latents = latents[:, :, 0] if latents.ndim == 5 else latents
        small = torch.einsum("bchw,ck->bkhw", latents, torch.linalg.pinv(self.colours))
        pixels = nn.functional.interpolate(small, scale_factor=self.scale).movedim(1, -1) / 2 + 0.5
        return pixels.unsqueeze(1) if self.frames else pixels


def make_parts(name: str, **settings):
    """(MODEL, CLIP, VAE) of a family, with inference tensors for weights, as a loader node of the host leaves them."""
    with torch.inference_mode():
        model = make_model(name, **settings)
    latents = model.model.latent_format
    return model, TinyClip(FAMILIES[name]), TinyVae(latents.latent_channels, latents.latent_dimensions == 3)


def make_backbone(name: str, **settings) -> HostBackbone:
    """A backbone of a family, for pictures as small as 32 px."""
    backbone = HostBackbone(*make_parts(name, **settings))
    backbone.family = replace(backbone.family, bucket_step=16)
    return backbone


def make_dataset(folder, captions=CAPTIONS, size=(64, 64)):
    """Pictures of noise, one for each caption."""
    rng = random.Random(0)
    save_samples(folder, [(Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1])), caption,
                           {"name": f"picture{number}"}) for number, caption in enumerate(captions)])
    return load_folder(folder)
