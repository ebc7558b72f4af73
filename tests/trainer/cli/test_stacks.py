"""`lora-bootstrap conflict` and `merge` on two LoRA files."""

import json
from pathlib import Path

import pytest

from ...helpers.command_line import run
from ...helpers.lora_files import lora


@pytest.fixture
def two(tmp_path):
    paths = tmp_path / "hero.safetensors", tmp_path / "ink.safetensors"
    return [lora(path, seed) for path, seed in zip(paths, (1, 200), strict=True)]


def test_loras_are_measured_against_each_other(two, tmp_path, capsys):
    assert run("conflict", f"{two[0]}:0.9", two[1], "--output", tmp_path, "--tolerance", 0.1, "--json") == 0
    out = capsys.readouterr()
    found = json.loads(out.out)
    assert found["verdict"] in ("fine", "strengths", "merge") and found["tolerance"] == 0.1
    assert [file["strength"] for file in found["files"]] == [0.9, 1.0]
    assert json.loads(Path(found["json"]).read_text())["lines"] == found["lines"]
    assert found["png"] == str(tmp_path / "conflicts" / "hero+ink.png") and Path(found["png"]).is_file()
    assert "layers 3/3" in out.err and "hero and ink respond to the same inputs" in out.err


def test_loras_are_merged_and_an_identical_merge_is_reused(two, tmp_path, capsys):
    argv = ["merge", f"{two[0]}:0.9", two[1], "--method", "null_space", "--output", tmp_path, "--name", "both",
            "--json"]
    assert run(*argv) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["lora"] == str(tmp_path / "loras" / "merged" / "both.safetensors") and not first["reused"]
    assert run(*argv) == 0
    assert json.loads(capsys.readouterr().out) == {**first, "reused": True}
    assert run(*argv[:-1], "--rank", 2, "--dtype", "float16") == 0
    text = capsys.readouterr().out
    assert "both-2.safetensors" in text and "Compressed to rank 2" in text
    assert run("info", tmp_path / "loras" / "merged" / "both-2.safetensors", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ranks"] == [2]


def test_one_lora_is_neither_a_conflict_nor_a_merge(two, capsys):
    for command in ("conflict", "merge"):
        assert run(command, two[0]) == 2
        assert capsys.readouterr().err.count("\n") == 1
