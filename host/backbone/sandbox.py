"""The sandbox base model in ComfyUI's own classes, equal to the diffusers pipeline in `base/`.

The host detects models by their shape and knows none this small, so their configuration is built by hand here, from the
folder's config files. Everything after that (casting, placement, sampling, LoRA loading) is the host's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import comfy.diffusers_convert
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.sd1_clip
import comfy.supported_models
import comfy.supported_models_base
import comfy.utils
import folder_paths
import torch
from torch import Tensor

from ...sandbox import BASE_DIR
from ...trainer.lora.names import with_text_model

DTYPE = torch.float32
"""As without ComfyUI (`trainer/backends/diffusers.py`): at 7 M parameters, half precision would save too little to be
worth its rounding."""

_OBJECTIVES = {
    "epsilon": comfy.model_base.ModelType.EPS,
    "v_prediction": comfy.model_base.ModelType.V_PREDICTION,
}
_BETAS = {
    # diffusers' name → the host's name of the same schedule
    "scaled_linear": "linear",
    "linear": "sqrt_linear",
}


def load_sandbox() -> tuple[comfy.model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """The sandbox as (MODEL, CLIP, VAE), as a checkpoint loader of the host would return them.

    The VAE has 4 image pixels per latent pixel, not 8: an EmptyLatentImage of 128 px makes images of 64 px.
    """
    return _load_model(), _load_clip(), _load_vae()


def _config(part: str, name: str = "config.json") -> dict[str, Any]:
    return json.loads((BASE_DIR / part / name).read_text(encoding="utf-8"))


def _weights(part: str) -> dict[str, Tensor]:
    path = next((BASE_DIR / part).glob("*.safetensors"))
    return {name: tensor.to(DTYPE) for name, tensor in comfy.utils.load_torch_file(str(path)).items()}


# -- MODEL -----------------------------------------------------------------------------------------------------------


class SandboxLatents(comfy.latent_formats.LatentFormat):
    """How latents are scaled for the network, and their colours for the host's previews while it samples.

    `spacial_downscale_ratio` stays at its default, 8, although the VAE's is 4: newer hosts resize empty latents by it
    and older ones do not, and a workflow should make images of the same size on both.
    """

    latent_channels = 4
    # Least squares over the VAE's latents of 400 drawings, to their pixels in -1..1 averaged over 4x4.
    latent_rgb_factors = [
        [-0.033, 0.235, -0.201],
        [-0.291, -0.357, 0.048],
        [0.196, 0.146, 0.280],
        [-0.111, -0.219, 0.533],
    ]
    latent_rgb_factors_bias = [0.144, 0.101, -0.011]

    def __init__(self) -> None:
        self.scale_factor = _config("vae")["scaling_factor"]


class SandboxModel(comfy.supported_models.SD15):
    """What the host needs from a model's configuration. This one is of Stable Diffusion 1's kind, only small."""

    unet_config: dict[str, Any] = {}
    unet_extra_config: dict[str, Any] = {}
    latent_format = SandboxLatents
    lora_bootstrap_family = "sandbox"
    """The mark by which host/backbone/model.py recognizes the family."""

    def __init__(self) -> None:
        super().__init__(unet_settings(_config("unet")))
        scheduler = _config("scheduler", "scheduler_config.json")
        self.objective = _OBJECTIVES[scheduler["prediction_type"]]
        self.sampling_settings = {
            "beta_schedule": _BETAS[scheduler["beta_schedule"]],
            "linear_start": scheduler["beta_start"],
            "linear_end": scheduler["beta_end"],
            "timesteps": scheduler["num_train_timesteps"],
            "zsnr": scheduler["rescale_betas_zero_snr"],
        }
        self.set_inference_dtype(DTYPE, None)

    def model_type(self, state_dict: Mapping[str, Tensor], prefix: str = "") -> comfy.model_base.ModelType:
        return self.objective


def unet_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the host's UNet class for a diffusers UNet2DConditionModel's `config`."""
    layers, widths = config["layers_per_block"], config["block_out_channels"]
    depths = [int(kind.startswith("CrossAttn")) for kind in config["down_block_types"]]
    return {
        "image_size": 32,
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "model_channels": widths[0],
        "channel_mult": [width // widths[0] for width in widths],
        "num_res_blocks": [layers] * len(widths),
        # One entry per layer: on the way down in order, on the way up (one more layer per block) popped from the end.
        "transformer_depth": [depth for depth in depths for _ in range(layers)],
        "transformer_depth_output": [depth for depth in depths for _ in range(layers + 1)],
        "transformer_depth_middle": 1,
        "num_heads": config["attention_head_dim"],  # diffusers' old misnomer: it counts heads
        "num_head_channels": -1,
        "context_dim": config["cross_attention_dim"],
        "use_spatial_transformer": True,
        "use_linear_in_transformer": config["use_linear_projection"],
        "use_temporal_attention": False,
        "adm_in_channels": None,
        "legacy": False,
    }


def _load_model() -> comfy.model_patcher.ModelPatcher:
    management, config, weights = comfy.model_management, SandboxModel(), _weights("unet")
    size = comfy.utils.calculate_parameters(weights)
    device = management.unet_inital_load_device(size, DTYPE)
    model = config.get_model({}, device=device)
    patcher_class = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    patcher = patcher_class(model, load_device=management.get_torch_device(),
                            offload_device=management.unet_offload_device())
    names = comfy.utils.unet_to_diffusers(config.unet_config)
    # Newer hosts may load lazily, and then keep exactly the tensors they are given.
    lazily = {"assign": True} if getattr(patcher, "is_dynamic", lambda: False)() else {}
    model.load_model_weights({names[name]: tensor for name, tensor in weights.items()}, "", **lazily)
    if device != torch.device("cpu"):
        management.load_models_gpu([patcher], force_full_load=True)
    return patcher


# -- CLIP ------------------------------------------------------------------------------------------------------------


class SandboxTextEncoder(comfy.sd1_clip.SDClipModel):
    """The host's CLIP text model with the sandbox's sizes, tokens, and vocabulary."""

    def __init__(self, device: Any = "cpu", dtype: torch.dtype | None = None,
                 model_options: Mapping[str, Any] | None = None) -> None:
        config = _config("text_encoder")
        end = config["eos_token_id"]
        super().__init__(
            device=device, dtype=dtype, textmodel_json_config=config, return_projected_pooled=False,
            special_tokens={"start": config["bos_token_id"], "end": end, "pad": end}, model_options=model_options or {},
        )
        # The host gives every CLIP the 49,408 rows of OpenAI's vocabulary.
        self.transformer.set_input_embeddings(
            self.operations.Embedding(config["vocab_size"], config["hidden_size"], device=device, dtype=dtype))
        self.freeze()


class SandboxTokenizer(comfy.sd1_clip.SDTokenizer):
    """The host's CLIP tokenizer (prompt weights, embeddings, long prompts) over the sandbox's vocabulary."""

    def __init__(self, embedding_directory: Any = None, tokenizer_data: Mapping[str, Any] | None = None) -> None:
        super().__init__(
            tokenizer_path=str(BASE_DIR / "tokenizer"), embedding_directory=embedding_directory,
            embedding_size=_config("text_encoder")["hidden_size"], tokenizer_data=tokenizer_data or {},
        )


class _ClipModel(comfy.sd1_clip.SD1ClipModel):
    def __init__(self, device: Any = "cpu", dtype: torch.dtype | None = None,
                 model_options: Mapping[str, Any] | None = None) -> None:
        super().__init__(device=device, dtype=dtype, model_options=model_options or {}, clip_model=SandboxTextEncoder)


class _ClipTokenizer(comfy.sd1_clip.SD1Tokenizer):
    def __init__(self, embedding_directory: Any = None, tokenizer_data: Mapping[str, Any] | None = None) -> None:
        super().__init__(embedding_directory, tokenizer_data or {}, tokenizer=SandboxTokenizer)


def _load_clip() -> comfy.sd.CLIP:
    weights = {f"clip_l.transformer.{with_text_model(name)}": tensor
               for name, tensor in _weights("text_encoder").items()}
    return comfy.sd.CLIP(
        comfy.supported_models_base.ClipTarget(_ClipTokenizer, _ClipModel), state_dict=weights,
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        parameters=comfy.utils.calculate_parameters(weights), model_options={"dtype": DTYPE},
    )


# -- VAE -------------------------------------------------------------------------------------------------------------


def _load_vae() -> comfy.sd.VAE:
    config = _config("vae")
    widths = config["block_out_channels"]
    settings = {
        "double_z": True,
        "z_channels": config["latent_channels"],
        "resolution": config["sample_size"],
        "in_channels": config["in_channels"],
        "out_ch": config["out_channels"],
        "ch": widths[0],
        "ch_mult": [width // widths[0] for width in widths],
        "num_res_blocks": config["layers_per_block"],
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    vae = comfy.sd.VAE(sd=_vae_weights(len(widths)), dtype=DTYPE,
                       config={"params": {"ddconfig": settings, "embed_dim": config["latent_channels"]}})
    vae.downscale_ratio = vae.upscale_ratio = 2 ** (len(widths) - 1)
    return vae


def _vae_weights(levels: int) -> dict[str, Tensor]:
    """The VAE's weights under the host's names.

    The host's own renaming counts the decoder's blocks down from 3; with fewer than four levels they are shifted first.
    """
    start = "decoder.up_blocks."
    shifted = {}
    for name, tensor in _weights("vae").items():
        if name.startswith(start):
            number, _, rest = name.removeprefix(start).partition(".")
            name = f"{start}{int(number) + 4 - levels}.{rest}"
        shifted[name] = tensor
    return comfy.diffusers_convert.convert_vae_state_dict(shifted)
