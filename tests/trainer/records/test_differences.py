"""What differs between two runs is found in what they recorded."""

import json
from dataclasses import replace

from lora_bootstrap.trainer.common.files import read_json, write_json
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.datasets.recorded import read_images, record_images
from lora_bootstrap.trainer.records.differences import compare_runs, describe_differences
from lora_bootstrap.trainer.training.runs import read_run

from ...helpers.archived_project import write_whole_run
from ...helpers.command_line import run as command
from ...helpers.tiny import make_dataset


def two_runs(output):
    return [write_whole_run(output, name, losses=losses, dataset=name)
            for name, losses in (("a", (0.5, 0.3)), ("b", (0.4, 0.2)))]


def test_settings_images_captions_and_figures_are_compared(tmp_path, capsys):
    first, second = two_runs(tmp_path)
    facts = read_json(second / "run.json")
    facts["config"]["adapter"]["rank"] = 99
    facts["proofs"] = [{"name": "coverage", "passed": True, "words": "9 of 9", "figure": 1.0}]
    write_json(second / "run.json", facts)
    (second / "metrics.jsonl").write_text('{"step": 1, "loss": 0.25, "validation_loss": 0.5}\n')
    samples = list(make_dataset(tmp_path / "set", 4))
    record_images(first, samples[:3], samples[3:])
    changed = load_folder(tmp_path / "set").with_captions(lambda caption: caption.replace("number 1", "number one"))
    record_images(second, list(changed)[1:])
    found = compare_runs(read_run(first), read_run(second))
    assert [(row.name, row.first == 99, row.second == 99) for row in found.settings] == [("adapter.rank", False, True)]
    assert found.recorded and not found.same_data and found.only_second == ()
    assert found.only_first == (samples[0].path.name,)
    assert [row.name for row in found.captions] == [samples[1].path.name]
    figures = {row.name: (row.first, row.second) for row in found.figures}
    assert figures["loss (last 20 steps)"] == (0.4, 0.25)
    assert figures["lowest validation loss"] == (None, 0.5)
    assert figures["proof: coverage"] == (None, "passed, 9 of 9")
    assert command("diff", first, second) == 0
    out = capsys.readouterr().out
    for line in ("adapter.rank: ", f"only in a: {samples[0].path.name}", "loss (last 20 steps): 0.4 → 0.25"):
        assert line in out
    assert command("diff", first, second, "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["only_first"] == [samples[0].path.name]
    assert command("diff", first, tmp_path) == 2 and "no run.json" in capsys.readouterr().err


def test_loras_beside_a_training_and_regularisation_images_are_differences_too(tmp_path):
    beside = [{"name": "inks", "tensors": "e" * 64, "strength": 0.5}]
    first = write_whole_run(tmp_path, "a", beside=beside, regularisation="f" * 64)
    second = write_whole_run(tmp_path, "b", beside=[], model_loras=["paper.safetensors at 0.8"])
    samples = list(make_dataset(tmp_path / "set", 2))
    record_images(first, [samples[0], replace(samples[1], regularisation=True)])
    record_images(second, samples)
    found = compare_runs(*map(read_run, (first, second)))
    assert not found.same_data
    assert {row.name: (row.first, row.second) for row in found.settings} == {
        "beside": ("inks (eeeeeeeeeeee) at 0.5", None), "regularisation": ("ffffffffffff", None),
        "model_loras": (None, "paper.safetensors at 0.8")}


def test_another_validation_set_is_not_the_same_data(tmp_path):
    samples = list(make_dataset(tmp_path / "set", 4))
    first, second, third = (write_whole_run(tmp_path, name, dataset="d") for name in ("a", "b", "c"))
    for folder, held_back in ((first, samples[2:3]), (second, samples[3:]), (third, samples[2:3])):
        record_images(folder, samples[:2], held_back)
    a, b, c = map(read_run, (first, second, third))
    found = compare_runs(a, b)
    assert not found.same_data and found.only_first == (samples[2].path.name,) and compare_runs(a, c).same_data


def test_the_same_images_with_other_masks_are_not_called_the_same_data(tmp_path):
    samples = list(make_dataset(tmp_path / "set", 2))
    runs = [write_whole_run(tmp_path, name, dataset=name) for name in ("a", "b")]
    for folder in runs:
        record_images(folder, samples)
    assert any("not with the same repeats, order, masks or control images" in line
               for line in describe_differences("a", "b", compare_runs(*map(read_run, runs))))


def test_runs_of_earlier_versions_say_that_their_images_are_not_known(tmp_path):
    first, second = map(read_run, two_runs(tmp_path))
    text = "\n".join(describe_differences("a", "b", compare_runs(first, second)))
    assert "all the same" in text and "not known of runs of earlier versions" in text
    assert "the same, with the same captions" in "\n".join(describe_differences("a", "a", compare_runs(first, first)))


def test_a_damaged_record_of_images_counts_as_none(tmp_path):
    (tmp_path / "images.json").write_text("{")
    assert read_images(tmp_path) is None
