"""A cast on a local Ray of two workers, of which one is killed while it trains and one while it draws cells."""

import json
import os
import signal
import threading
import time

import pytest
import torch

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.cast.batch import BatchFinished
from lora_bootstrap.trainer.cast.character import read_character
from lora_bootstrap.trainer.cast.ray_pool import RayPool, WorkerSettings, require_ray
from lora_bootstrap.trainer.common.errors import UserError

from ...helpers.cast import SMALL, Here, hash_results, run_cast, write_character

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


def kill_when(pool, name, reached):
    """Kill the worker that is busy with a character as soon as something is reached. Returns the list of the killed."""
    killed = []

    def watch():
        while not killed:
            worker = next((number for number, job in pool.busy().items() if job.character.name == name), None)
            if worker is not None and reached():
                killed.append(pool.pid(worker))
                os.kill(killed[0], signal.SIGKILL)
            time.sleep(0.02)

    threading.Thread(target=watch, daemon=True).start()
    return killed


def lines(path):
    return path.read_text().count("\n") if path.is_file() else 0


@pytest.mark.ray
def test_workers_that_are_killed_lose_only_what_came_after_their_last_state(cast, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads, undisturbed, output = torch.get_num_threads(), tmp_path / "undisturbed", tmp_path / "output"
    _, last, _ = run_cast(cast[:1], undisturbed, Here(undisturbed))
    torch.set_num_threads(threads)
    assert isinstance(last, BatchFinished)

    metrics = output / "loras/akane/metrics.jsonl"
    with RayPool(output, WorkerSettings(workers=2, gpus=0.0)) as pool:
        training = kill_when(pool, "akane", lambda: lines(metrics) >= STEPS // 2)
        drawing = kill_when(pool, "akane", lambda: len(list(output.glob("sweeps/akane*/cells/*.json"))) >= 2)
        _, last, rows = run_cast(cast, output, pool)
    assert training and drawing and training != drawing and isinstance(last, BatchFinished)
    assert {row["verdict"] for row in rows.values()} <= {"ready", "look at it"}
    assert any("Workers died in 2 of its tasks" in text for text in rows["akane"]["look"])
    wanted, made = hash_results(undisturbed), hash_results(output)
    assert len(wanted) == 2 + 5 * 3 + 1  # LoRAs, cells, scores
    assert {name: made[name] for name in wanted} == wanted
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == list(range(1, STEPS + 1))


@pytest.mark.ray
def test_more_than_the_machines_have_is_refused(tmp_path):
    with pytest.raises(UserError, match="1 worker of 1 CPU core and 1 GPUs each do not fit: .* room for 0"), \
            RayPool(tmp_path, WorkerSettings(workers=1, gpus=1.0)):
        pass


@pytest.mark.ray
def test_where_ray_does_not_start_the_remedy_is_said(tmp_path, monkeypatch):
    import ray

    def late(**_):
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(UserError, match="Ray does not start at this machine: .*timed out.* less busy"), \
            RayPool(tmp_path, WorkerSettings(workers=1, gpus=0.0)):
        pass
    with pytest.raises(UserError, match="at 10.0.0.1:6379: .*Give the address of a cluster that runs"), \
            RayPool(tmp_path, WorkerSettings(address="10.0.0.1:6379")):
        pass


@pytest.mark.parametrize(("settings", "machines", "workers"), [
    ({}, [{"CPU": 4}], 1), ({"workers": 3}, [{"CPU": 2}, {"CPU": 1}], 3),
    ({}, [{"CPU": 8, "GPU": 2}, {"CPU": 1, "GPU": 4}], 3), ({"gpus": 0.5}, [{"CPU": 8, "GPU": 2}], 4),
    ({"gpus": 0.6}, [{"CPU": 8, "GPU": 2}], 2), ({"gpus": 2.0}, [{"CPU": 8, "GPU": 3}], 1)])
def test_a_worker_is_started_only_where_it_has_room(tmp_path, settings, machines, workers):
    pool = RayPool(tmp_path, WorkerSettings(**settings))
    pool._plan_workers(machines)
    assert pool.size == workers


@pytest.mark.parametrize(("settings", "machines", "room"), [
    ({"workers": 4}, [{"CPU": 8, "GPU": 1}], 1), ({"threads": 2}, [{"CPU": 1}, {"CPU": 1}], 0)])
def test_workers_that_would_wait_for_ever_are_refused(tmp_path, settings, machines, room):
    with pytest.raises(UserError, match=f"room for {room}. Give a smaller --workers"):
        RayPool(tmp_path, WorkerSettings(**settings))._plan_workers(machines)


def test_without_ray_the_remedy_is_said(monkeypatch):
    monkeypatch.setattr("lora_bootstrap.trainer.cast.ray_pool.find_spec", lambda name: None)
    with pytest.raises(UserError, match="Ray, .* is not installed: pip install ray"):
        require_ray()
