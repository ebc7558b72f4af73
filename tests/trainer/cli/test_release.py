"""`lora-bootstrap release` on a run and on a file."""

import json
from pathlib import Path

import pytest

from ...helpers.command_line import run
from ...helpers.trained_run import draw_scored, write_trained


@pytest.fixture
def trained(tmp_path):
    return write_trained(tmp_path / "output")


def test_a_run_and_its_sweep_become_a_folder_and_a_zip(trained, tmp_path, capsys):
    sweep = draw_scored(tmp_path / "output", trained)
    words = ["release", trained.folder, "--sweep", sweep.folder, "--title", "Akane", "--licence", "mit", "--person",
             "real", "--consent-by", "Jo", "--consent-for", "images", "training", "--tags", "a, b", "--output",
             tmp_path / "output", "--json"]
    assert run(*words) == 0
    out = capsys.readouterr()
    done = json.loads(out.out)
    assert Path(done["folder"]) == tmp_path / "output" / "loras" / "releases" / "akane"
    assert Path(done["zip"]).is_file() and set(done["files"]) > {"README.md", "akane.png", "akane.civitai.info"}
    assert any("not stated for: generating" in line for line in done["warnings"])
    assert 'hf upload "YOUR_NAME/akane"' in out.err, "the command is printed, and nothing is uploaded"
    assert run("info", done["lora"], "--json") == 0
    assert json.loads(capsys.readouterr().out)["metadata"]["modelspec.tags"] == "a, b, character"
