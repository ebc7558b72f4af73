"""Trains, unloads and draws again and again in one ComfyUI: its memory must stay flat, and the MODEL as it was.

    python -m lora_bootstrap.bench.cycles [--cycles 60]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WARM_UP = 5
"""Cycles that fill what the libraries keep."""
NOTE = """
A cycle trains the sandbox's LoRA for 3 steps, text encoder too, unloads all models, and draws one image with that LoRA
through the host's own sampler. *MB* is the memory of the process, *tensors* what Python holds of them. *MODEL equal*:
the modules, hooks and weights of the host's UNet and text encoder are those of before the first cycle.
"""


def main() -> None:
    from ..tests.helpers.hosts import MISSING, find_hosts
    from .report import write_result

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=60)
    arguments = parser.parse_args()
    hosts = find_hosts()
    if not hosts:
        sys.exit(MISSING)
    rows = [row for host in hosts for row in _rows(host, arguments.cycles)]
    print(write_result("cycles", "Training, unloading and drawing again and again", rows, NOTE).read_text())


def _rows(host: Any, cycles: int) -> list[dict[str, Any]]:
    done = subprocess.run([host.python, Path(__file__), str(host.path), str(cycles)], cwd=host.path, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}, stdout=subprocess.PIPE,
                          check=True)
    return [{"ComfyUI": host.version, **row} for row in json.loads(done.stdout.strip().splitlines()[-1])]


# -- inside the host's Python ----------------------------------------------------------------------------------------


def inside(folder: str, cycles: int) -> None:
    """Print the rows of the table as the last line."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "comfyui" / "inside"))
    from start import load_pack, start_host

    start_host(folder)
    load_pack()
    import torch

    with torch.inference_mode(), tempfile.TemporaryDirectory() as place:
        print(json.dumps(_measure(Path(place), cycles)))


def _measure(place: Path, cycles: int) -> list[dict[str, Any]]:
    from tiny_models import make_dataset

    from lora_bootstrap.host.backbone.sandbox import load_sandbox

    parts, dataset = load_sandbox(), make_dataset(place / "images")
    before, rows = _state(parts), []
    for cycle in range(1, cycles + 1):
        _cycle(parts, dataset, place, cycle)
        if cycle in (WARM_UP, cycles) or cycle % 20 == 0:
            rows.append({"cycle": cycle, "MB": _memory(), "tensors": _tensors(),
                         "MODEL equal": "yes" if _state(parts) == before else "NO"})
    return rows


def _cycle(parts: tuple[Any, Any, Any], dataset: Any, place: Path, number: int) -> None:
    import nodes
    from lora_bootstrap.host.backbone.loras import apply_lora
    from lora_bootstrap.host.backbone.model import HostBackbone, release_memory
    from lora_bootstrap.trainer.training.config import TrainConfig
    from lora_bootstrap.trainer.training.loop import train

    config = TrainConfig(name=f"run{number}", steps=3).replace(**{
        "adapter.rank": 2, "adapter.text_encoder": True, "data.batch_size": 2, "data.resolution": 64})
    *_, finished = train(HostBackbone(*parts), dataset, config, place / "runs")
    release_memory()
    model, clip = apply_lora(*parts[:2], finished.path)
    texts = [nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("1girl", "")]
    latents = nodes.EmptyLatentImage().generate(64, 64, 1)[0]
    drawn = nodes.KSampler().sample(model, number, 2, 3.0, "euler", "normal", *texts, latents, 1.0)[0]
    nodes.VAEDecode().decode(parts[2], drawn)
    release_memory()


def _state(parts: tuple[Any, Any, Any]) -> list[Any]:
    import comfy.model_management
    from unchanged import facts

    model, clip = parts[:2]
    comfy.model_management.load_models_gpu([model, clip.patcher])  # which leaves marks of its own
    # The host's own LoRA loader puts weights back as new tensors, and 0.8.0 with another flag: what they hold counts.
    return [tuple(value for value in row if type(value) is not bool and not (type(value) is int and value > 1000))
            for row in facts(model.model, clip.cond_stage_model)]


def _memory() -> float:
    import psutil

    return psutil.Process().memory_info().rss / 1e6


def _tensors() -> int:
    import gc

    import torch

    gc.collect()
    return sum(isinstance(held, torch.Tensor) for held in gc.get_objects())


if __name__ == "__main__":
    if len(sys.argv) == 3 and not sys.argv[1].startswith("-"):
        inside(sys.argv[1], int(sys.argv[2]))
    else:
        main()
