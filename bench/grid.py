"""Cells a second of Strength Grid on a real host, against a queued prompt a cell, a graph with a chain a cell, and its
own strengths in one batch.

    python -m lora_bootstrap.bench.grid [--cells 16] [--repeats 3] [--bases sandbox sd15] [--cpu]

Target on a GPU: strengths in one batch at least twice as fast as one by one. On a CPU it is only reported.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..tests.helpers.hosts import MISSING, Host, find_hosts
from ..tests.helpers.server import Client, Server
from ..trainer.sweeps.cells import Sweep
from .random_base import NAME as RANDOM_SD15
from .report import write_result

TARGET = 2.0
CFG = 3.0
STRENGTHS = 8
"""Of every prompt, as far apart as a user would have them."""
PATIENCE = 1800
PLACES = ("front view, full body, grass", "from side, upper body, sunset", "front view, close-up, night sky",
          "from behind, full body, blue sky")
Graph = dict[str, dict[str, Any]]
Pictures = list[np.ndarray]
NOTES = """
ComfyUI {version} on the {device}, one thread, one process; medians of {repeats} repeats after one to warm up. The ways
take turns within every repeat, in another order each time, and draw the same cells: {strengths} strengths of each
prompt, {prompts} in all, another seed in every repeat. A time runs from the first prompt's start to the last one's end,
so it has the encoding of the texts, the decoding and the saving in it, but not the loading of the base. Ratios are
medians of the repeats' own: above 1 is faster.

- *one by one*: one Run of Strength Grid. *in one batch*: the same with "strengths in one batch"; target on a GPU: at
  least {target:g} times as fast as one by one{met}.
- *a prompt a cell*: LoraLoader, two CLIPTextEncode, KSampler, VAEDecode, SaveImage, queued through the API once for
  each cell, all before the first is done.
- *a chain a cell*: one graph with those nodes once for each cell.
- *pictures*: against those of *one by one*, in the repeat that warms up: equal, or the largest difference of a value
  of 0 to 255.

{bases}
"""


@dataclass(frozen=True)
class Base:
    """A model to draw with.

    Attributes:
        about: what it is.
        loader: the node that loads it; MODEL, CLIP, VAE are its first outputs.
        lora: its LoRA, as the host lists it.
        size: of the empty latent.
    """

    name: str
    about: str
    loader: dict[str, Any]
    lora: str
    size: int = 128
    steps: int = 16

    def told(self) -> str:
        return (f"*{self.name}*: {self.about}; an empty latent of {self.size} px, {self.steps} steps of euler at cfg "
                f"{CFG:g}.")


BASES = {
    "sandbox": Base("sandbox", "the embedded base, whose pictures are half as wide as the latent says, a LoRA trained "
                    "for 24 steps", {"class_type": "LoraBootstrap_LoadSandbox", "inputs": {"picture": "akane"}},
                    "bench/bench.safetensors"),
    "sd15": Base("sd15", "random weights in Stable Diffusion 1.5's shape, the UNet small (44 M parameters, 320 "
                 "channels), text encoder and VAE whole, a random LoRA of rank 8",
                 {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": f"{RANDOM_SD15}.safetensors"}},
                 f"{RANDOM_SD15}.safetensors", steps=8),
}
ON_GPU = {"sd15": {"size": 512, "steps": 20}}
"""What is asked of a base where there is a GPU."""


def main() -> None:
    parser = argparse.ArgumentParser(description=" ".join(__doc__.splitlines()[:2]))
    parser.add_argument("--cells", type=int, default=16, help=f"a multiple of {STRENGTHS}, or fewer")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--bases", nargs="+", choices=list(BASES), default=list(BASES))
    parser.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    options = parser.parse_args()
    hosts = find_hosts()
    if not hosts:
        sys.exit(MISSING)
    plan = Plan.of(options.cells)
    gpu = not options.cpu and has_gpu()
    bases = [replace(BASES[name], **ON_GPU.get(name, {}) if gpu else {}) for name in options.bases]
    with tempfile.TemporaryDirectory() as folder:
        device, rows = measure(hosts[0], Path(folder), plan, bases, options.repeats, gpu)
    batched = [row["/ one by one"] for row in rows if row["way"] == "in one batch"]
    met = "" if device == "cpu" else f" ({'met' if min(batched) >= TARGET else 'not met'} on this one)"
    notes = NOTES.format(
        version=hosts[0].version, device=device.upper(), repeats=options.repeats, strengths=len(plan.strengths),
        prompts=len(plan.prompts), target=TARGET, met=met, bases="\n".join(base.told() for base in bases))
    print(write_result("grid", "Strength grids: cells a second", rows, notes).read_text())


@dataclass(frozen=True)
class Plan:
    """The cells: every prompt at every strength, in the order of a sweep."""

    strengths: tuple[float, ...]
    prompts: tuple[str, ...]

    @classmethod
    def of(cls, cells: int) -> Plan:
        strengths = min(cells, STRENGTHS)
        if cells < 2 or cells % strengths:
            sys.exit(f"--cells is {cells}; it must be 2 to {STRENGTHS}, or a multiple of {STRENGTHS}")
        return cls(tuple(round(1 - 0.1 * place, 2) for place in range(strengths)), tuple(
            f"akane, 1girl, {PLACES[number % len(PLACES)]}, number {number}" for number in range(cells // strengths)))

    @property
    def cells(self) -> list[tuple[float, str]]:
        return [(strength, prompt) for strength in self.strengths for prompt in self.prompts]


def measure(host: Host, folder: Path, plan: Plan, bases: Sequence[Base], repeats: int,
            gpu: bool) -> tuple[str, list[dict[str, Any]]]:
    """(device, rows)."""
    names = [base.name for base in bases]
    if "sd15" in names:
        subprocess.run([host.python, Path(__file__).with_name("random_base.py"), host.path, folder / "models"],
                       cwd=host.path, check=True)
    with Server(host.path, without_cpu(host.python, folder) if gpu else host.python, folder) as server, \
            server.client() as client:
        device = server.get("/system_stats")["devices"][0]["type"]
        if "sandbox" in names:
            train_sandbox(client)
        return device, [row for base in bases for row in measure_base(Bench(client, base, plan), device, repeats)]


def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def without_cpu(python: Path, folder: Path) -> Path:
    """Stands for the host's Python, but takes away the --cpu that the server of the tests is started with."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport os, sys\n"
                    f"os.execv({str(python)!r}, [{str(python)!r}, *(a for a in sys.argv[1:] if a != '--cpu')])\n")
    path.chmod(0o755)
    return path


