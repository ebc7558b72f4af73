"""`lora-bootstrap prove`: one command, one table."""

import json

import pytest
from PIL import Image

from lora_bootstrap.trainer.memory import preflight
from lora_bootstrap.trainer.proofs import same_text

from ...helpers.command_line import run

FEW = ["--set", "data.resolution=32", "--steps", "3"]


@pytest.fixture
def few_steps(tiny_backbone, monkeypatch):
    from dataclasses import replace

    monkeypatch.setattr(tiny_backbone, "family", replace(tiny_backbone.family, resolution=32, sample_steps=2))


def test_a_base_is_proved_with_its_memory_its_time_and_a_grid(tiny, few_steps, tmp_path, capsys):
    assert run("prove", "--output", tmp_path, *FEW, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] and [proof["name"] for proof in told["proofs"]] == ["coverage", "same text", "file works"]
    table = told["table"]
    assert table["grid"] == "8 of 8 cells" and table["peak memory"].endswith(" GiB")
    assert table["seconds a step"].endswith("(median of 1)") and table["family"].endswith("(sandbox)")
    assert Image.open(told["grid"]).width > 8 * 32
    lines = (tmp_path / "loras" / "prove-sandbox" / "prove.md").read_text("utf-8").splitlines()
    assert lines[:2] == ["| proved | yes |", "| --- | --- |"] and all(line.count(" | ") == 1 for line in lines[:2])
    assert len(lines) == 2 + len(table)


def test_a_second_trial_replaces_nothing(tiny, few_steps, tmp_path, capsys):
    kept = tmp_path / "sweeps" / "prove-sandbox-2" / "mine.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    for _ in range(2):
        assert run("prove", "--output", tmp_path, *FEW) == 0
    assert sorted(path.name for path in (tmp_path / "loras").iterdir() if path.is_dir()) == [
        "prove-sandbox", "prove-sandbox-2"]
    assert [path.name for path in kept.parent.iterdir()] == ["mine.txt"]
    assert (tmp_path / "sweeps" / "prove-sandbox-2-2" / "grid.png").is_file()


def test_a_base_that_fails_has_a_table_that_says_why(tiny, few_steps, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(same_text, "tolerance", lambda network: -1.0)
    assert run("prove", "--output", tmp_path, *FEW) == 2
    said = capsys.readouterr()
    assert "| proved | NO |" in said.out and "| same text | ✗ training is not started" in said.out
    assert "| file works | not reached |" in said.out and "| grid | 0 of 8 cells |" in said.out
    assert "not proved on this machine" in said.err
    assert "training is not started" in (tmp_path / "loras" / "prove-sandbox" / "prove.md").read_text("utf-8")


def test_the_training_of_a_trial_is_fitted_to_the_card(tiny, few_steps, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(preflight, "fitted", lambda events, backbone, config: asked.append(config.steps) or events)
    assert run("prove", "--output", tmp_path, *FEW) == 0
    assert asked == [3]
