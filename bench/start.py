"""From Run to the first step: what a training encodes first, beside decoding and the VAE alone.

Every round has images of its own. The limit decodes each image, makes a tensor of it and encodes that, in one thread,
and neither looks at captions nor saves anything. Targets: a cold start takes at most 1.2 times the limit, and the next
run on the same images starts within 5 seconds.

    python -m lora_bootstrap.bench.start [--images 2000] [--steps 2000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import torch
from PIL import Image
from torch import Tensor

from ..trainer.backends.diffusers import DiffusersBackbone, load_backbone
from ..trainer.datasets.dataset import Dataset, load_folder
from ..trainer.models.backbone import Conditioning
from ..trainer.models.families import get_family
from ..trainer.pictures.images import to_tensor
from ..trainer.training.config import TrainConfig
from ..trainer.training.events import Caching, RunStarted, StepDone
from ..trainer.training.feed import Feed, open_cache
from ..trainer.training.loop import train
from .report import write_result

SIDE = 512
TARGET, WARM_SECONDS = 1.2, 5.0
TAGS = 14
WORDS = ("1girl", "solo", "red hair", "blue eyes", "smile", "hat", "dress", "shirt", "skirt", "boots", "standing",
         "sitting", "walking", "from side", "from behind", "full body", "portrait", "outdoors", "indoors", "sky",
         "tree", "grass", "water", "night", "window", "chair", "book", "sword", "flower", "cat", "dog", "bird")
WIDE_IMAGES, WIDE_STEPS = 200, 2000
PHASES = ("to the run", "latents", "captions", "proof and step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    backbone, rounds = small_backbone(), []
    for number in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(measure(backbone, Path(folder), arguments.images, arguments.steps, number))
    rows = [summary(name, [one[name] for one in rounds], [one["limit"] for one in rounds]) for name in ("cold", "warm")]
    rows.append(summary("limit", [one["limit"] for one in rounds], [one["limit"] for one in rounds]))
    print(write_result("start", f"From Run to the first step, {arguments.images} images", rows, notes(arguments)
                       + memory_notes()).read_text())


def notes(arguments: argparse.Namespace) -> str:
    return (f"Medians of {arguments.rounds} rounds, seconds. {arguments.images} JPEGs of {SIDE} px, {TAGS} shuffled "
            f"tags each, {arguments.steps} steps of batch 1, the sandbox with a VAE of 8 channels. Cold: nothing is "
            "cached. Warm: another learning rate on the same images. The limit is decoding, tensor and VAE alone, in "
            "one thread; CPU are the seconds of all threads together. Targets: a cold ratio of at most "
            f"{TARGET}, a warm start of at most {WARM_SECONDS:g} s.\n\n")


def summary(name: str, found: Sequence[dict[str, float]], limits: Sequence[dict[str, float]]) -> dict[str, object]:
    middle = {key: statistics.median(one.get(key, 0.0) for one in found) for key in (*PHASES, "seconds", "CPU")}
    ratios = {f"{key} / limit": statistics.median(one[key] / limit[key] for one, limit in
                                                  zip(found, limits, strict=True)) for key in ("seconds", "CPU")}
    return {"start": name, **middle, **ratios}


def small_backbone() -> DiffusersBackbone:
    """The sandbox with a VAE that is fast enough to be no excuse."""
    import diffusers

    backbone = load_backbone("sandbox", device="cpu")
    torch.manual_seed(0)
    backbone.pipeline.vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8), norm_num_groups=4, layers_per_block=1, latent_channels=4,
        mid_block_add_attention=False,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3).eval()
    return backbone


def make_images(folder: Path, count: int, seed: int) -> Dataset:
    """Smooth colours with some grain, which a JPEG decodes about as fast as a drawing."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).resize((SIDE, SIDE))
        grain = rng.integers(0, 24, (SIDE, SIDE, 1), dtype=np.uint8)
        Image.fromarray(np.asarray(coarse) // 2 + grain).save(folder / f"{number:05d}.jpg", quality=92)
        (folder / f"{number:05d}.txt").write_text(", ".join(rng.choice(WORDS, TAGS, replace=False)))
    return load_folder(folder)


def measure(backbone: DiffusersBackbone, folder: Path, images: int, steps: int, number: int) -> dict[str, dict]:
    """Seconds of a cold start, of the limit on the same images, and of a warm start."""
    dataset = make_images(folder / "images", images, number)
    config = TrainConfig(name="start", steps=steps, seed=number).replace(**{
        "data.resolution": SIDE, "data.shuffle_captions": True, "adapter.rank": 2})
    settings = {"cold": config, "warm": config.replace(**{"optimizer.learning_rate": 2e-4})}
    backbone.predict = lambda noisy, *_: noisy + 0 * sum(  # type: ignore[method-assign]  # the step is not measured
        parameter.sum() for parameter in backbone.network.parameters() if parameter.requires_grad)
    backbone.sampling_prediction = lambda noisy, *_: noisy  # type: ignore[method-assign]
    found = {"cold": timed_start(backbone, dataset, settings["cold"], folder / "runs")}
    found["limit"] = timed_limit(backbone, dataset, wanted(backbone, dataset, config))
    found["warm"] = timed_start(backbone, dataset, settings["warm"], folder / "runs")
    return found


def wanted(backbone: DiffusersBackbone, dataset: Dataset, config: TrainConfig) -> list[int]:
    feed = Feed(backbone, dataset, config, None)  # type: ignore[arg-type]  # only to ask what it draws
    return list(dict.fromkeys(draw.sample for index in range(config.steps) for draw in feed.draws(index)))


def timed_start(backbone: DiffusersBackbone, dataset: Dataset, config: TrainConfig, root: Path) -> dict[str, float]:
    last = start = time.perf_counter()
    spent, phase, cpu = dict.fromkeys(PHASES, 0.0), PHASES[0], time.process_time()
    stream = train(backbone, dataset, config, root)
    for event in stream:
        if isinstance(event, Caching):
            phase = {"latents": PHASES[1], "text": PHASES[2]}[event.what]
        elif not isinstance(event, RunStarted):
            phase = PHASES[3]
        now = time.perf_counter()
        spent[phase], last = spent[phase] + now - last, now
        if isinstance(event, StepDone):
            break
    found = {**spent, "seconds": last - start, "CPU": time.process_time() - cpu}
    stream.close()
    return found


def timed_limit(backbone: DiffusersBackbone, dataset: Dataset, samples: Sequence[int]) -> dict[str, float]:
    start, cpu = time.perf_counter(), time.process_time()
    with torch.no_grad():
        for index in samples:
            with Image.open(dataset.samples[index].path) as image:
                backbone.encode_images(to_tensor(image)[None])
    return {"seconds": time.perf_counter() - start, "CPU": time.process_time() - cpu}


class _WideText:
    """Stands in for SDXL's text encoders: random rows of their shapes, as they come out of the host's, which gives
    float32 whatever it computed in."""

    fingerprint, family, encoding = "wide", get_family("sandbox"), dict[str, str]()

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def encode_images(self, pixels: Tensor) -> Tensor:
        return pixels[:, :1, ::8, ::8]

    def token_count(self, caption: str) -> tuple[int, int]:
        return len(caption.split()), 75

    def encode_text(self, captions: Sequence[str], controls: object = None) -> Conditioning:
        rows = len(captions)
        return Conditioning({"prompt_embeds": torch.randn(rows, 77, 2048).to(self._dtype).float(),
                             "pooled_prompt_embeds": torch.randn(rows, 1280).to(self._dtype).float()})


def memory_notes() -> str:
    """What the captions of SDXL add to a process's memory, for each place of the cache; each in a new process."""
    lines = []
    for place in ("ram", "disk"):
        for dtype in (torch.float32, torch.bfloat16):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                grown = pool.submit(grown_by, place, dtype).result()
            lines.append(f"{place}, encoded in {str(dtype).removeprefix('torch.')}: {grown / 2**20:+.0f} MiB")
    return (f"Resident memory that the captions of {WIDE_IMAGES} images take, 8 shuffled variants each, at SDXL's "
            f"shapes and {WIDE_STEPS} steps, by data.cache: {'; '.join(lines)}.")


def grown_by(place: str, dtype: torch.dtype) -> int:
    """Bytes by which this process is larger after `prepare`."""
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(name="memory", steps=WIDE_STEPS).replace(**{
            "data.resolution": SIDE, "data.shuffle_captions": True, "data.cache": place})
        dataset, cache = make_images(Path(folder) / "images", WIDE_IMAGES, 0), open_cache(Path(folder) / "runs", config)
        feed = Feed(_WideText(dtype), dataset, config, cache)  # type: ignore[arg-type]  # only what a feed asks
        gc.collect()
        before = psutil.Process().memory_info().rss
        for _ in feed.prepare():
            pass
        gc.collect()
        grown = psutil.Process().memory_info().rss - before
        cache.close()
        return grown


if __name__ == "__main__":
    main()
