"""A cast on a local Ray of two workers, of which one is killed while it trains and one while it draws cells."""

import hashlib
import json
import os
import signal
import threading
import time

import pytest
import torch

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.cast.batch import BatchFinished, TaskResult
from lora_bootstrap.trainer.cast.character import read_character
from lora_bootstrap.trainer.cast.ray_pool import RayPool, WorkerSettings, require_ray
from lora_bootstrap.trainer.cast.worker import Worker
from lora_bootstrap.trainer.common.errors import UserError

from ...helpers.cast import SMALL, run_cast, write_character

STEPS = 24


@pytest.fixture
def cast(tmp_path):
    """Two characters of the drawn world."""
    characters = []
    for name in ("akane", "kuro"):
        scene = world.Scene(world.HELD_OUT[name])
        world.draw(scene, 96).save(tmp_path / f"{name}.png")
        tags = f'"{", ".join(world.caption_tags(scene))}"'
        characters.append(read_character(write_character(tmp_path, name, picture=False, tags=tags,
                                                         more=SMALL.format(steps=STEPS))))
    return characters


class Here:
    """A pool of one worker in this process: what is made without Ray and without a kill."""

    size = 1

    def __init__(self, output):
        self.worker, self.job = Worker(str(output)), None

    def idle(self):
        return [] if self.job else [(0, None)]

    def submit(self, worker, job):
        self.job = job

    def wait(self):
        job, self.job = self.job, None
        return [(0, job, TaskResult(1.0, **self.worker.run(job.to_dict())))]


def results(output):
    """Hashes of the LoRAs' bytes and of the cells' images, and the scores."""
    files = [*output.glob("loras/*/*.safetensors"), *output.glob("sweeps/*/cells/*.png")]
    found = {path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return found | {path.parent.name: [row["score"] for row in json.loads(path.read_text())["rows"]]
                    for path in output.glob("sweeps/*/scores.json")}


def kill_when(pool, worker, reached):
    """Kill a worker's process as soon as something is reached. Returns the thread, and where the killed are listed."""
    killed = []

    def watch():
        end = time.monotonic() + 120
        while time.monotonic() < end and not killed:
            if (pid := pool.pid(worker)) and reached():
                killed.append(pid)
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return killed


def lines(path):
    return path.read_text().count("\n") if path.is_file() else 0


@pytest.mark.ray
def test_workers_that_are_killed_lose_only_what_came_after_their_last_state(cast, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads, undisturbed, output = torch.get_num_threads(), tmp_path / "undisturbed", tmp_path / "output"
    _, last, _ = run_cast(cast, undisturbed, Here(undisturbed))
    torch.set_num_threads(threads)
    assert isinstance(last, BatchFinished)

    metrics = output / "loras/akane/metrics.jsonl"
    with RayPool(output, WorkerSettings(workers=2)) as pool:
        training = kill_when(pool, 0, lambda: lines(metrics) >= STEPS // 2)
        drawing = kill_when(pool, 1, lambda: len(list(output.glob("sweeps/kuro*/cells/*.json"))) >= 2)
        _, last, rows = run_cast(cast, output, pool)
    assert training and drawing and isinstance(last, BatchFinished)
    assert [row["verdict"] for row in rows.values()].count("failed") == 0
    assert sum("Workers died" in text for row in rows.values() for text in row["look"]) == 2
    assert results(output) == results(undisturbed)
    assert len([line for line in metrics.read_text().splitlines() if '"loss"' in line]) == STEPS


@pytest.mark.ray
def test_more_than_the_machines_have_is_refused(tmp_path):
    with pytest.raises(UserError, match="a worker takes 1 GPUs, but the machines have 0"), \
            RayPool(tmp_path, WorkerSettings(workers=1, gpus=1.0)):
        pass


def test_without_ray_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr("lora_bootstrap.trainer.cast.ray_pool.find_spec", lambda name: None)
    with pytest.raises(UserError, match="Ray, .* is not installed: pip install ray"):
        require_ray()
