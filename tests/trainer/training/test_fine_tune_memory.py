"""A fine-tune for which the card, or RAM, is too small gives the same bits as one that had room for all."""

import os
import signal
import traceback

import pytest
import torch
from safetensors.torch import load_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.models import out_of_memory, ram
from lora_bootstrap.trainer.models.blocks_in_ram import takes_memory
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Finished, Proved, StepDone
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.runs import read_run
from lora_bootstrap.trainer.training.trained import kept_weights, network
from lora_bootstrap.trainer.training.trained.kept_weights import KeptWeights

from ...helpers.tiny import make_dataset


def config(**settings):
    return TrainConfig(name="whole", method="full", steps=3, state_every=1, state_minutes=0).replace(**{
        "optimizer.name": "adafactor", "optimizer.learning_rate": 1e-3, "data.resolution": 32, "data.batch_size": 2,
        "precision": "bf16", **settings})


def state_of(backbone):
    return {name: value.clone() for name, value in backbone.network.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def losses(events):
    return [event.loss for event in events if isinstance(event, StepDone)]


def size(backbone):
    return sum(parameter.nbytes for parameter in backbone.network.parameters())


@pytest.fixture
def before(tiny_backbone):
    return state_of(tiny_backbone)


@pytest.fixture(scope="module")
def whole(tiny_backbone, tmp_path_factory):
    """The losses and the file of a run that had room for all."""
    folder = tmp_path_factory.mktemp("whole")
    events = list(train(tiny_backbone, make_dataset(folder / "data"), config(), folder))
    return losses(events), load_file(events[-1].path)


@pytest.fixture
def short_ram(tiny_backbone, monkeypatch):
    """RAM that has room for a fine-tune only without the base's own weights."""
    free = size(tiny_backbone) // 2
    monkeypatch.setattr(ram, "free_ram", lambda: 10 * free)
    monkeypatch.setattr(network, "free_ram", lambda: free)


def test_blocks_in_ram_give_the_same_losses_file_and_base(tiny_backbone, dataset, tmp_path, before, whole):
    events = list(train(tiny_backbone, dataset, config(offload_blocks=1.0, validate_every=3), tmp_path,
                        validation=dataset))
    assert all(event.proof.passed for event in events if isinstance(event, Proved)), events
    assert losses(events) == whole[0] and same(load_file(events[-1].path), whole[1])
    assert same(before, state_of(tiny_backbone))
    assert not any("weight" in module.__dict__ for module in tiny_backbone.network.modules())


def test_a_run_that_was_cancelled_with_all_on_the_card_ends_in_ram_with_the_same_bits(
        tiny_backbone, dataset, tmp_path, whole):
    events = train(tiny_backbone, dataset, config(), tmp_path)
    while not (isinstance(event := next(events), StepDone) and event.step == 2):
        pass
    events.close()
    ended = list(train(tiny_backbone, dataset, config(offload_blocks=0.5), tmp_path))
    assert [event.step for event in ended if isinstance(event, StepDone)] == [3]
    assert same(load_file(ended[-1].path), whole[1])


def test_where_memory_runs_out_with_all_blocks_recomputed_half_of_them_move_to_ram(
        tiny_backbone, dataset, tmp_path, monkeypatch, whole):
    predict, tried = type(tiny_backbone).predict, []

    def tight(self, noisy, t, conditioning):
        held = sum(p.nbytes for p in self.network.parameters() if takes_memory(p))
        if torch.is_grad_enabled():
            tried.append((self.recompute, self.offload))
            if held > 0.9 * size(self):
                raise torch.OutOfMemoryError("no")
        return predict(self, noisy, t, conditioning)

    monkeypatch.setattr(type(tiny_backbone), "predict", tight)
    events = list(train(tiny_backbone, dataset, config(), tmp_path))
    assert tried[:4] == [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (1.0, 0.5)] and set(tried[4:]) == {(1.0, 0.5)}
    assert "half of the blocks are held in RAM from this step on" in [
        event.message for event in events if isinstance(event, Warned)][-1]
    assert losses(events) == pytest.approx(whole[0], rel=1e-2)
    run = read_run(tmp_path / "whole")
    assert (run.recomputed, run.offloaded) == (1.0, 0.5)


def test_a_step_that_memory_runs_out_for_with_all_in_ram_ends_the_run(tiny_backbone):
    saver = out_of_memory.MemorySaver(tiny_backbone, True, print, print)
    with tiny_backbone.training(1.0), tiny_backbone.own_weights(torch.float32, 1.0):
        assert saver._next() is None
    with tiny_backbone.training(1.0):
        assert saver._next() is None, "a LoRA's blocks are not moved during a run"


def test_where_ram_is_short_the_weights_of_before_are_on_disk_and_the_base_is_the_same(
        tiny_backbone, dataset, tmp_path, before, whole, short_ram):
    files, freed, notes = [], [], []
    for event in train(tiny_backbone, dataset, config(), tmp_path):
        if isinstance(event, Warned):
            notes.append(event.message)
        if isinstance(event, StepDone):
            files.append([path.stat().st_size for path in (tmp_path / "whole/state").glob(".weights*")])
            freed.append(event.loss)
    assert freed == whole[0] and same(load_file(event.path), whole[1]) and same(before, state_of(tiny_backbone))
    assert all(found[0] > size(tiny_backbone) for found in files) and len(files) == 3
    assert notes == [note for note in notes if "kept on disk until the training ends" in note] and len(notes) == 1
    assert not list((tmp_path / "whole").rglob(".weights*")), "the file is removed at the end"


def test_what_a_killed_run_kept_on_disk_is_removed_by_the_next_start(tiny_backbone, dataset, tmp_path, before, whole,
                                                                     short_ram):
    child = os.fork()
    if child == 0:  # the child dies in the middle, as if it were killed
        try:
            # makes a pool in place of the parent's, before threads that read images race to do so
            torch.set_num_threads(1)
            for event in train(tiny_backbone, dataset, config(), tmp_path):
                if isinstance(event, StepDone) and event.step == 2:
                    os.kill(os.getpid(), signal.SIGKILL)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    left = list((tmp_path / "whole/state").glob(".weights*"))
    assert len(left) == 1
    ended = list(train(tiny_backbone, dataset, config(), tmp_path))
    assert isinstance(ended[-1], Finished) and same(load_file(ended[-1].path), whole[1])
    assert not left[0].exists() and not list((tmp_path / "whole").rglob(".weights*"))
    assert same(before, state_of(tiny_backbone))


def test_a_run_that_is_killed_after_its_end_leaves_nothing_on_disk(tiny_backbone, dataset, tmp_path, whole):
    list(train(tiny_backbone, dataset, config(), tmp_path))
    dead = os.fork()
    if dead == 0:
        kept_weights.KeptWeights(kept_weights.temporary_path(tmp_path / "whole/state/x"), {"a": torch.ones(1)})
        os._exit(0)
    os.waitpid(dead, 0)
    assert len(list((tmp_path / "whole/state").glob("*.tmp"))) == 1
    assert list(train(tiny_backbone, dataset, config(), tmp_path))[-1].reused
    assert not list((tmp_path / "whole/state").glob("*.tmp"))


def test_a_disk_without_room_for_them_refuses_the_run_and_leaves_the_base_as_it_was(
        tiny_backbone, dataset, tmp_path, before, short_ram, monkeypatch):
    monkeypatch.setattr(kept_weights.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match="GiB, and the disk has 0.0 GiB free"):
        list(train(tiny_backbone, dataset, config(), tmp_path))
    assert same(before, state_of(tiny_backbone))


def test_a_disk_that_fills_up_while_they_are_written_leaves_the_base_as_it_was(
        tiny_backbone, dataset, tmp_path, before, short_ram, monkeypatch):
    def full(*args, **kwargs):
        raise UserError("the disk is full")

    monkeypatch.setattr(kept_weights, "write_hashed", full)
    with pytest.raises(UserError, match="disk is full"):
        list(train(tiny_backbone, dataset, config(), tmp_path))
    assert same(before, state_of(tiny_backbone)) and not list((tmp_path / "whole").rglob(".weights*"))


def test_a_weight_that_was_damaged_on_disk_is_never_given_back(tmp_path):
    weights = {"a": torch.arange(8.0), "b": torch.ones(4, dtype=torch.bfloat16)}
    kept = KeptWeights(tmp_path / "kept", weights)
    assert same(dict(kept), weights)
    data = bytearray((tmp_path / "kept").read_bytes())
    data[-1] ^= 1
    (tmp_path / "kept").write_bytes(data)
    with pytest.raises(UserError, match="damaged.*Load the base again"):
        dict(kept)
