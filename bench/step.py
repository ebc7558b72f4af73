"""A step of the loop with cached inputs against bare forward + backward + optimizer on the same module.

The two alternate in one run, so that whatever else the machine does falls on both alike. Target: at most 1.05.

    python -m lora_bootstrap.bench.step [--steps 60] [--batch 8]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from ..sandbox import PICTURES_DIR
from ..trainer.backends.diffusers import DiffusersBackbone, load_backbone
from ..trainer.datasets.dataset import load_folder, save_samples
from ..trainer.pictures.crops import suggest_crops
from ..trainer.training import adapters
from ..trainer.training.config import TrainConfig
from ..trainer.training.events import StepDone
from ..trainer.training.loop import train
from ..trainer.training.optimizers import build_optimizer
from .report import write_result

TARGET = 1.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    config = TrainConfig(name="step", steps=arguments.steps + 5, state_every=10**6).replace(**{
        "data.resolution": 64, "data.batch_size": arguments.batch, "adapter.layers": "all", "adapter.conv_rank": 8,
        "adapter.rank": 8, "optimizer.max_grad_norm": 1.0})
    backbone = load_backbone("sandbox")
    with tempfile.TemporaryDirectory() as folder:
        loop, bare = measure(backbone, config, Path(folder))
    ratio = statistics.median(loop) / statistics.median(bare)
    rows = [{
        "batch": arguments.batch, "steps": len(loop), "loop ms": 1e3 * statistics.median(loop),
        "bare ms": 1e3 * statistics.median(bare), "ratio": ratio, "target": TARGET,
    }]
    note = ("Medians of alternating steps on the sandbox base at 64 px, rank 8 with convolutions. The loop's step "
            "also draws noise, picks and gathers cached inputs, clips gradients, and writes metrics.jsonl.")
    print(write_result("step", "Step overhead of the training loop", rows, note).read_text())


def measure(backbone: DiffusersBackbone, config: TrainConfig, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of each (loop step, bare step), warm-up left out."""
    picture = Image.open(next(PICTURES_DIR.glob("*.png"))).convert("RGB")
    crops = suggest_crops(picture, config.data.batch_size)
    side = (config.data.resolution,) * 2  # one bucket, so that every batch is full, as the bare step's is
    save_samples(folder / "data", [(picture.crop(crop.box).resize(side), "1girl, smile", {"name": crop.name})
                                   for crop in crops])
    assert len(crops) == config.data.batch_size
    bare_step = make_bare_step(backbone, config)
    stream = train(backbone, load_folder(folder / "data"), config, folder / "runs")
    while not isinstance(next(stream), StepDone):
        pass
    loop, bare = [], []
    for _ in range(config.steps - 2):
        started = time.perf_counter()
        next(stream)
        loop.append(time.perf_counter() - started)
        started = time.perf_counter()
        bare_step()
        bare.append(time.perf_counter() - started)
    stream.close()
    return loop[3:], bare[3:]


def make_bare_step(backbone: DiffusersBackbone, config: TrainConfig):
    """Forward, loss, backward, optimizer on a copy of the same network with the same adapters, fixed inputs."""
    network = copy.deepcopy(backbone.network)
    handle = adapters.attach(network, config.adapter, backbone.family.blocks, seed=0)
    optimizer = build_optimizer("adamw", [(handle.parameters(), 1e-4)], 0.01)
    side = config.data.resolution // backbone.latent_scale
    noisy, target = torch.randn(2, config.data.batch_size, 4, side, side)
    timesteps = torch.randint(0, 1000, (config.data.batch_size,))
    text = backbone.encode_text(["1girl, smile"] * config.data.batch_size).tensors["prompt_embeds"].detach()

    def step() -> None:
        prediction = network(noisy, timesteps, encoder_hidden_states=text, return_dict=False)[0]
        torch.nn.functional.mse_loss(prediction, target).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


if __name__ == "__main__":
    main()
