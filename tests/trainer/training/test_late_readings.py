"""On a card the figures of a step are read while the next one is computed; here the CPU is made to do so too."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch.utils._python_dispatch import TorchDispatchMode

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.training import checkpoint
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import CheckpointSaved, Finished, RunStarted, StepDone, Validated
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.step import readings


def config(**settings):
    return TrainConfig(name="late", steps=5, state_every=1, state_minutes=0).replace(**{
        "adapter.rank": 2, "data.resolution": 32, "data.batch_size": 2, "optimizer.learning_rate": 1e-2, **settings})


@pytest.fixture
def late(monkeypatch):
    monkeypatch.setitem(readings.LAG, "cpu", 1)


def weights(folder):
    return {path.name: load_file(path) for path in folder.rglob("late*.safetensors")}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def bad_at(backbone, monkeypatch, step, spoil):
    """The network's prediction of that step, and only of it, is spoiled."""
    predict, calls = backbone.predict, iter(range(1, 100))

    def spoiled(*args):
        good = predict(*args)
        return spoil(good) if torch.is_grad_enabled() and next(calls) == step else good

    monkeypatch.setattr(backbone, "predict", spoiled)


def as_nan(prediction):
    return prediction * float("nan")


def as_endless_slope(prediction):
    """The same values, but their gradient is not finite."""
    return prediction + (prediction - prediction.detach()).abs().sqrt()


