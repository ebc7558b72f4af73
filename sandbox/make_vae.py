"""Trains the sandbox's VAE: 64x64 pixels to 16x16 latents of 4 channels."""
from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from .workshop import Workshop, autocast, save_half, to_pixels

BATCH, RATE = 8, 1e-3
KL_WEIGHT = 2e-6
HELD_BACK = 500


def build_vae() -> AutoencoderKL:
    # GroupNorm (32 groups, as everywhere) over 32 channels would erase each channel's mean, which is the colour.
    return AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, sample_size=64, block_out_channels=(64, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1, norm_num_groups=32, mid_block_add_attention=True)


def paste_patches(x: torch.Tensor, generator: torch.Generator, most: int = 3) -> torch.Tensor:
    """Paste up to `most` small shapes of random colours on [B,3,H,W], so that marks that occur in no drawing can be
    reconstructed."""
    batch, _, height, width = x.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")

    def rand(*shape, low=0.0, high=1.0):
        return torch.rand(*shape, generator=generator) * (high - low) + low

    for _ in range(most):
        cx, cy = rand(batch, 1, 1, high=width), rand(batch, 1, 1, high=height)
        rx, ry = rand(batch, 1, 1, low=2, high=7), rand(batch, 1, 1, low=2, high=7)
        dx, dy = (columns - cx).abs() / rx, (rows - cy).abs() / ry
        # The exponent ranges from a diamond (1) through an ellipse (2) to nearly a box (6).
        power = torch.tensor([1.0, 2.0, 6.0])[torch.randint(3, (batch, 1, 1), generator=generator)]
        inside = (dx ** power + dy ** power < 1) & (rand(batch, 1, 1) < 0.4)
        x = torch.where(inside[:, None], rand(batch, 3, 1, 1, low=-1), x)
    return x


def reconstruction_loss(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """L1 of the pixels and of their gradients (because edges blur first), plus a little of the squared error."""
    loss = F.l1_loss(y, x) + F.mse_loss(y, x)
    for dim in (2, 3):
        loss = loss + F.l1_loss(y.diff(dim=dim), x.diff(dim=dim))
    return loss


def train_vae(shop: Workshop, steps: int) -> None:
    torch.manual_seed(11)
    generator = torch.Generator().manual_seed(11)
    _, drawings = shop.base_drawings()
    train, held = drawings[:-HELD_BACK], drawings[-HELD_BACK:]
    vae = build_vae()
    average = copy.deepcopy(vae).requires_grad_(False)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=RATE, weight_decay=1e-4, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.05)
    for step in range(1, steps + 1):
        index = torch.randint(len(train), (BATCH,), generator=generator).numpy()
        x = paste_patches(to_pixels(train[index]), generator)
        with autocast():
            latents = vae.encode(x).latent_dist
            y = vae.decode(latents.sample()).sample
        loss = reconstruction_loss(y.float(), x) + KL_WEIGHT * latents.kl().float().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(vae.parameters()), 0.01 if step > 200 else 0.1)
        if step % 100 == 0:
            shop.log("vae", step=step, loss=loss.item())
    _finish(shop, average.eval(), to_pixels(held))


@torch.no_grad()
def _finish(shop: Workshop, vae: AutoencoderKL, held: torch.Tensor) -> None:
    latents = torch.cat([vae.encode(part).latent_dist.mean for part in held.split(50)])
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    save_half(vae, shop.base / "vae")
    shop.log("vae", scaling_factor=vae.config.scaling_factor, psnr=psnr(vae, held))


@torch.no_grad()
def psnr(vae: AutoencoderKL, x: torch.Tensor) -> float:
    """Mean peak signal-to-noise ratio in dB of reconstructions of x, [B,3,64,64] in -1..1."""
    errors = []
    for part in x.split(50):
        y = vae.decode(vae.encode(part).latent_dist.mean).sample.clamp(-1, 1)
        errors.append(((y - part) / 2).pow(2).mean(dim=(1, 2, 3)))
    return (-10 * torch.cat(errors).log10()).mean().item()