def train_sandbox(client: Client) -> None:
    """The sandbox's LoRA, output/loras/bench/bench.safetensors."""
    graph = {
        "base": BASES["sandbox"].loader,
        "data": defaults(client.server, "LoraBootstrap_LoadDataset"),
        "settings": defaults(client.server, "LoraBootstrap_TrainSettings", save_every=0, preview_every=0),
        "train": defaults(client.server, "LoraBootstrap_TrainLora", model=["base", 0], clip=["base", 1],
                          vae=["base", 2], dataset=["data", 0], settings=["settings", 0], name="bench",
                          trigger="akane", steps=24),
    }
    run(client, [graph])


def defaults(server: Server, kind: str, **inputs: Any) -> dict[str, Any]:
    """A node with its widgets as they come."""
    known = server.get(f"/object_info/{kind}")[kind]["input"]["required"]
    widgets = {name: spec[1]["default"] for name, spec in known.items() if len(spec) > 1 and "default" in spec[1]}
    choices = {name: spec[1]["options"][0] for name, spec in known.items()
               if spec[0] == "COMBO" and "default" not in spec[1]}
    return {"class_type": kind, "inputs": {**choices, **widgets, **inputs}}


def run(client: Client, graphs: Sequence[Graph]) -> tuple[float, list[Any]]:
    """(seconds from the first queued to the last one's end, results)."""
    client.messages.clear()
    queued = [client.queue(graph) for graph in graphs]
    results = [client.wait(id, PATIENCE) for id in queued]
    for result in results:
        if result.status != "success":
            sys.exit(f"{result.status} at {result.node}: {result.error}")
    times = {kind: [message.at for message in client.messages if message.type == kind]
             for kind in ("execution_start", "execution_success")}
    return times["execution_success"][-1] - times["execution_start"][0], results


