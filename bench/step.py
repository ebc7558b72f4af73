"""A step of the loop with cached inputs against a plain diffusers + peft loop, and against bare forward + backward +
optimizer, on networks with the same weights and the same adapted modules.

The three alternate in one run, so that whatever else the machine does falls on all alike. Target: at most 1.05 of the
bare step, and no more than the plain loop takes.

    python -m lora_bootstrap.bench.step [--only sandbox|sd15] [--steps 60] [--large-steps 6] [--batch 8]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from PIL import Image
from torch import nn

from ..sandbox import BASE_DIR, PICTURES_DIR
from ..trainer.backends.diffusers import DiffusersBackbone, load_backbone
from ..trainer.datasets.dataset import load_folder, save_samples
from ..trainer.models.families import get_family
from ..trainer.models.layers import select_modules
from ..trainer.models.precision import autocast
from ..trainer.pictures.crops import suggest_crops
from ..trainer.training import adapters
from ..trainer.training.config import TrainConfig
from ..trainer.training.events import StepDone
from ..trainer.training.loop import train
from ..trainer.training.optimizers import build_optimizer
from .report import write_result

TARGET = 1.05
WARM_UP = 3
Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One row: how its base is made, and the settings of its training."""

    title: str
    make: Callable[[], DiffusersBackbone]
    settings: dict[str, Any]
    large: bool = False


def make_sd15() -> DiffusersBackbone:
    """SD1.5's network at its true size (860 M, bf16) with random weights, and a text encoder and a VAE that only have
    the right shapes."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    unet = unet.to(torch.bfloat16).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in unet.parameters():
        with torch.no_grad():
            parameter.normal_(0, 0.02, generator=generator)
    tokenizer = CLIPTokenizer.from_pretrained(BASE_DIR / "tokenizer")
    text = CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), hidden_size=768, num_hidden_layers=1))
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8,) * 4, norm_num_groups=4, layers_per_block=1, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    pipeline = diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=text, tokenizer=tokenizer, unet=unet, scheduler=scheduler, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False)
    return DiffusersBackbone(pipeline, get_family("sd15"), fingerprint="random")


CASES = {
    "sandbox": Case("sandbox", lambda: load_backbone("sandbox"), {
        "data.resolution": 64, "adapter.layers": "all", "adapter.conv_rank": 8, "adapter.rank": 8}),
    "sd15": Case("SD1.5, 860 M, random weights", make_sd15, {
        "data.resolution": 256, "data.batch_size": 1, "data.upscale": True, "adapter.layers": "attention+mlp",
        "precision": "bf16"}, large=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--large-steps", type=int, default=6, help="steps at true size, of seconds each")
    parser.add_argument("--batch", type=int, default=8, help="of the sandbox")
    options = parser.parse_args()
    rows = [_row(case, options) for name, case in CASES.items() if options.only in (None, name)]
    note = ("Medians of alternating steps. The loop's step also draws noise, picks and gathers cached inputs, clips "
            "gradients, and writes metrics.jsonl; the plain one draws noise, clips and reads its loss, as the example "
            "of diffusers does. The limit is the bare step, with inputs that do not change.")
    print(write_result("step", "Step overhead of the training loop", rows, note).read_text())


def _row(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    steps = options.large_steps if case.large else options.steps
    config = TrainConfig(name="step", steps=steps + WARM_UP + 1, state_every=10**6).replace(
        **{"data.batch_size": options.batch, **case.settings})
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(case.make(), config, Path(folder))
    loop, plain, bare = (statistics.median(seconds[name]) for name in ("loop", "plain", "bare"))
    return {"network": case.title, "px": config.data.resolution, "batch": config.data.batch_size,
            "precision": config.precision, "steps": steps, "loop ms": 1e3 * loop, "plain peft ms": 1e3 * plain,
            "bare ms (limit)": 1e3 * bare, "loop / bare": loop / bare, "plain / bare": plain / bare, "target": TARGET}


def measure(backbone: DiffusersBackbone, config: TrainConfig, folder: Path) -> dict[str, list[float]]:
    """Seconds of each step of the `loop`, of the `plain` one and of the `bare` one, warm-up left out."""
    picture = Image.open(next(PICTURES_DIR.glob("*.png"))).convert("RGB")
    crops = suggest_crops(picture, config.data.batch_size)
    side = (config.data.resolution,) * 2  # one bucket, so that every batch is full, as the bare step's is
    save_samples(folder / "data", [(picture.crop(crop.box).resize(side), "1girl, smile", {"name": crop.name})
                                   for crop in crops])
    assert len(crops) == config.data.batch_size
    others = {"plain": make_plain_step(backbone, config), "bare": make_bare_step(backbone, config)}
    stream = train(backbone, load_folder(folder / "data"), config, folder / "runs")
    while not isinstance(next(stream), StepDone):
        pass
    steps: dict[str, Step] = {"loop": lambda: next(stream), **others}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(config.steps - 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    stream.close()
    return {name: values[WARM_UP:] for name, values in seconds.items()}


def make_plain_step(backbone: DiffusersBackbone, config: TrainConfig) -> Step:
    """The step of diffusers' own example (train_text_to_image_lora.py), on cached latents and text."""
    network = same_weights(backbone.network)
    modules = select_modules(network, config.adapter.layers, backbone.family.blocks, config.adapter.conv_rank,
                             backbone.family.excluded)
    network.add_adapter(LoraConfig(r=config.adapter.rank, lora_alpha=config.adapter.alpha,
                                   target_modules=list(modules)))
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    optimizer, scheduler = torch.optim.AdamW(trained, lr=1e-4), backbone.pipeline.scheduler
    latents, text = _inputs(backbone, config)

    def step() -> None:
        noise, timesteps = torch.randn_like(latents), torch.randint(0, 1000, (len(latents),))
        noisy = scheduler.add_noise(latents, noise, timesteps)
        with autocast(network.device, config.precision):
            prediction = network(noisy.to(network.dtype), timesteps, encoder_hidden_states=text, return_dict=False)[0]
        loss = nn.functional.mse_loss(prediction.float(), noise)
        loss.backward()
        loss.detach().item()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def make_bare_step(backbone: DiffusersBackbone, config: TrainConfig) -> Step:
    """Forward, loss, backward, optimizer on the same network with the same adapters, fixed inputs."""
    network = same_weights(backbone.network)
    handle = adapters.attach(network, config.adapter, backbone.family.blocks, seed=0, excluded=backbone.family.excluded)
    optimizer = build_optimizer("adamw", [(handle.parameters(), 1e-4)], 0.01)
    latents, text = _inputs(backbone, config)
    noisy, target, timesteps = latents.to(network.dtype), torch.randn_like(latents), torch.full((len(latents),), 500)

    def step() -> None:
        with autocast(network.device, config.precision):
            prediction = network(noisy, timesteps, encoder_hidden_states=text, return_dict=False)[0]
        nn.functional.mse_loss(prediction.float(), target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def same_weights(network: nn.Module) -> nn.Module:
    """Another network over the same memory."""
    known = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return copy.deepcopy(network, known)


def _inputs(backbone: DiffusersBackbone, config: TrainConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """(latents, text embeddings) of a batch."""
    side = config.data.resolution // backbone.latent_scale
    with torch.no_grad():
        text = backbone.encode_text(["1girl, smile"] * config.data.batch_size).tensors["prompt_embeds"]
    return torch.randn(config.data.batch_size, 4, side, side), text.to(backbone.network.dtype)


if __name__ == "__main__":
    main()
