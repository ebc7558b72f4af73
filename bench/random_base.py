"""Writes a checkpoint of Stable Diffusion 1.5's shape with random weights, and a random LoRA for it.

Run in a host's own Python, for it takes the host's own classes: random_base.py <host's folder> <models folder>. The
UNet has 44 M parameters (320 channels, two levels, one block a level), the text encoder and the VAE are of full size.
"""

from __future__ import annotations

import sys
from pathlib import Path

NAME = "random_sd15"
RANK = 8
VAE = {"double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128,
       "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0}


def main(host: str, models: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "comfyui" / "inside"))
    from start import load_pack, start_host

    start_host(host)
    load_pack()
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    with torch.no_grad():
        weights = {f"{prefix}{name}": value.contiguous() for prefix, network in _networks().items()
                   for name, value in _filled(network).items()}
        layers = {_lora_name(name): value for name, value in weights.items() if _has_lora(name, value)}
        lora = {}
        for name, value in layers.items():
            lora[f"{name}.lora_down.weight"] = torch.randn(RANK, value.shape[1]) / value.shape[1] ** 0.5
            lora[f"{name}.lora_up.weight"] = torch.randn(value.shape[0], RANK) * 0.1
            lora[f"{name}.alpha"] = torch.tensor(float(RANK))
    for kind, tensors in (("checkpoints", weights), ("loras", lora)):
        (models / kind).mkdir(parents=True, exist_ok=True)
        save_file(tensors, models / kind / f"{NAME}.safetensors")


def _networks() -> dict:
    """By the prefix of their names in a checkpoint."""
    import json

    import comfy.clip_model
    import comfy.ops
    import comfy.sd1_clip
    import tiny_models
    import torch
    from comfy.ldm.models.autoencoder import AutoencoderKL

    tiny_models.FAMILIES[NAME] = tiny_models.Tiny("SD15", {
        **tiny_models.UNET, "model_channels": 320, "channel_mult": [1, 1], "context_dim": 768,
        "use_linear_in_transformer": False, "adm_in_channels": None, "num_heads": 8, "num_head_channels": -1}, 768)
    shape = Path(comfy.sd1_clip.__file__).with_name("sd1_clip_config.json")
    text = comfy.clip_model.CLIPTextModel(json.loads(shape.read_text()), torch.float32, "cpu", comfy.ops.manual_cast)
    return {"model.diffusion_model.": tiny_models.make_model(NAME).model.diffusion_model,
            "cond_stage_model.transformer.": text, "first_stage_model.": AutoencoderKL(ddconfig=VAE, embed_dim=4)}


def _filled(network) -> dict:
    """Weights that keep the size of what goes through them."""
    import torch

    filled = {}
    for name, value in network.state_dict().items():
        if value.ndim > 1:
            filled[name] = torch.randn(value.shape) / value[0].numel() ** 0.5
        else:
            filled[name] = torch.full(value.shape, float(name.endswith("weight")))
    return filled


def _has_lora(name: str, value) -> bool:
    layer = name.removesuffix(".weight")
    return value.ndim == 2 and layer.endswith(("to_q", "to_k", "to_v", "to_out.0", "_proj", "net.0.proj", "net.2")) \
        and not name.startswith("first_stage_model.") and "text_projection" not in name


def _lora_name(name: str) -> str:
    """As kohya's files call a layer. The host's names of blocks do as well as diffusers'."""
    for prefix, kohya in (("model.diffusion_model.", "lora_unet_"), ("cond_stage_model.transformer.", "lora_te_")):
        if name.startswith(prefix):
            return kohya + name.removeprefix(prefix).removesuffix(".weight").replace(".", "_")
    raise ValueError(name)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