# -- the ways ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    """Draws a plan's cells on a base, each method in one way: (seconds, pictures in the order of the plan's cells)."""

    client: Client
    base: Base
    plan: Plan

    def one_by_one(self, seed: int) -> tuple[float, Pictures]:
        return self._grid("one by one", seed)

    def in_one_batch(self, seed: int) -> tuple[float, Pictures]:
        return self._grid("strengths in one batch", seed)

    def a_prompt_a_cell(self, seed: int) -> tuple[float, Pictures]:
        graphs = [{"base": self.base.loader, **self._chain("", cell, seed)} for cell in self.plan.cells]
        seconds, results = run(self.client, graphs)
        return seconds, [self._shown(result, "save") for result in results]

    def a_chain_a_cell(self, seed: int) -> tuple[float, Pictures]:
        graph = {"base": self.base.loader}
        for number, cell in enumerate(self.plan.cells):
            graph |= self._chain(f"{number}_", cell, seed)
        seconds, (result,) = run(self.client, [graph])
        return seconds, [self._shown(result, f"{number}_save") for number in range(len(self.plan.cells))]

    def _grid(self, draw: str, seed: int) -> tuple[float, Pictures]:
        name = f"{self.base.name}-{draw}-{seed}"
        settings = {"width": self.base.size, "height": self.base.size, "steps": self.base.steps, "cfg": CFG,
                    "sampler_name": "euler", "scheduler": "normal"}
        grid = defaults(
            self.client.server, "LoraBootstrap_StrengthGrid", model=["base", 0], clip=["base", 1], vae=["base", 2],
            name=name, files=self.base.lora, strengths=", ".join(map(str, self.plan.strengths)),
            prompts="\n".join(self.plan.prompts), seeds=str(seed), without=False, draw=draw, **settings)
        seconds, _ = run(self.client, [{"base": self.base.loader, "grid": grid}])
        sweep = Sweep.load(self.client.server.base / "output" / "sweeps" / name)
        found = {(cell.facts["strength"], cell.facts["prompt"]): sweep.picture(cell) for cell in sweep.cells}
        notes = [told["text"] for told in self.client.of_type("progress_text") if "ne by one" in told["text"]]
        if notes:
            sys.exit(notes[-1])
        return seconds, [np.asarray(Image.open(found[cell]).convert("RGB")) for cell in self.plan.cells]

    def _chain(self, before: str, cell: tuple[float, str], seed: int) -> Graph:
        strength, prompt = cell

        def node(kind: str, **inputs: Any) -> dict[str, Any]:
            return {"class_type": kind, "inputs": inputs}

        nodes = {
            "lora": node("LoraLoader", model=["base", 0], clip=["base", 1], lora_name=self.base.lora,
                         strength_model=strength, strength_clip=strength),
            "positive": node("CLIPTextEncode", clip=["lora", 1], text=prompt),
            "negative": node("CLIPTextEncode", clip=["lora", 1], text=""),
            "latent": node("EmptyLatentImage", width=self.base.size, height=self.base.size, batch_size=1),
            "sample": node("KSampler", model=["lora", 0], positive=["positive", 0], negative=["negative", 0],
                           latent_image=["latent", 0], seed=seed, steps=self.base.steps, cfg=CFG,
                           sampler_name="euler", scheduler="normal", denoise=1.0),
            "decode": node("VAEDecode", samples=["sample", 0], vae=["base", 2]),
            "save": node("SaveImage", images=["decode", 0], filename_prefix="bench"),
        }
        return {before + id: {**made, "inputs": {
            name: [before + value[0], value[1]] if isinstance(value, list) and value[0] != "base" else value
            for name, value in made["inputs"].items()}} for id, made in nodes.items()}

    def _shown(self, result: Any, id: str) -> np.ndarray:
        (place,) = result.images(id)
        return np.asarray(Image.open(BytesIO(self.client.server.view(**place))).convert("RGB"))


WAYS: dict[str, Callable[[Bench, int], tuple[float, Pictures]]] = {
    "one by one": Bench.one_by_one, "in one batch": Bench.in_one_batch, "a prompt a cell": Bench.a_prompt_a_cell,
    "a chain a cell": Bench.a_chain_a_cell}


def measure_base(bench: Bench, device: str, repeats: int) -> list[dict[str, Any]]:
    """A row for each way."""
    names, seconds = list(WAYS), {name: [] for name in WAYS}
    drawn = {name: WAYS[name](bench, 1)[1] for name in names}
    for repeat in range(repeats):
        for place in range(len(names)):
            name = names[(place + repeat) % len(names)]
            seconds[name].append(WAYS[name](bench, 2 + repeat)[0])
            print(bench.base.name, name, f"{seconds[name][-1]:.2f} s", file=sys.stderr, flush=True)

    def times(of: str, name: str) -> float:
        return statistics.median(theirs / ours for theirs, ours in zip(seconds[of], seconds[name], strict=True))

    cells = len(bench.plan.cells)
    return [{
        "base": bench.base.name, "device": device, "way": name, "cells": cells,
        "cells/s": cells / statistics.median(seconds[name]), "s/cell": statistics.median(seconds[name]) / cells,
        "/ a prompt a cell": times("a prompt a cell", name), "/ one by one": times("one by one", name),
        "target": TARGET if name == "in one batch" and device != "cpu" else "-",
        "pictures": differences(drawn["one by one"], drawn[name])} for name in names]


def differences(some: Pictures, others: Pictures) -> str:
    most = max(int(np.abs(one.astype(int) - other).max()) for one, other in zip(some, others, strict=True))
    return f"differ by {most}" if most else "equal"


if __name__ == "__main__":
    main()
