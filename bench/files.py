"""How long LoRA files and training states take to save, load, merge and compare, beside the least that a disk allows.

    python -m lora_bootstrap.bench.files [--ranks 32 128] [--dry]

Files are made up, with the 700 layers of SDXL's UNet. Each task runs in a process of its own, in turns with its limit:
the same bytes written or read by the safetensors library, without a check or a hash.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..trainer.lora.file import Factors, LoraWeights, load_lora, save_lora
from ..trainer.stacks.conflict import measure_conflict
from ..trainer.stacks.merge import MergeSettings, merge_loras, save_merged
from ..trainer.stacks.stack import StackEntry
from ..trainer.training.checkpoint import StateWriter, load_state, take_snapshot, write_snapshot
from .conflict_speed import peak_memory, shapes, write_lora
from .report import write_result

TURNS = {32: 5, 128: 2}
"""Rank → turns of each task and its limit."""
NOTE = """
Seconds are medians of runs that took turns with the limit; the ratio is the median of the turns' ratios, and says more
than the seconds on a machine with other work. Peak: the process' memory (VmHWM) above what it had before the first
run, which includes what the task returns. Load, checked before: the same file once more, as its hash is remembered
until it changes. A snapshot is what a training waits for; its write is what the thread does meanwhile.
"""


@dataclass(frozen=True)
class Task:
    """Attributes:
        make: folder and rank → what is measured, and its limit; both are called in turns.
        limit: what the limit is.
        target: seconds at rank 32; 0: none.
    """

    make: Callable[[Path, int], tuple[Callable[[], Any], Callable[[], Any]]]
    limit: str
    target: float = 0.0


def weights(rank: int) -> LoraWeights:
    """A trained LoRA of SDXL's UNet in float32."""
    generator = torch.Generator().manual_seed(rank)
    modules = {f"unet.{name}": Factors(torch.randn(rank, inputs, generator=generator),
                                       torch.randn(outputs, rank, generator=generator), float(rank))
               for name, outputs, inputs in shapes()}
    return LoraWeights(modules, {"lora_bootstrap.family": "sdxl", "ss_base_model_version": "sdxl_base_v1-0"})


def tensors_of(lora: LoraWeights) -> dict[str, Tensor]:
    return {f"{key}.{side}": tensor for key, row in lora.modules.items()
            for side, tensor in (("down", row.down), ("up", row.up))}


