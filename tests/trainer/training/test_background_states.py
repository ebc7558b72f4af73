"""The state is saved by the clock, and written while the training goes on."""

import errno
import threading

import pytest
import torch
from safetensors.torch import load_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.training import checkpoint
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Finished, RunStarted, StepDone
from lora_bootstrap.trainer.training.loop import train

PATIENCE = 20.0
CONFIG = TrainConfig(name="tiny", steps=6).replace(**{
    "adapter.rank": 2, "optimizer.learning_rate": 1e-2, "data.resolution": 32, "data.batch_size": 2})
EVERY_STEP = CONFIG.replace(state_every=1, state_minutes=0)


def writing():
    return [thread for thread in threading.enumerate() if thread.name == "training state"]


@pytest.fixture
def clock(monkeypatch):
    """Minutes that pass only when a test says so."""
    class Clock:
        minutes = 0.0

    monkeypatch.setattr(checkpoint, "monotonic", lambda: 60 * Clock.minutes)
    return Clock


@pytest.mark.parametrize(("settings", "saved"), [
    ({}, {4}),  # which ends 350 seconds after the run began
    ({"state_every": 2, "state_minutes": 3.5}, {4}),
    ({"state_every": 50, "state_minutes": 0}, set()),
    ({"state_every": 1, "state_minutes": 0}, {1, 2, 3, 4, 5}),
    ({"state_minutes": 0}, set()),
], ids=["by default", "both", "steps", "every step", "neither"])
def test_a_state_is_saved_at_the_first_step_for_it_after_so_many_minutes(
        tiny_backbone, dataset, tmp_path, clock, monkeypatch, settings, saved):
    steps, write = [], checkpoint.write_snapshot
    monkeypatch.setattr(checkpoint, "write_snapshot", lambda path, snapshot: (
        write(path, snapshot), steps.append(checkpoint.saved_step(path))))
    minutes = 100 / 60 if not settings else 2
    for event in train(tiny_backbone, dataset, CONFIG.replace(**settings), tmp_path):
        if isinstance(event, StepDone):
            clock.minutes += minutes if event.step > 1 else minutes / 2
    assert set(steps) == saved


def test_steps_are_trained_while_a_state_is_written_and_the_run_ends_with_the_same_bits(
        tiny_backbone, dataset, tmp_path, monkeypatch):
    *_, whole = train(tiny_backbone, dataset, CONFIG, tmp_path / "whole")
    went_on, save_file, seen = threading.Event(), checkpoint.save_file, []

    def slow(*arguments, **named):
        seen.append(went_on.wait(PATIENCE))
        save_file(*arguments, **named)

    monkeypatch.setattr(checkpoint, "save_file", slow)
    events = train(tiny_backbone, dataset, CONFIG.replace(state_every=2, state_minutes=0), tmp_path / "parts")
    for event in events:
        if isinstance(event, StepDone) and event.step == 4:
            went_on.set()
            break
    events.close()  # which saves the state of step 4, after that of step 2
    assert seen == [True, True] and not writing()
    rest = list(train(tiny_backbone, dataset, CONFIG, tmp_path / "parts"))
    assert next(event for event in rest if isinstance(event, RunStarted)).first_step == 4
    final, wanted = load_file(rest[-1].path), load_file(whole.path)
    assert final.keys() == wanted.keys() and all((final[key] == wanted[key]).all() for key in wanted)


def refusing(monkeypatch, first, last=99):
    """Let the system refuse every state from that save on, up to the last."""
    save_file, saves = checkpoint.save_file, iter(range(1, 99))

    def refuse(*arguments, **named):
        if first <= next(saves) <= last:
            raise OSError(errno.EIO, "Input/output error")
        save_file(*arguments, **named)

    monkeypatch.setattr(checkpoint, "save_file", refuse)


def test_a_state_that_cannot_be_written_ends_the_run_in_one_line_and_the_one_before_it_is_resumed(
        tiny_backbone, dataset, tmp_path, monkeypatch):
    refusing(monkeypatch, first=3)
    with pytest.raises(UserError, match="cannot write .*state.safetensors: .*Check the disk") as caught:
        list(train(tiny_backbone, dataset, EVERY_STEP, tmp_path))
    assert "\n" not in str(caught.value) and not writing()
    saved = max(tmp_path.glob("tiny/tiny-step*.safetensors"))  # the LoRA that was in memory
    assert int(saved.stem[-6:]) >= 3 and load_file(saved)
    monkeypatch.undo()
    rest = list(train(tiny_backbone, dataset, EVERY_STEP, tmp_path))
    assert next(event for event in rest if isinstance(event, RunStarted)).first_step == 2
    assert isinstance(rest[-1], Finished)


def test_one_state_that_cannot_be_written_is_reported_and_the_next_one_is(tiny_backbone, dataset, tmp_path,
                                                                          monkeypatch):
    refusing(monkeypatch, first=2, last=2)
    steps, write = [], checkpoint.write_snapshot
    monkeypatch.setattr(checkpoint, "write_snapshot", lambda path, snapshot: (
        write(path, snapshot), steps.append(checkpoint.saved_step(path))))
    events = list(train(tiny_backbone, dataset, EVERY_STEP, tmp_path))
    said = [event.message for event in events if isinstance(event, Warned) and "Check the disk" in event.message]
    assert len(said) == 1 and "the training goes on without it" in said[0]
    assert steps == [1, 3, 4, 5] and isinstance(events[-1], Finished)


def test_a_state_that_fails_too_late_to_matter_is_reported_and_the_run_is_finished(
        tiny_backbone, dataset, tmp_path, monkeypatch):
    refusing(monkeypatch, first=1)
    last = CONFIG.replace(state_every=CONFIG.steps - 1, state_minutes=0)
    events = list(train(tiny_backbone, dataset, last, tmp_path))
    assert [event.message for event in events if isinstance(event, Warned) and "Check the disk" in event.message]
    assert isinstance(events[-1], Finished) and events[-1].path.is_file() and not events[-1].stopped


@pytest.mark.parametrize("stop", [lambda events: list(events), lambda events: events.close()], ids=["stop", "cancel"])
def test_a_run_that_ends_early_saves_its_lora_even_if_the_state_is_refused(
        tiny_backbone, dataset, tmp_path, monkeypatch, stop):
    refusing(monkeypatch, first=1)
    events, asked = train(tiny_backbone, dataset, CONFIG, tmp_path, should_stop=lambda: asked), False
    while not isinstance(next(events), StepDone):
        pass
    asked = True
    with pytest.raises(UserError, match="Check the disk"):
        stop(events)
    assert [load_file(path) for path in tmp_path.glob("tiny/tiny-step*.safetensors")]


def test_a_process_that_ends_waits_for_a_state_that_a_daemon_thread_began_to_save(tmp_path, monkeypatch):
    daemons = []
    monkeypatch.setattr(checkpoint, "save_file", lambda *arguments, **named: daemons.append(
        threading.current_thread().daemon))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], 0.1)

    def save():  # as a host does, whose prompts run in such a thread
        writer = checkpoint.StateWriter(tmp_path / "state")
        writer.save(lambda: checkpoint.take_snapshot(1, {}, optimizer))
        writer.wait()

    host = threading.Thread(target=save, daemon=True)
    host.start()
    host.join(PATIENCE)
    assert daemons == [False]
