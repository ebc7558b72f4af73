"""A run records the loss of each image, resumes exactly, names outliers, and sets them aside if it is asked to."""

import json
from contextlib import closing

import pytest
import torch
from safetensors.torch import load_file

from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.datasets.dataset import Dataset
from lora_bootstrap.trainer.records.archive import FORM
from lora_bootstrap.trainer.training import runs
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.events import Finished, StepDone
from lora_bootstrap.trainer.training.loop import train
from lora_bootstrap.trainer.training.watched import watch
from lora_bootstrap.trainer.training.watched.image_losses import FILE, LossDraw, LossFile, read_losses_by_image
from lora_bootstrap.trainer.training.watched.outliers import MISFIT, Outlier

CONFIG = TrainConfig(name="watched", steps=8, state_every=1, state_minutes=0).replace(**{
    "adapter.rank": 1, "adapter.layers": "attention", "data.resolution": 32, "data.batch_size": 2,
    "accumulation_steps": 2, "optimizer.learning_rate": 1e-2})


def run(backbone, dataset, root, config=CONFIG, stop_at=99):
    events = []
    for event in train(backbone, dataset, config, root, should_stop=lambda: len(steps(events)) == stop_at):
        events.append(event)
    return events


def steps(events):
    return [event for event in events if isinstance(event, StepDone)]


def lines(root):
    return [json.loads(line) for line in (root / "watched" / FILE).read_text().splitlines()]


def test_the_losses_of_the_images_add_up_to_that_of_their_step(tiny_backbone, dataset, tmp_path):
    done = steps(run(tiny_backbone, dataset, tmp_path))
    table = read_losses_by_image(tmp_path / "watched")
    assert table.names == tuple(sample.path.name for sample in dataset) and len(table) == 8 * 2 * 2
    for event in done:
        own = [loss for step, loss in zip(table.steps, table.losses, strict=True) if step == event.step]
        assert sum(own) / len(own) == pytest.approx(event.loss, rel=1e-3) and len(own) == 4
    assert all(0 <= t <= 1 for t in table.times) and len(set(table.times)) > 16


def test_a_resumed_run_records_what_a_whole_one_does(tiny_backbone, dataset, tmp_path):
    run(tiny_backbone, dataset, tmp_path / "whole")
    run(tiny_backbone, dataset, tmp_path / "resumed", stop_at=3)
    with open(tmp_path / "resumed" / "watched" / FILE, "a") as file:
        file.write('{"step":7,"draws":[[0,0.5,9.0]]}\n{"step":')  # a killed process was further than its state
    run(tiny_backbone, dataset, tmp_path / "resumed")
    assert lines(tmp_path / "resumed") == lines(tmp_path / "whole")


def test_draws_without_a_caption_are_not_recorded(tiny_backbone, dataset, tmp_path):
    run(tiny_backbone, dataset, tmp_path, CONFIG.replace(**{"data.caption_dropout": 0.5}))
    assert 0 < len(read_losses_by_image(tmp_path / "watched")) < 32


@pytest.fixture
def third_is_outlier(monkeypatch):
    """The third image is an outlier once it was drawn."""
    def find(table):
        return [Outlier(2, table.names[2], MISFIT, 6.0, 1.5, 12)] if 2 in table.images else []

    monkeypatch.setattr(watch, "find_outliers", find)
    monkeypatch.setattr(watch, "MOST_ASIDE", 0.5)


def test_an_outlier_is_named_at_the_end_with_a_reason_to_look(tiny_backbone, dataset, tmp_path, third_is_outlier):
    *_, told, _ = run(tiny_backbone, dataset, tmp_path)
    name = dataset.samples[2].path.name
    assert isinstance(told, Warned) and told.message.startswith(f"{name}: its loss at high noise is 1.50 times")


def test_an_outlier_set_aside_is_not_drawn_again_and_a_resumed_run_agrees(
        tiny_backbone, dataset, tmp_path, third_is_outlier):
    dataset = Dataset((dataset.samples * 2)[:6])
    config = CONFIG.replace(**{"data.set_aside_outliers": True, "data.batch_size": 1})
    events = run(tiny_backbone, dataset, tmp_path / "whole", config)
    told = [event.message for event in events if isinstance(event, Warned) and "set aside" in event.message]
    since = next(line["step"] for line in lines(tmp_path / "whole") if "set_aside" in line)
    table = read_losses_by_image(tmp_path / "whole" / "watched")
    drawn = [step for step, image in zip(table.steps, table.images, strict=True) if image == 2]
    assert len(told) == 1 and told[0].startswith(f"step {since}: {dataset.samples[2].path.name} is set aside")
    assert 0 < max(drawn) <= since < 8 and len(table) == 16, "another image takes its place"

    run(tiny_backbone, dataset, tmp_path / "resumed", config, stop_at=since + 1)
    with closing(train(tiny_backbone, dataset, config, tmp_path / "cancelled")) as events:
        next(event for event in events if isinstance(event, StepDone) and event.step == since)
    for name in ("resumed", "cancelled"):  # the latter before its images were judged
        run(tiny_backbone, dataset, tmp_path / name, config)
        assert lines(tmp_path / name) == lines(tmp_path / "whole"), name
        whole, again = (load_file(tmp_path / folder / "watched" / "watched.safetensors") for folder in ("whole", name))
        assert all(torch.equal(whole[key], again[key]) for key in whole), name


def test_runs_of_earlier_versions_keep_their_keys():
    off, on = CONFIG, CONFIG.replace(**{"data.set_aside_outliers": True})
    assert "data.set_aside_outliers" not in runs._deciding_settings(off)
    assert runs.run_key(off, "base", "data") != runs.run_key(on, "base", "data")


def test_damaged_lines_cost_only_themselves(tmp_path):
    file = LossFile(tmp_path, ["a.png", "b.png"], 0)
    file.add(1, [LossDraw(0, 0.5, 0.25)])
    file.close()
    with open(tmp_path / FILE, "a") as text:
        text.write('{"step":2,"draws":[[5,0.5,1],[1,"x",1],[1,0.5,NaN],[1,0.5,0.125]]}\nnothing\n{"step":3,"draws":7}\n'
                   '{"step":4,"set_aside":[1,9]}\n' f'{{"step":4,"draws":[[1,0.5,1{"0" * 400}]]}}\n'
                   '{"step":"x","images":["a.png"]}\n')
    table = read_losses_by_image(tmp_path)
    assert list(table.losses) == [0.25, 0.125] and table.set_aside == {1: 4}
    assert len(LossFile(tmp_path, ["other.png"], 4).table) == 0, "the file of other images is begun anew"
    assert read_losses_by_image(tmp_path / "nowhere").names == ()


def test_the_file_goes_with_the_run_into_an_archive():
    assert FORM.find_kind(f"runs/watched/{FILE}") and not FORM.find_kind(f"runs/watched/other-{FILE}")


def test_a_finished_run_is_reused_without_naming_outliers_again(tiny_backbone, dataset, tmp_path, third_is_outlier):
    run(tiny_backbone, dataset, tmp_path)
    assert [type(event) for event in run(tiny_backbone, dataset, tmp_path)] == [Finished]
