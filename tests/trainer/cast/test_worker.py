"""A worker does a task at a time, keeps its base, and says how each task ended."""

import pytest

from lora_bootstrap.trainer.bootstrap.candidates import Stopped
from lora_bootstrap.trainer.cast import worker as module
from lora_bootstrap.trainer.cast.records import PROJECT
from lora_bootstrap.trainer.cast.tasks import Job
from lora_bootstrap.trainer.cast.worker import Worker
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Progress

from ...helpers.cast import make_cast


@pytest.fixture
def loaded(monkeypatch):
    """The bases that were loaded, in order."""
    bases = []
    monkeypatch.setattr(module, "_load_quietly", lambda *base: bases.append(base) or f"base {len(bases)}")
    return bases


@pytest.fixture
def does(monkeypatch):
    """Let the project task be this generator of the base and of whether to stop."""
    def set_work(work):
        monkeypatch.setattr(module, "TASKS", {PROJECT: lambda job, output, base, should_stop: work(base, should_stop)})
    return set_work


def run(tmp_path, worker, **values):
    [character] = make_cast(tmp_path, "zqx", **values)
    return worker.run(Job(character, PROJECT).to_dict())


def ends_with(error):
    def work(base, should_stop):
        yield Progress("steps", 0, 1)
        raise error
    return work


def test_the_base_is_loaded_once_and_again_for_another(tmp_path, loaded, does):
    def work(base, should_stop):
        yield Progress("steps", 1, 1)
        return {"base": base}

    does(work)
    worker = Worker(str(tmp_path))
    assert [run(tmp_path, worker)["facts"]["base"] for _ in range(2)] == ["base 1"] * 2
    assert run(tmp_path, worker, base_precision='"fp8"')["facts"]["base"] == "base 2"
    assert loaded == [("sandbox", "auto"), ("sandbox", "fp8")]


def test_asked_to_stop_it_ends_at_the_next_step(tmp_path, loaded, does):
    worker, steps = Worker(str(tmp_path)), []

    def work(base, should_stop):
        while not should_stop():
            steps.append(1)
            yield Progress("steps", len(steps), 9)
            if len(steps) == 3:
                worker.stop()
        raise Stopped

    does(work)
    assert run(tmp_path, worker) == {"stopped": True} and len(steps) == 3


def test_a_mistake_keeps_the_base_and_a_failure_loads_it_anew(tmp_path, loaded, does):
    worker = Worker(str(tmp_path))
    does(ends_with(UserError("no image")))
    assert run(tmp_path, worker) == {"problem": "no image", "mistake": True}
    does(ends_with(RuntimeError("out of memory")))
    assert run(tmp_path, worker) == {"problem": "RuntimeError: out of memory"}
    assert len(loaded) == 1
    run(tmp_path, worker)
    assert len(loaded) == 2
