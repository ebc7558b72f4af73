"""`lora-bootstrap train`: a folder becomes a LoRA."""

import json
from pathlib import Path

from lora_bootstrap.trainer.cli.terminal.trainings import combine_settings

from ...helpers.command_line import SMALL, run


def test_a_folder_is_trained_to_a_lora_and_an_identical_run_reused(tiny, tmp_path, dataset, capsys):
    argv = ["train", "--dataset", tmp_path / "data", "--name", "discs", "--output", tmp_path / "out", *SMALL, "--json"]
    assert run(*argv) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["finished"] and first["step"] == 3 and not first["reused"]
    assert run(*argv) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["reused"] and again["lora"] == first["lora"]


def test_epochs_are_counted_in_steps_and_said_and_not_taken_beside_steps(tiny, tmp_path, dataset, capsys):
    place = SMALL.index("steps=3")
    small = SMALL[:place - 1] + SMALL[place + 1:]
    argv = ["train", "--dataset", tmp_path / "data", "--name", "passes", "--output", tmp_path / "out", "--epochs", 2]
    assert run(*argv, *small) == 0
    said = capsys.readouterr().out
    steps = json.loads((tmp_path / "out" / "loras" / "passes" / "run.json").read_text())["step"]
    assert f"{steps} steps = 2 epochs" in said and " images / batch 2" in said
    assert run(*argv, *SMALL) == 2
    assert "steps is 3 and epochs is 2, but only one of them" in capsys.readouterr().err


def test_settings_of_a_file_come_before_the_options_and_those_of_set(tiny, tmp_path, dataset, capsys):
    file = tmp_path / "ours.json"
    file.write_text(json.dumps({"name": "imported", "epochs": 9, "seed": 5, "adapter.alpha": 3.0,
                                "data.trigger": "zqx"}))
    argv = ["train", "--dataset", tmp_path / "data", "--output", tmp_path / "out", "--config", file, *SMALL]
    assert run(*argv) == 0
    config = json.loads((tmp_path / "out" / "loras" / "imported" / "run.json").read_text())["config"]
    assert (config["steps"], config["epochs"], config["seed"]) == (3, 0, 5), "--set steps=3 replaces the epochs"
    assert (config["adapter"]["alpha"], config["data"]["trigger"]) == (3.0, "zqx")
    assert combine_settings({"epochs": 9, "seed": 5}, {"seed": 7, "epochs": 2}, {}) == {"epochs": 2, "seed": 7}


def test_regularisation_images_and_loras_beside_are_given_by_options(tiny, tmp_path, dataset, capsys):
    argv = ["train", "--dataset", tmp_path / "data", "--output", tmp_path / "out", *SMALL, "--json"]
    assert run(*argv, "--name", "style") == 0
    style = json.loads(capsys.readouterr().out)["lora"]
    assert run(*argv, "--name", "both", "--regularisation", tmp_path / "data", "--beside", f"{style}:0.5") == 0
    both = json.loads(capsys.readouterr().out)["lora"]
    lineage = json.loads((Path(both).parent / "run.json").read_text())["lineage"]
    assert lineage["beside"][0]["strength"] == 0.5 and lineage["regularisation"] != lineage["dataset"]


def test_a_base_that_is_no_model_is_told(tmp_path, dataset, capsys):
    assert run("train", "--dataset", tmp_path / "data", "--base", tmp_path / "data") == 2
    assert "model_index.json" in capsys.readouterr().err