def test_late_readings_tell_every_step_in_order_and_before_what_was_saved_of_it(tiny_backbone, dataset, tmp_path,
                                                                               monkeypatch):
    settings = config(save_every=2, validate_every=2)
    told = {}
    for lag in (0, 1):
        monkeypatch.setitem(readings.LAG, "cpu", lag)
        events = list(train(tiny_backbone, dataset, settings, tmp_path / str(lag), validation=dataset))
        told[lag] = [(type(event), event.step, getattr(event, "loss", 0), getattr(event, "grad_norm", 0))
                     for event in events if isinstance(event, (StepDone, Validated, CheckpointSaved, Finished))]
        lines = [json.loads(line) for line in (events[-1].path.parent / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if "grad_norm" in line] == [1, 2, 3, 4, 5]
    assert told[0] == told[1]
    at_once, later = weights(tmp_path / "0"), weights(tmp_path / "1")
    assert len(later) == 3 and all(same(at_once[name], later[name]) for name in at_once)


@pytest.mark.parametrize(("spoil", "words"), [(as_nan, "the loss became nan at step 4"),
                                              (as_endless_slope, "the gradient became (nan|inf) at step 4")])
def test_nothing_of_a_step_that_diverged_is_saved(tiny_backbone, dataset, tmp_path, monkeypatch, late, spoil, words):
    bad_at(tiny_backbone, monkeypatch, 4, spoil)
    with pytest.raises(UserError, match=words):
        list(train(tiny_backbone, dataset, config(save_every=1), tmp_path))
    assert sorted(weights(tmp_path)) == [f"late-step00000{step}.safetensors" for step in (1, 2, 3)]
    assert checkpoint.load_state(tmp_path / "late" / "state" / "state.safetensors").step == 3


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_a_run_that_is_cancelled_while_a_step_diverges_never_saves_that_step(tiny_backbone, dataset, tmp_path,
                                                                            monkeypatch, late, optimizer):
    settings = config(state_every=100, **{"optimizer.name": optimizer})
    stops = iter([False, True])
    list(train(tiny_backbone, dataset, settings, tmp_path / "good", should_stop=lambda: next(stops)))
    bad_at(tiny_backbone, monkeypatch, 3, as_nan)
    stream = train(tiny_backbone, dataset, settings, tmp_path / "bad")
    while not (isinstance(event := next(stream), StepDone) and event.step == 2):
        pass
    stream.close()  # step 3 has been trained, and not been read
    good, bad = weights(tmp_path / "good"), weights(tmp_path / "bad")
    if optimizer == "adafactor":  # it cannot be told on the card to leave a step out
        assert bad == {}
    else:
        assert bad.keys() == good.keys() == {"late-step000002.safetensors"}
        assert all(same(good[name], bad[name]) for name in good)


def test_a_run_that_was_cancelled_while_its_last_step_diverged_goes_on_to_the_same_bits(tiny_backbone, dataset,
                                                                                        tmp_path, monkeypatch, late):
    settings = config(state_every=100, **{"optimizer.name": "adamw_bf16"})
    whole = list(train(tiny_backbone, dataset, settings, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        bad_at(tiny_backbone, patch, 3, as_nan)
        stream = train(tiny_backbone, dataset, settings, tmp_path / "parts")
        while not (isinstance(event := next(stream), StepDone) and event.step == 2):
            pass
        stream.close()
    rest = list(train(tiny_backbone, dataset, settings, tmp_path / "parts"))
    assert next(event for event in rest if isinstance(event, RunStarted)).first_step == 2
    assert same(load_file(whole[-1].path), load_file(rest[-1].path))


def test_an_optimizer_is_told_of_bad_figures_only_where_its_weights_are_on_the_same_device():
    here, elsewhere = (torch.nn.Parameter(torch.zeros(2, device=device)) for device in ("cpu", "meta"))
    bad = torch.tensor([1.0, float("nan")])
    optimizer = torch.optim.AdamW([here], fused=True)
    assert readings.guard(optimizer, bad) and optimizer.found_inf == 1
    mixed = torch.optim.AdamW([here], fused=True)
    mixed.param_groups[0]["params"].append(elsewhere)
    assert not readings.guard(mixed, bad) and not hasattr(mixed, "found_inf")


def test_what_was_trained_after_a_step_that_diverged_is_not_saved(tiny_backbone, dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(readings.LAG, "cpu", 2)
    bad_at(tiny_backbone, monkeypatch, 2, as_nan)
    stream = train(tiny_backbone, dataset, config(state_every=100), tmp_path)
    while not isinstance(next(stream), StepDone):
        pass
    stream.close()  # steps 2 and 3 have been trained
    assert weights(tmp_path) == {} and not (tmp_path / "late" / "state" / "state.safetensors").exists()


def test_a_run_that_is_cancelled_goes_on_after_the_step_that_was_not_read(tiny_backbone, dataset, tmp_path, late):
    whole = list(train(tiny_backbone, dataset, config(), tmp_path / "whole"))
    stream = train(tiny_backbone, dataset, config(state_every=100), tmp_path / "parts")
    while not isinstance(next(stream), StepDone):
        pass
    stream.close()
    rest = list(train(tiny_backbone, dataset, config(state_every=100), tmp_path / "parts"))
    assert next(event for event in rest if isinstance(event, RunStarted)).first_step == 2
    assert same(load_file(whole[-1].path), load_file(rest[-1].path))
    lines = (rest[-1].path.parent / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5]


class Counted(TorchDispatchMode):
    """Counts what makes the CPU wait for a device, and what is moved to one."""

    def __init__(self):
        super().__init__()
        self.reads, self.moved = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and out.device != args[0].device:
            self.moved.append(out)
        return out


@pytest.mark.parametrize("accumulation", [1, 3])
def test_a_step_reads_the_device_once_at_most(tiny_backbone, dataset, tmp_path, accumulation):
    stream = train(tiny_backbone, dataset, config(state_every=100, accumulation_steps=accumulation), tmp_path)
    while not isinstance(next(stream), StepDone):
        pass
    with Counted() as counted:
        assert isinstance(next(stream), StepDone)
    stream.close()
    assert counted.reads <= 1


def test_a_step_moves_the_levels_of_its_own_rows_and_no_tables(dataset):
    """On a device that has no values, so whatever had to be read from it would be an error."""
    from lora_bootstrap.tests.helpers.tiny import make_tiny_backbone
    from lora_bootstrap.trainer.training.objectives import Loss

    backbone = make_tiny_backbone()
    loss = Loss.of(backbone.family, backbone.schedule, TrainConfig().objective)
    text, t = backbone.encode_text(["red", "blue"]).detach(), torch.tensor([0.2, 0.8])
    backbone.network.to("meta")
    latents, noise = torch.empty(2, 2, 4, 8, 8, device="meta")
    with Counted() as counted:
        noisy = backbone.noised(latents, noise, t)
        error = loss.per_sample(backbone.predict(noisy, t, text), latents, noise, t)
    assert error.shape == (2,) and error.device.type == "meta" and counted.reads == 0
    texts = [moved for moved in counted.moved if moved.shape == text.tensors["prompt_embeds"].shape]
    assert len(texts) == 1 and all(moved.shape == (2,) for moved in counted.moved if moved is not texts[0])
