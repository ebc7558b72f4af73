"""A training step inside ComfyUI against core's TrainLoraNode: same model, adapter targets and data, taking turns.

Targets: at least 1.5 x as fast as core's best mode at batch 1, 4 x at batch 4.

    python -m lora_bootstrap.bench.host_step [--steps 12] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

BATCHES = {1: 1.5, 4: 4.0}
"""Batch size → how many times as fast as core's best mode the step should be."""


def main() -> None:
    from ..tests.helpers.hosts import MISSING, find_hosts
    from .report import write_result

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=12, help="steps of one trainer before it is the next one's turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    hosts = sorted(find_hosts(), key=lambda host: [int(part) for part in re.findall(r"\d+", host.version)])
    if not hosts:
        sys.exit(MISSING)
    rows = [row for host in hosts for row in _rows(host, arguments)]
    notes = (
        "Medians of milliseconds a step on an SD1.5-shaped UNet (320 channels, two levels, one block a level), 128 px "
        "pictures, rank 8, float32, AdamW, no checkpointing. The trainers take turns in one process. Core's node also "
        "trains a difference on every norm and bias, which has no counterpart here; *modules* are the LoRA modules of "
        "ours and of core's. At batch 4 core gives the network every picture with every caption, 16 rows, and averages."
    )
    print(write_result("host_step", "Step inside ComfyUI against core's TrainLoraNode", rows, notes).read_text())


def _rows(host: Any, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    threads = str(arguments.threads)
    done = subprocess.run(
        [host.python, Path(__file__), str(host.path), str(arguments.steps), str(arguments.rounds)],
        env={**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}, cwd=host.path,
        stdout=subprocess.PIPE, text=True, check=True)
    rows = []
    for batch, found in json.loads(done.stdout.strip().splitlines()[-1]).items():
        medians = {name: 1e3 * statistics.median(times) if times else None for name, times in found["seconds"].items()}
        best = min(value for name, value in medians.items() if name != "ours" and value)
        rows.append({
            "ComfyUI": host.version, "batch": int(batch), "M parameters": found["parameters"] / 1e6,
            "modules": " / ".join(map(str, found["modules"])), "ours ms": medians["ours"],
            "core bypass ms": medians["core bypass"] or "-", "core weight ms": medians["core weight"],
            "core / ours": best / medians["ours"], "target": BATCHES[int(batch)]})
    return rows


# -- inside the host's Python ----------------------------------------------------------------------------------------


def inside(folder: str, steps: int, rounds: int) -> None:
    """Print {batch: {"seconds": {trainer: [...]}, ...}} as the last line."""
    tests = Path(__file__).parents[1] / "tests" / "comfyui" / "inside"
    sys.path.insert(0, str(tests))
    from start import load_pack, start_host

    start_host(folder)
    load_pack()
    print(json.dumps({batch: _measure(batch, steps, rounds) for batch in BATCHES}))


def _measure(batch: int, steps: int, rounds: int) -> dict[str, Any]:
    import inspect

    from comfy_extras.nodes_train import TrainLoraNode

    bypass = "bypass_mode" in inspect.signature(TrainLoraNode.execute).parameters
    model, modules = _make_model(), [0, 0]
    turns = {"ours": lambda: _ours(model, batch, steps, modules), "core bypass": None,
             "core weight": lambda: _core(model, batch, steps, False, modules)}
    if bypass:
        turns["core bypass"] = lambda: _core(model, batch, steps, True, modules)
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(rounds):
        for name, turn in turns.items():
            if turn:
                seconds[name] += _step_times(turn)[2:]  # the first ones warm up
    parameters = sum(p.numel() for p in model.model.diffusion_model.parameters())
    return {"seconds": seconds, "modules": modules, "parameters": parameters}


def _step_times(turn: Any) -> list[float]:
    """Seconds from one optimizer step to the next."""
    import time

    from torch.optim.optimizer import register_optimizer_step_post_hook

    ends: list[float] = []
    hook = register_optimizer_step_post_hook(lambda *_: ends.append(time.perf_counter()))
    try:
        turn()
    finally:
        hook.remove()
    return [after - before for before, after in zip(ends, ends[1:], strict=False)]


def _make_model() -> Any:
    import tiny_models

    tiny_models.FAMILIES["bench"] = tiny_models.Tiny("SD15", {
        **tiny_models.UNET, "model_channels": 320, "channel_mult": [1, 1], "context_dim": 768,
        "use_linear_in_transformer": False, "adm_in_channels": None, "num_heads": 8, "num_head_channels": -1,
    }, 768, tokens=77)
    model = tiny_models.make_model("bench")
    model.cached_patcher_init = (lambda disable_dynamic=False: tiny_models.make_model("bench"), ())
    return model


def _ours(model: Any, batch: int, steps: int, modules: list[int]) -> None:
    import tempfile
    from dataclasses import replace

    import tiny_models

    from lora_bootstrap.host.backbone.model import HostBackbone
    from lora_bootstrap.trainer.training.config import TrainConfig
    from lora_bootstrap.trainer.training.loop import train

    from ..trainer.training.events import RunStarted

    backbone = HostBackbone(model, tiny_models.TinyClip(tiny_models.FAMILIES["bench"]), tiny_models.TinyVae(4))
    everything = ("time_embed", "input_blocks", "middle_block", "output_blocks", "out")
    backbone.family = replace(backbone.family, blocks=everything)
    config = TrainConfig(name="bench", steps=steps, state_every=10**6).replace(**{
        "adapter.layers": "all", "adapter.rank": 8, "adapter.conv_rank": 8, "data.batch_size": batch,
        "data.resolution": 128, "optimizer.learning_rate": 1e-4})
    with tempfile.TemporaryDirectory() as folder:
        captions = [f"picture {number}" for number in range(4)]
        data = tiny_models.make_dataset(Path(folder) / "data", captions, (128, 128))
        for event in train(backbone, data, config, Path(folder) / "runs"):
            if isinstance(event, RunStarted):
                modules[0] = event.adapted_modules


def _core(model: Any, batch: int, steps: int, bypass: bool, modules: list[int]) -> None:
    import inspect

    import torch
    from comfy_extras.nodes_train import TrainLoraNode

    wanted = {
        "model": model, "batch_size": batch, "grad_accumulation_steps": 1, "steps": steps, "learning_rate": 1e-4,
        "rank": 8, "optimizer": "AdamW", "loss_function": "MSE", "seed": 0, "training_dtype": "fp32",
        "lora_dtype": "fp32", "quantized_backward": False, "algorithm": "LoRA", "gradient_checkpointing": False,
        "checkpoint_depth": 1, "offloading": False, "existing_lora": "[None]", "bucket_mode": False,
        "bypass_mode": bypass,
    }
    names = inspect.signature(TrainLoraNode.execute).parameters
    lists = {name: [value] for name, value in wanted.items() if name in names}
    with torch.inference_mode():
        result = TrainLoraNode.execute(
            **lists, latents=[{"samples": torch.randn(1, 4, 16, 16)} for _ in range(4)],
            positive=[[[torch.randn(1, 77, 768), {}]] for _ in range(4)])
    lora = next(value for value in result.args if isinstance(value, dict) and any("lora_up" in key for key in value))
    modules[1] = sum("lora_up" in key for key in lora)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[2].isdigit():
        inside(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
