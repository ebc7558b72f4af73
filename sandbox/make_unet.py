"""Trains the sandbox's text encoder and UNet together, and writes them as a diffusers pipeline folder.

v-prediction (Salimans & Ho 2022, arXiv:2202.00512) with min-SNR weights (Hang et al. 2023, arXiv:2303.09556).
"""
from __future__ import annotations

import copy
import json
import random

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from .captions import training_caption
from .make_tokenizer import LENGTH
from .workshop import Workshop, autocast, save_half, to_pixels

BATCH, RATE, CLIP_NORM, SNR_GAMMA = 32, 8e-4, 1.0, 5.0
EMA_SHARE, SNAPSHOT, STATE = 0.002, 1500, 500
LEARNED = 30_000
NOISE = {"num_train_timesteps": 1000, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
         "prediction_type": "v_prediction"}


def build_unet() -> UNet2DConditionModel:
    """A UNet whose level widths are whole multiples of the first and of 32, so that ComfyUI's own classes can hold
    it."""
    return UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, block_out_channels=(96, 96, 96), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        # diffusers reads attention_head_dim as the number of heads here, as in Stable Diffusion 1.
        cross_attention_dim=128, attention_head_dim=4, norm_num_groups=32)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=LENGTH, hidden_act="quick_gelu", projection_dim=128,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id))


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """int64 [B,77], padded with the end token."""
    return tokenizer(captions, padding="max_length", truncation=True, max_length=LENGTH,
                     return_tensors="pt").input_ids


class Pair(torch.nn.Module):
    """The two models that learn together."""

    def __init__(self, tokenizer: CLIPTokenizer):
        super().__init__()
        self.text_encoder = build_text_encoder(tokenizer)
        self.unet = build_unet()

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.unet(noisy, timesteps, self.text_encoder(ids)[0]).sample


def min_snr_weight(scheduler: DDPMScheduler, timesteps: torch.Tensor) -> torch.Tensor:
    """min(snr, gamma) / (snr + 1), the min-SNR weight of a v-prediction; [B,1,1,1]."""
    alphas = scheduler.alphas_cumprod[timesteps]
    snr = alphas / (1 - alphas)
    return (snr.clamp(max=SNR_GAMMA) / (snr + 1)).view(-1, 1, 1, 1)


@torch.no_grad()
def encoded_drawings(shop: Workshop, vae: AutoencoderKL):
    """The scenes, and their scaled latents [N,4,16,16]; the latents are cached in the scratch folder."""
    scenes, drawings = (part[:LEARNED] for part in shop.base_drawings())
    path = shop.scratch / f"latents-{vae.config.scaling_factor}.pt"
    if not path.exists():
        parts = []
        for start in range(0, len(drawings), 100):
            with autocast():
                parts.append(vae.encode(to_pixels(drawings[start:start + 100])).latent_dist.mean.float())
        torch.save(torch.cat(parts) * vae.config.scaling_factor, path)
    return scenes, torch.load(path)


def write_pipeline_frame(shop: Workshop) -> None:
    """Write model_index.json and the scheduler: everything in a StableDiffusionPipeline folder besides the models."""
    DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=False, steps_offset=1).save_pretrained(
        shop.base / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.30.0",
        "feature_extractor": [None, None], "image_encoder": [None, None], "safety_checker": [None, None],
        "requires_safety_checker": False,
        "scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (shop.base / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def save_snapshot(shop: Workshop, average: Pair) -> None:
    save_half(average.text_encoder, shop.base / "text_encoder")
    save_half(average.unet, shop.base / "unet")


class Trainer:
    """The state of the run; `save` and `resume` preserve it across a stop."""

    def __init__(self, shop: Workshop, steps: int):
        torch.manual_seed(31)
        self.shop, self.steps, self.step = shop, steps, 0
        self.tokenizer = CLIPTokenizer.from_pretrained(shop.base / "tokenizer")
        self.pair = Pair(self.tokenizer)
        self.average = copy.deepcopy(self.pair).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(self.pair.parameters(), lr=RATE, weight_decay=0.01, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(self.optimizer, RATE, steps, pct_start=0.04)
        self.noise = DDPMScheduler(**NOISE)
        self.path = shop.scratch / "unet-state.pt"

    def _parts(self):
        return {"pair": self.pair, "average": self.average, "optimizer": self.optimizer, "schedule": self.schedule}

    def save(self) -> None:
        staged = self.path.with_suffix(".new")
        torch.save({"step": self.step, **{name: part.state_dict() for name, part in self._parts().items()}}, staged)
        staged.rename(self.path)

    def resume(self) -> None:
        if self.path.exists():
            state = torch.load(self.path)
            self.step = state["step"]
            for name, part in self._parts().items():
                part.load_state_dict(state[name])

    def learn(self, latents: torch.Tensor, ids: torch.Tensor) -> float:
        """Do one step on a batch, and return the weighted loss."""
        timesteps = torch.randint(0, 1000, (len(latents),))
        noise = torch.randn_like(latents)
        noisy = self.noise.add_noise(latents, noise, timesteps)
        target = self.noise.get_velocity(latents, noise, timesteps)
        with autocast():
            v = self.pair(noisy, timesteps, ids)
        loss = (min_snr_weight(self.noise, timesteps) * (v.float() - target) ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.pair.parameters(), CLIP_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        self.step += 1
        self._follow()
        return loss.item()

    @torch.no_grad()
    def _follow(self) -> None:
        # Early on, the average follows quickly; otherwise it would remember the random start.
        share = max(EMA_SHARE, 1 / (1 + self.step / 5))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.pair.parameters()), share)


def train_unet(shop: Workshop, steps: int) -> None:
    vae = AutoencoderKL.from_pretrained(shop.base / "vae").eval().requires_grad_(False)
    scenes, latents = encoded_drawings(shop, vae)
    write_pipeline_frame(shop)
    trainer = Trainer(shop, steps)
    trainer.resume()
    # A resumed run continues with other draws than it began with.
    torch.manual_seed(31 + trainer.step)
    rng = random.Random(31 + trainer.step)
    losses = []
    while trainer.step < steps:
        index = torch.randint(len(latents), (BATCH,))
        ids = tokenize(trainer.tokenizer, [training_caption(rng, scenes[k]) for k in index.tolist()])
        losses.append(trainer.learn(latents[index], ids))
        if trainer.step % 100 == 0:
            shop.log("unet", step=trainer.step, loss=sum(losses) / len(losses))
            losses.clear()
        if trainer.step % SNAPSHOT == 0 or trainer.step == steps:
            save_snapshot(shop, trainer.average)
        if trainer.step % STATE == 0:
            trainer.save()
