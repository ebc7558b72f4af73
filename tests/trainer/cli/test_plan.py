"""`lora-bootstrap plan`: what it prints, and what it refuses."""

import json

import pytest

from ...helpers.command_line import run

SMALL = ("--resolution", 64, "--batch", 2, "--rank", 4, "--layers", "attention")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_plan_says_what_a_training_takes(capsys):
    assert run("plan", "sandbox", *SMALL, "--vram", 4, "--json") == 0
    out, told = capsys.readouterr()
    facts = json.loads(out)
    assert facts["peak"] > facts["weights"] + facts["adapter"] + facts["optimizer_state"] > 0
    assert facts["optimizer_state"] == 2 * facts["adapter"] == 8 * facts["parameters"]
    assert facts["fits"]["needed"] <= 4 * 2**30 and facts["largest_batch"] >= 2
    assert (facts["batch"], facts["rank"], facts["precision"]) == (2, 4, "fp32")
    for words in ("weights", "activations", "fits 4 GB as it is", "largest batch that fits", "RTX 4090: about",
                  "disk", "RAM"):
        assert words in told


@pytest.mark.parametrize(("words", "error"), [
    (("plan", "sdxll"), "neither a known name nor a file"),
    (("plan", "sdxl", "--precision", "fp9"), "fp9"),
    (("plan", "sdxl", "--vram", "0"), "--vram is 0"),
    (("plan", "sdxl", "--vram", "nan"), "--vram is nan"),
    (("plan", "sdxl", "--batch", "0"), "--batch is 0"),
    (("plan", "sdxl", "--layers", "atention"), "attention"),
    (("plan", "sdxl", "--optimizer", "adamx"), "adamw"),
    (("plan", "sdxl", "--rank", "0"), "rank"),
])
def test_a_mistake_is_one_line_and_exit_code_2(words, error, capsys):
    assert run(*words) == 2
    told = capsys.readouterr().err
    assert error in told and told.count("\n") == 1
