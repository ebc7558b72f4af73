"""`lora-bootstrap train`: a folder becomes a LoRA."""

import json

from ...helpers.command_line import SMALL, run


def test_a_folder_is_trained_to_a_lora_and_an_identical_run_reused(tiny, tmp_path, dataset, capsys):
    argv = ["train", "--dataset", tmp_path / "data", "--name", "discs", "--output", tmp_path / "out", *SMALL, "--json"]
    assert run(*argv) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["finished"] and first["step"] == 3 and not first["reused"]
    assert run(*argv) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["reused"] and again["lora"] == first["lora"]


def test_a_base_that_is_no_model_is_told(tmp_path, dataset, capsys):
    assert run("train", "--dataset", tmp_path / "data", "--base", tmp_path / "data") == 2
    assert "model_index.json" in capsys.readouterr().err
