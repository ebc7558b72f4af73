"""`lora-bootstrap extract` and `resize` on small files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ...helpers.command_line import run
from ...helpers.lora_files import lora

LAYER = "model.diffusion_model.middle_block.1.proj_in.weight"


@pytest.fixture
def pair(tmp_path):
    paths = tmp_path / "tuned.safetensors", tmp_path / "base.safetensors"
    for path, value in zip(paths, (torch.eye(12), torch.zeros(12, 12)), strict=True):
        save_file({LAYER: value}, path)
    return paths


def test_a_lora_is_extracted_from_two_checkpoints_and_made_smaller(pair, tmp_path, capsys):
    assert run("extract", *pair, "--rank", 12, "--output", tmp_path, "--json") == 0
    out = capsys.readouterr()
    found = json.loads(out.out)
    assert found["lora"] == str(tmp_path / "loras" / "extracted" / "tuned-extracted.safetensors")
    assert [(row["rank"], row["key"]) for row in found["layers"]] == [(12, "diffusion_model.middle_block.1.proj_in")]
    assert found["error"] < 1e-2 and "extracting layers 1/1" in out.err
    assert run("resize", found["lora"], "--rank", 3, "--output", tmp_path, "--json") == 0
    small = json.loads(capsys.readouterr().out)
    assert small["lora"] == str(tmp_path / "loras" / "resized" / "tuned-extracted-resized.safetensors")
    assert small["error"] == pytest.approx(0.75**0.5, rel=1e-3) and small["bytes"] == Path(small["lora"]).stat().st_size


def test_a_missing_base_a_wrong_file_and_a_wrong_number_are_one_line(pair, tmp_path, capsys):
    tuned, base = pair
    for words, text in ((["extract", tuned], "a base is missing"), (["extract", tuned, tmp_path / "x"], "no file at"),
                        (["extract", tuned, base, "--rank", 0], "rank is 0"),
                        (["extract", tuned, base, "--preset", "none"], "unknown preset"),
                        (["extract", lora(tmp_path / "a.safetensors"), base], "is a LoRA already"),
                        (["resize", tuned], "contains no LoRA"),
                        (["resize", tuned, "--rule", "energy", "--target", 2], "target of rule energy is 2.0")):
        assert run(*words, "--output", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and text in error
    assert not (tmp_path / "out").exists()
