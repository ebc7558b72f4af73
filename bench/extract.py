"""How fast and how near to the best a LoRA is extracted from layers of SDXL's shapes, and in how much memory.

`python -m lora_bootstrap.bench.extract` compares `trainer/lora/nearest.py` with the full decomposition that kohya's
extraction and ComfyUI's Extract and Save Lora make (`torch.linalg.svd`, which also fills both square matrices), and
with the thin one, in one process on one thread, alternating. Then it extracts from files of 10 and of 40 layers, each
in a process of its own, for the peak memory. It writes bench/results/extract.md and .json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..trainer.extraction.extract import extract_lora
from ..trainer.extraction.settings import ExtractSettings
from ..trainer.extraction.sides import CheckpointFile
from ..trainer.lora.nearest import nearest
from .conflict_speed import peak_memory
from .report import write_result

SHAPES = {
    # what it is: (out, in, how many SDXL's UNet has)
    "attention, 640": (640, 640, 60), "text's keys, 640": (640, 2048, 20), "feed-forward out, 640": (640, 2560, 10),
    "feed-forward in, 640": (5120, 640, 10), "3 x 3 convolution, 320": (320, 2880, 8),
    "attention, 1280": (1280, 1280, 360), "text's keys, 1280": (1280, 2048, 120),
    "feed-forward out, 1280": (1280, 5120, 60), "3 x 3 convolution, 640": (640, 5760, 8),
    "feed-forward in, 1280": (10240, 1280, 60), "3 x 3 convolution, 1280": (1280, 11520, 11),
}
RANK, ROUNDS, LONG = 64, 3, 20.0
"""LONG: seconds from which a decomposition is measured once instead of ROUNDS times."""
DIRECTIONS = 256
LAYERS = (10, 40)


def difference(rows: int, columns: int, seed: int) -> Tensor:
    """Like a fine-tune's: directions whose sizes fall with the root of their number, and noise in all others."""
    generator = torch.Generator().manual_seed(seed)
    left = torch.randn(rows, DIRECTIONS, generator=generator) * torch.arange(1, DIRECTIONS + 1).rsqrt()
    noise = torch.randn(rows, columns, generator=generator)
    return 1e-4 * (left @ torch.randn(DIRECTIONS, columns, generator=generator) + noise)


def full(matrix: Tensor) -> Any:
    return torch.linalg.svd(matrix)


def thin(matrix: Tensor) -> Any:
    return torch.linalg.svd(matrix, full_matrices=False)


def timed(work: Callable[[Tensor], Any], matrix: Tensor) -> tuple[float, Any]:
    started = time.perf_counter()
    done = work(matrix)
    return time.perf_counter() - started, done


def measure_shape(name: str, most: float) -> dict[str, Any]:
    """Medians of the three ways for one shape; the full one is left out above `most` numbers in its larger square."""
    rows, columns, count = SHAPES[name]
    matrix = difference(rows, columns, seed=rows + columns)
    ways = {"full": full, "thin": thin, "ours": lambda values: nearest(values, RANK)}
    if max(rows, columns) > most:
        del ways["full"]
    spent: dict[str, list[float]] = {way: [] for way in ways}
    found, sizes = None, torch.empty(0)
    for round_ in range(ROUNDS):
        for way, work in ways.items():
            if round_ and spent[way][0] > LONG:
                continue
            seconds, done = timed(work, matrix)
            spent[way].append(seconds)
            if way == "ours":
                found = done
            elif way == "thin":
                sizes = done[1].double()
            del done
    assert found is not None
    best = float(sizes[RANK:].norm() / sizes.norm())
    error = float((matrix - found.up.float() @ found.down.float()).double().norm() / matrix.double().norm())
    medians = {way: statistics.median(values) for way, values in spent.items()}
    compared = medians.get("full")
    return {"layer": name, "shape": f"{rows} x {columns}", "of SDXL": count, "full s": compared or "",
            "thin s": medians["thin"], "ours s": medians["ours"],
            "full / ours": compared / medians["ours"] if compared else "", "thin / ours": medians["thin"] / medians[
                "ours"], "least error": best, "more error": error / best - 1}


def totals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All layers of SDXL together. Where the full decomposition was left out, the thin one stands for it."""
    spent = {way: sum(row["of SDXL"] * (row[f"{way} s"] or row["thin s"]) for row in rows)
             for way in ("full", "thin", "ours")}
    count = sum(row["of SDXL"] for row in rows)
    return {"layer": "all of these", "shape": "", "of SDXL": count, "full s": spent["full"],
            "thin s": spent["thin"], "ours s": spent["ours"], "full / ours": spent["full"] / spent["ours"],
            "thin / ours": spent["thin"] / spent["ours"], "least error": max(row["least error"] for row in rows),
            "more error": max(row["more error"] for row in rows)}


# -- memory ------------------------------------------------------------------------------------------------------------


def write_pair(folder: Path, layers: int) -> None:
    for name, sign in (("tuned", 1), ("base", 0)):
        save_file({f"model.diffusion_model.middle_block.1.transformer_blocks.{index}.attn1.to_q.weight":
                   sign * difference(1280, 1280, index) for index in range(layers)}, folder / f"{name}.safetensors")


def extract_pair(folder: Path) -> float:
    """Peak MB above what the imports took."""
    before = peak_memory()
    files = [CheckpointFile(folder / f"{name}.safetensors") for name in ("tuned", "base")]
    for _ in extract_lora(*files, folder, "lora", ExtractSettings(rank=RANK)):
        pass
    return peak_memory() - before


def measure_memory() -> str:
    words = []
    for layers in LAYERS:
        with tempfile.TemporaryDirectory() as folder:
            write_pair(Path(folder), layers)
            size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
            done = subprocess.run([sys.executable, "-m", __spec__.name, "--pair", folder], check=True,
                                  capture_output=True, text=True)
            result = (Path(folder) / "lora.safetensors").stat().st_size / 1e6
        words.append(f"{layers} layers (two files of {size:.0f} MB together, a LoRA of {result:.1f} MB): "
                     f"{json.loads(done.stdout):.0f} MB")
    return "; ".join(words)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", type=Path, help="extract from the files in this folder, and print the peak memory")
    parser.add_argument("--most", type=float, default=12_000,
                        help="larger side of a layer up to which the full decomposition is measured")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    if options.pair:
        print(json.dumps(extract_pair(options.pair)))
        return
    memory, rows = measure_memory(), []
    for name in SHAPES:
        rows.append(measure_shape(name, options.most))
        print(rows[-1], flush=True)
        write_result("extract", "Extracting a LoRA from layers of SDXL's shapes", [*rows, totals(rows)], _notes(memory))


def _notes(memory: str) -> str:
    return (f"Rank {RANK}, float32, one process, one thread, alternating; medians of {ROUNDS} rounds, or one round "
            f"where a decomposition takes over {LONG:g} s. full: `torch.linalg.svd(matrix)`, as kohya's extraction and "
            "ComfyUI's Extract and Save Lora call it. thin: the same with `full_matrices=False`, which neither uses. "
            "least error: |rest| / |difference| of the best matrix of this rank; more error: by what share ours is "
            "larger. The differences are made up: 256 directions that fall with the root of their number, and noise. "
            "In the last row times are sums over SDXL's layers, and errors the largest.\n\n"
            f"Peak memory above what the imports took, extracting from files: {memory}.")


if __name__ == "__main__":
    main()
