"""How long it takes to measure the conflict of two LoRAs of SDXL's size, to merge them, and in how much memory.

`python -m lora_bootstrap.bench.conflict_speed` makes up files of 700 layers with random factors, measures each task in
a process of its own, and writes bench/results/conflict_speed.md and .json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..trainer.stacks.conflict import measure_conflict
from ..trainer.stacks.merge import MergeSettings, merge_loras
from ..trainer.stacks.stack import StackEntry
from .report import write_result

LEVELS = (
    # (block, transformers in it, layers of each, width)
    ("down_blocks.1.attentions", 2, 2, 640), ("down_blocks.2.attentions", 2, 10, 1280),
    ("mid_block.attentions", 1, 10, 1280), ("up_blocks.0.attentions", 3, 10, 1280),
    ("up_blocks.1.attentions", 3, 2, 640),
)
CONTEXT = 2048
TASKS = {"conflict": (4, 16, 32, 128), "sum": (16, 128), "sum to 32": (16, 128), "null_space": (16, 128),
         "null_space to 32": (16, 128), "ties to 32": (16,)}
"""Task: ranks."""
TARGETS = {("conflict", 16): 6.0, ("conflict", 128): 35.0}
"""Seconds, on two cores."""


def shapes() -> Iterator[tuple[str, int, int]]:
    """(layer, out, in) of the attention and feed-forward layers of SDXL's UNet, 700 of them."""
    for block, count, depth, width in LEVELS:
        for number in range(count):
            for layer in range(depth):
                path = f"{block}.{number}.transformer_blocks.{layer}"
                for attention, inside in (("attn1", width), ("attn2", CONTEXT)):
                    yield f"{path}.{attention}.to_q", width, width
                    yield f"{path}.{attention}.to_k", width, inside
                    yield f"{path}.{attention}.to_v", width, inside
                    yield f"{path}.{attention}.to_out.0", width, width
                yield f"{path}.ff.net.0.proj", 8 * width, width
                yield f"{path}.ff.net.2", width, 4 * width


def write_lora(path: Path, rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, outputs, inputs in shapes():
        key = "lora_unet_" + name.replace(".", "_")
        tensors[f"{key}.lora_down.weight"] = torch.randn(rank, inputs, generator=generator).half()
        tensors[f"{key}.lora_up.weight"] = torch.randn(outputs, rank, generator=generator).half()
        tensors[f"{key}.alpha"] = torch.tensor(float(rank))
    save_file(tensors, path)


def measure(task: str, first: Path, second: Path) -> dict[str, float]:
    """Seconds, seconds of processor time, and peak MB above what the imports took, of one task in this process."""
    entries = [StackEntry(path=first, strength=0.8), StackEntry(path=second, strength=0.6)]
    before = peak_memory()
    started, busy = time.perf_counter(), time.process_time()
    if task == "conflict":
        measure_conflict(entries)
    else:
        method, _, rank = task.partition(" to ")
        merge_loras(entries, MergeSettings(method=method, rank=int(rank) if rank else None))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "processor": time.process_time() - busy, "memory": peak_memory() - before}


def peak_memory() -> float:
    """MB that this process had at most."""
    # ru_maxrss is inherited from the process that started this one
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--ranks", nargs="*", type=int, default=None, help="only these")
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    parser.add_argument("--one", nargs=3, metavar=("TASK", "FIRST", "SECOND"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        task, first, second = options.one
        print(json.dumps(measure(task, Path(first), Path(second))))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for rank in sorted({rank for task in options.tasks for rank in TASKS[task]}):
            if options.ranks and rank not in options.ranks:
                continue
            files = [Path(folder) / f"{name}.safetensors" for name in ("first", "second")]
            for seed, path in enumerate(files):
                write_lora(path, rank, seed)
            for task in (task for task in options.tasks if rank in TASKS[task]):
                rows.append(_row(task, rank, files))
                print(rows[-1], flush=True)
    if not options.dry:
        write_result("conflict_speed", "Conflict and merge of two LoRAs of SDXL's size", rows,
                     f"{sum(1 for _ in shapes())} layers, random factors, float16 files. Peak: the process' memory "
                     "above what its imports took; a merge holds its result, in float32.")


def _row(task: str, rank: int, files: Sequence[Path]) -> dict[str, object]:
    command = [sys.executable, "-m", "lora_bootstrap.bench.conflict_speed", "--one", task, *map(str, files)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    return {"task": task, "rank": rank, "a file MB": round(files[0].stat().st_size / 2**20),
            "seconds": found["seconds"], "processor s": found["processor"],
            "target s": TARGETS.get((task, rank), ""),
            "peak MB": round(found["memory"])}


if __name__ == "__main__":
    main()