def _save(folder: Path, rank: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    lora = weights(rank)
    tensors = tensors_of(lora)
    return (lambda: save_lora(folder / "saved.safetensors", lora)), lambda: save_file(tensors, folder / "limit")


def _load(folder: Path, rank: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    path = folder / "saved.safetensors"
    save_lora(path, weights(rank))

    def changed() -> LoraWeights:
        path.touch()
        return load_lora(path)

    return changed, lambda: _touch(load_file(path))


def _load_again(folder: Path, rank: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    path = folder / "saved.safetensors"
    save_lora(path, weights(rank))
    load_lora(path)
    return (lambda: load_lora(path)), lambda: _touch(load_file(path))


def _touch(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """Read what was only mapped."""
    return [tensor.sum() for tensor in tensors.values()]


def _stack(folder: Path, rank: int) -> list[StackEntry]:
    entries = []
    for seed, strength in enumerate((0.8, 0.6)):
        path = folder / f"parent{seed}.safetensors"
        write_lora(path, rank, seed)
        entries.append(StackEntry(path=path, strength=strength))
    return entries


def _both(entries: Sequence[StackEntry]) -> dict[str, Tensor]:
    """Factors side by side, in float32: the sum without a check, norms or names."""
    first, second = (load_file(entry.path) for entry in entries)
    return {key: torch.cat((first[key], second[key]), 1 if "lora_up" in key else 0).float()
            for key in first if first[key].ndim}


def _merge(folder: Path, rank: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    entries = _stack(folder, rank)
    return (lambda: merge_loras(entries, MergeSettings())), lambda: _both(entries)


def _save_merged(folder: Path, rank: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    entries = _stack(folder, rank)
    merged, both = merge_loras(entries, MergeSettings()), _both(entries)
    return (lambda: save_merged(folder / "merged.safetensors", merged)), lambda: save_file(both, folder / "limit")


def _conflict(folder: Path, rank: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    entries = _stack(folder, rank)
    return (lambda: measure_conflict(entries)), lambda: [_touch(load_file(entry.path)) for entry in entries]


def _trained(rank: int) -> tuple[dict[str, Tensor], torch.optim.Optimizer]:
    tensors = tensors_of(weights(rank))
    parameters = [torch.nn.Parameter(tensor) for tensor in tensors.values()]
    optimizer = torch.optim.AdamW(parameters, fused=True)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {name: parameter.detach() for name, parameter in zip(tensors, parameters, strict=True)}, optimizer


def _stored(tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All tensors of a state, not copied."""
    return {**tensors, **{f"{number}.{name}": tensor for number, row in optimizer.state_dict()["state"].items()
                          for name, tensor in row.items()}}


def _state(folder: Path, rank: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    tensors, optimizer = _trained(rank)
    stored = _stored(tensors, optimizer)
    return (lambda: write_snapshot(folder / "state", take_snapshot(1, tensors, optimizer)),
            lambda: save_file(stored, folder / "limit"))


def _snapshot(folder: Path, rank: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    tensors, optimizer = _trained(rank)
    writer, stored = StateWriter(folder / "state"), _stored(tensors, optimizer)

    def waited() -> None:
        writer.save(lambda: take_snapshot(1, tensors, optimizer))

    return Waited(waited, writer.wait), lambda: {name: tensor.clone() for name, tensor in stored.items()}


def _load_state(folder: Path, rank: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    tensors, optimizer = _trained(rank)
    write_snapshot(folder / "state", take_snapshot(1, tensors, optimizer))
    return (lambda: load_state(folder / "state")), lambda: _touch(load_file(folder / "state"))


@dataclass(frozen=True)
class Waited:
    """A task that goes on in the background: only the call is timed, and then its end is waited for."""

    call: Callable[[], Any]
    end: Callable[[], Any]

    def __call__(self) -> None:
        self.call()


TASKS = {
    "save": Task(_save, "save_file", 1.0),
    "load": Task(_load, "load_file and read", 0.3),
    "load, checked before": Task(_load_again, "load_file and read", 0.3),
    "merge two by sum": Task(_merge, "load_file and cat"),
    "save a merge": Task(_save_merged, "save_file"),
    "conflict of two": Task(_conflict, "load_file and read"),
    "state, waited for": Task(_state, "save_file"),
    "state, snapshot": Task(_snapshot, "clone"),
    "state, loaded": Task(_load_state, "load_file and read"),
}


def measure(name: str, folder: Path, rank: int, times: int) -> dict[str, float]:
    """Median seconds of a task and of its limit in this process, the median of their ratios, and the task's peak MB."""
    task, limit = TASKS[name].make(folder, rank)
    Path("/proc/self/clear_refs").write_text("5")  # so that the peak is what is in memory now
    before = peak_memory()
    _seconds(task)
    peak = peak_memory() - before
    turns = [(_seconds(limit), _seconds(task)) for _ in range(times)]
    return {"seconds": statistics.median(ours for _, ours in turns),
            "limit": statistics.median(least for least, _ in turns),
            "ratio": statistics.median(ours / least for least, ours in turns), "peak": peak}


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - started
    del result
    if isinstance(work, Waited):
        work.end()
    return seconds


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--ranks", nargs="*", type=int, default=list(TURNS))
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--times", type=int, default=0, help="turns of each task and its limit; 0: as in TURNS")
    parser.add_argument("--note", default="", help="what else to say of the machine")
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    parser.add_argument("--one", nargs=2, metavar=("TASK", "RANK"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(options.one[0], Path(folder), int(options.one[1]), options.times)))
        return
    rows = []
    for rank in options.ranks:
        for name in options.tasks:
            rows.append(_row(name, rank, options.times or TURNS.get(rank, 2)))
            print(rows[-1], flush=True)
    if not options.dry:
        write_result("files", "LoRA files and training states of SDXL's size", rows, f"{NOTE.strip()} {options.note}")


def _row(name: str, rank: int, times: int) -> dict[str, object]:
    command = [sys.executable, "-m", "lora_bootstrap.bench.files", "--one", name, str(rank), "--times", str(times)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    task = TASKS[name]
    return {"task": name, "rank": rank, "seconds": found["seconds"], "limit": task.limit, "limit s": found["limit"],
            "ratio": found["ratio"], "target s": task.target if task.target and rank == 32 else "",
            "peak MB": round(found["peak"])}


if __name__ == "__main__":
    main()
