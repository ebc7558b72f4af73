"""How fast a folder becomes a bucketed dataset, against merely opening its pictures' headers, and with how much memory.

`python -m lora_bootstrap.bench.dataset` makes its pictures in a temporary folder and writes dataset.json and dataset.md
in bench/results.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import random
import shutil
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

from ..trainer.common.files import atomic_write, write_json
from ..trainer.datasets.buckets import assign_bucket, make_buckets
from ..trainer.datasets.dataset import load_folder

RESULTS = Path(__file__).resolve().parent / "results"
TARGET_RATIO = 1.5
TARGET_GROWTH_MB = 1.0
RESOLUTION, STEP = 512, 64
SMALL_SIDE, LARGE_SIDE = 128, 2048
DISTINCT = 100
MEMORY_PICTURES = 200


def make_folder(folder: Path, count: int, sides: tuple[int, int], seed: int = 0) -> Path:
    """`count` pictures with sides in that range, half png and half jpg, each with a caption; DISTINCT of them differ,
    the others are copies, because making them takes longer than all else here."""
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    noise = Image.effect_noise((64, 64), 60).convert("RGB")
    for number in range(count):
        path = folder / f"{number:05d}.{('png', 'jpg')[number % 2]}"
        path.with_suffix(".txt").write_text(f"1girl, red hair, tag {number}", encoding="utf-8")
        if number < DISTINCT:
            size = rng.randint(*sides), rng.randint(*sides)
            noise.resize(size, Image.Resampling.NEAREST).save(path)
        else:
            shutil.copyfile(folder / f"{number % DISTINCT:05d}{path.suffix}", path)
    return folder


def open_headers(folder: Path) -> int:
    """The least that any loader must do: list the folder, and let Pillow read each header."""
    pixels = 0
    for name in sorted(os.listdir(folder)):
        if name.endswith((".png", ".jpg")):
            with Image.open(folder / name) as image:
                pixels += image.width * image.height
    return pixels


def index_and_bucket(folder: Path) -> int:
    """Everything a run needs to know of the pictures before it reads pixels."""
    dataset = load_folder(folder)
    buckets = make_buckets(RESOLUTION, STEP)
    return len([assign_bucket(sample.size, buckets) for sample in dataset])


def alternate(actions: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, list[float]], ...]:
    """(wall seconds, processor seconds) of each action, the actions taking turns so that what else the machine does
    falls on all alike. On a busy machine the processor seconds, of this process alone, are the ones to trust."""
    wall: dict[str, list[float]] = {name: [] for name in actions}
    processor: dict[str, list[float]] = {name: [] for name in actions}
    for number in range(rounds + 1):
        for name, action in actions.items():
            begin = time.perf_counter(), time.process_time()
            action()
            if number:  # the first round only warms the file cache
                wall[name].append(time.perf_counter() - begin[0])
                processor[name].append(time.process_time() - begin[1])
    return wall, processor


def summary(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, their ratio, and the ratio of each round."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {"median_seconds": medians, "ratio": medians["index"] / medians["headers"], "seconds": seconds,
            "round_ratios": [i / h for h, i in zip(seconds["headers"], seconds["index"], strict=True)]}


def peak_mb(folder: Path) -> float:
    """Peak memory of Python and its extensions that report to it, while the folder is indexed."""
    tracemalloc.start()
    index_and_bucket(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def peak_resident_mb(folder: Path) -> float | None:
    """Growth of the process's peak resident memory while the folder is indexed; None where it cannot be reset."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status_mb("VmRSS")
        index_and_bucket(folder)
        return _status_mb("VmHWM") - before
    except OSError:
        return None


def _status_mb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field + ":"))


def measure(count: int, rounds: int) -> dict[str, Any]:
    """All figures; the folders are made and removed here."""
    with tempfile.TemporaryDirectory() as temp:
        folder = make_folder(Path(temp, "many"), count, (128, 512))
        actions = {"headers": lambda: open_headers(folder), "index": lambda: index_and_bucket(folder)}
        wall, processor = (summary(seconds) for seconds in alternate(actions, rounds))
        memory = {}
        for side in (SMALL_SIDE, LARGE_SIDE):
            pictures = make_folder(Path(temp, str(side)), MEMORY_PICTURES, (side, side))
            memory[str(side)] = {"peak_mb": peak_mb(pictures), "resident_mb": peak_resident_mb(pictures)}
    return {
        "pictures": count, "rounds": rounds, "wall": wall, "processor": processor, "target_ratio": TARGET_RATIO,
        "memory_by_side": memory, "target_growth_mb": TARGET_GROWTH_MB,
        "machine": {"cpus": os.cpu_count(), "system": platform.system(), "architecture": platform.machine(),
                    "python": platform.python_version(), "pillow": PIL.__version__},
        "date": datetime.date.today().isoformat(),
    }


def report(figures: dict[str, Any]) -> str:
    """The figures as a page of Markdown."""
    machine, wall, processor = figures["machine"], figures["wall"], figures["processor"]
    small, large = (figures["memory_by_side"][str(side)] for side in (SMALL_SIDE, LARGE_SIDE))

    def verdict(met: bool) -> str:
        return "met" if met else "missed"

    met = wall["ratio"] <= TARGET_RATIO and processor["ratio"] <= TARGET_RATIO
    growth = large["peak_mb"] - small["peak_mb"]
    rows = "\n".join(
        f"| {title} | {times['median_seconds']['headers']:.3f} | {times['median_seconds']['index']:.3f} | "
        f"{times['ratio']:.2f} | {min(times['round_ratios']):.2f} to {max(times['round_ratios']):.2f} |"
        for title, times in (("wall seconds", wall), ("processor seconds", processor)))
    resident = "" if small["resident_mb"] is None else (
        f"| growth of peak resident memory | {small['resident_mb']:.1f} MB | {large['resident_mb']:.1f} MB |\n")
    return f"""# Indexing and bucketing a dataset

`python -m lora_bootstrap.bench.dataset`, {figures['date']}; {machine['cpus']} CPUs, {machine['system']}
{machine['architecture']}, Python {machine['python']}, Pillow {machine['pillow']}.

{figures['pictures']:,} pictures (png and jpg, 128 to 512 pixels a side, a caption each), medians of {figures['rounds']}
alternated rounds with a warm file cache:

"Headers" opens every header with Pillow; "index" is `load_folder` (sizes, EXIF, captions, whether a file is cut short)
and the assignment of buckets.

| | headers | index | ratio of medians | ratios of rounds |
|---|---|---|---|---|
{rows}

Target: at most {TARGET_RATIO}; {verdict(met)}.

Memory while indexing {MEMORY_PICTURES} pictures:

| | {SMALL_SIDE} x {SMALL_SIDE} | {LARGE_SIDE} x {LARGE_SIDE} |
|---|---|---|
| traced peak | {small['peak_mb']:.2f} MB | {large['peak_mb']:.2f} MB |
{resident}
With {(LARGE_SIDE // SMALL_SIDE) ** 2} times the pixels the traced peak grows by {growth:.2f} MB; at most
{TARGET_GROWTH_MB} MB is the target: {verdict(growth <= TARGET_GROWTH_MB)}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    figures = measure(options.pictures, options.rounds)
    write_json(RESULTS / "dataset.json", figures)
    page = report(figures)
    atomic_write(RESULTS / "dataset.md", page.encode())
    print(page)


if __name__ == "__main__":
    main()
