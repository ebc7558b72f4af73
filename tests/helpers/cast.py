"""Casts for tests: files of characters, and a pool whose workers only write what a task would leave."""

from __future__ import annotations

import json
import time
from collections import deque

from PIL import Image

from lora_bootstrap.trainer.cast.batch import TaskResult, run_batch
from lora_bootstrap.trainer.cast.character import read_character
from lora_bootstrap.trainer.cast.records import CELLS, PROJECT, CastRecords
from lora_bootstrap.trainer.cast.tasks import Job
from lora_bootstrap.trainer.cast.worker import Worker
from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.lora.hashes import tensor_hash
from lora_bootstrap.trainer.pictures.images import open_image, pixel_hash
from lora_bootstrap.trainer.sweeps.cells import NO_LORA, Sweep, prompt_axis, seed_axis, strength_axis

SMALL = """
targets = [2, 4]
candidates = [2]
strengths = [1.0]
sample_steps = 1
[style]
steps = 2
"adapter.rank" = 2
[character]
steps = {steps}
state_every = 2
"adapter.rank" = 2
[sweep]
strengths = [0.8, 1.0]
prompt_set = "settings"
"""
"""Settings with which the sandbox makes a character in seconds."""
BEST = {"at": 0.8, "lora": "a.safetensors", "score": 0.9, "gates": [], "likeness": 0.7}


def write_character(folder, stem, /, *, more="", picture=True, **values):
    """A character's file, with an image beside it; the values are settings at the top level."""
    if picture:
        Image.new("RGB", (8, 8), "red").save(folder / f"{stem}.png")
    given = {"picture": f'"{stem}.png"', "tags": '"1girl, solo"', "trigger": f'"{stem}"', **values}
    path = folder / f"{stem}.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in given.items()) + more)
    return path


def make_cast(folder, *names, **values):
    return [read_character(write_character(folder, name, **values)) for name in names]


def run_cast(cast, output, pool, **options):
    """(events, the last one, the report's rows by name) of a batch."""
    records = CastRecords(output, "cast")
    *events, last = run_batch(cast, records, pool, **options)
    rows = json.loads((records.folder / "cast.json").read_text())["characters"]
    return events, last, {row["name"]: row for row in rows}


def hash_results(output):
    """Hashes of the LoRAs' weights and of the cells' pixels by file, and the scores by sweep: what does not depend on
    when something was made."""
    found = {path.relative_to(output).as_posix(): tensor_hash(path) for path in output.glob("loras/*/*.safetensors")}
    found |= {path.relative_to(output).as_posix(): pixel_hash(open_image(path))
              for path in output.glob("sweeps/*/cells/*.png")}
    return found | {path.parent.name: [row["score"] for row in json.loads(path.read_text())["rows"]]
                    for path in output.glob("sweeps/*/scores.json")}


class Here:
    """A pool of one worker in this process, which really does its tasks, one after the other."""

    size = 1

    def __init__(self, output):
        self.worker, self.job = Worker(str(output)), None

    def idle(self):
        return [] if self.job else [(0, None)]

    def submit(self, worker, job):
        self.job = job

    def wait(self):
        if self.job is None:
            return []
        job, self.job = self.job, None
        started = time.monotonic()
        facts = self.worker.run(job.to_dict())
        return [(0, job, TaskResult(time.monotonic() - started, **facts))]

    def stop(self):
        self.worker.stop()


class FakePool:
    """Workers that end their tasks in the order in which they got them. `ends` are results by (name, kind), which stand
    in for what the task would have come to, each once."""

    def __init__(self, output, size=1, ends=()):
        self.output, self.size, self.ends = output, size, {key: deque(results) for key, results in dict(ends).items()}
        self.bases, self.jobs, self.done, self.stopped = [None] * size, {}, [], False

    def idle(self):
        return [(number, base) for number, base in enumerate(self.bases) if number not in self.jobs]

    def submit(self, worker, job):
        self.jobs[worker], self.bases[worker] = Job.from_dict(job.to_dict()), job.character.base

    def wait(self):
        if not self.jobs:
            return []
        worker, job = next(iter(self.jobs.items()))
        del self.jobs[worker]
        self.done.append((worker, job))
        if self.stopped:
            return [(worker, job, TaskResult(1.0, stopped=True))]
        results = self.ends.get((job.character.name, job.kind))
        return [(worker, job, results.popleft() if results else TaskResult(3600.0, self._make(job)))]

    def stop(self):
        self.stopped = True

    def _make(self, job):
        name = job.character.name
        sweep = Sweep(self.output / "sweeps" / job.character.sweep_name, name,
                      (strength_axis(job.character.sweep.strengths), prompt_axis(map(str, range(24))), seed_axis([1])),
                      NO_LORA)
        if job.kind == PROJECT:
            lora = self.output / "loras" / name / f"{name}.safetensors"
            lora.parent.mkdir(parents=True, exist_ok=True)
            lora.write_bytes(b"weights")
            sweep.write()
            return {"lora": f"loras/{name}/{name}.safetensors", "images": 4, "warnings": [], "stopped_because": "",
                    "report": f"bootstrap/{name}/report.html"}
        if job.kind == CELLS:
            cells = sweep.everything
            for cell in cells[len(cells) * job.number // job.count:len(cells) * (job.number + 1) // job.count]:
                sweep.save(cell, Image.new("RGB", (1, 1)))
            return {}
        write_json(sweep.folder / "scores.json", {})
        return {"best": BEST, "why": "Take it.", "notes": [], "cells": sweep.counts(),
                "page": f"sweeps/{sweep.folder.name}/grid.html"}
