"""A tiny Stable-Diffusion-shaped model with random weights, and tiny datasets."""

from __future__ import annotations

import random

import torch
from PIL import Image, ImageDraw

from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.models.families import get_family


def make_tiny_backbone(seed=0):
    """0.4 M parameters, 32 px pictures, 8x8 latents; the sandbox's tokenizer."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    from lora_bootstrap.sandbox import BASE_DIR
    from lora_bootstrap.trainer.backends.diffusers import DiffusersBackbone

    torch.manual_seed(seed)
    tokenizer = CLIPTokenizer.from_pretrained(BASE_DIR / "tokenizer")
    text = CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=77, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id))
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 32), layers_per_block=1, cross_attention_dim=32, attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"))
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8), norm_num_groups=4, layers_per_block=1, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3)
    scheduler = diffusers.DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, steps_offset=1,
        set_alpha_to_one=False, prediction_type="v_prediction")
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False)
    return DiffusersBackbone(pipeline, get_family("sandbox"), fingerprint=f"tiny-{seed}")


def make_dataset(folder, count=6, size=32, seed=0):
    """`count` drawings of one coloured disc each, captioned with its colour."""
    rng, items = random.Random(seed), []
    for number in range(count):
        colour = rng.choice(("red", "green", "blue"))
        image = Image.new("RGB", (size, size), "white")
        x, y = rng.randrange(4, size // 2), rng.randrange(4, size // 2)
        ImageDraw.Draw(image).ellipse((x, y, x + size // 3, y + size // 3), fill=colour)
        items.append((image, f"{colour}, disc, number {number}", {"name": f"disc{number}"}))
    save_samples(folder, items)
    return load_folder(folder)
