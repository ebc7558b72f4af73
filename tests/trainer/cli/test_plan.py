"""`lora-bootstrap plan`: what it prints, and what it refuses."""

import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from lora_bootstrap.trainer.memory import plan
from lora_bootstrap.trainer.memory.step import StepCount

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
    assert "without the text encoder, which the preset trains too" in told and "350 steps" in told
    for words in ("weights", "activations", "fits 4 GB as it is", "largest batch that fits", "RTX 4090: about",
                  "disk", "RAM"):
        assert words in told


def steps_of(capsys, *words):
    assert run("plan", *words) == 0
    return {int(number) for number in re.findall(r"for (\d+) steps", capsys.readouterr().out)}


def a_count(**sizes):
    return StepCount(adapter=1, state=1, modules=1, parameters=1, operations=1, traffic=1, kernels=1, **sizes)


@pytest.fixture
def counted(monkeypatch):
    """Precisions that were asked for; nothing is counted."""
    asked = []
    count = a_count(weights=1, peak=9)
    monkeypatch.setattr(plan, "count_published",
                        lambda shape, config, precision, share: asked.append(precision) or count)
    return asked


def test_the_steps_are_those_that_train_takes_for_so_many_images(counted, capsys):
    assert steps_of(capsys, "sdxl") == {2000} == steps_of(capsys, "sdxl", "--images", 25)
    assert steps_of(capsys, "sdxl", "--images", 10) == {1000} and steps_of(capsys, "sdxl", "--images", 40) == {3200}
    assert steps_of(capsys, "sdxl", "--kind", "style", "--images", 20) == {500}


@pytest.mark.parametrize(("dtype", "place", "precision"), [
    (torch.float32, "comfyui", "bf16"), (torch.float16, "comfyui", "bf16"), (torch.float8_e4m3fn, "comfyui", "fp8"),
    (torch.float32, "command-line", "bf16"), (torch.float8_e4m3fn, "command-line", "bf16")])
def test_a_base_is_counted_as_it_is_loaded(dtype, place, precision, counted, tmp_path):
    file = tmp_path / "base.safetensors"
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(2, 2).to(dtype)}, file)
    assert run("plan", file, "--place", place) == 0 and counted[0] == precision


@pytest.mark.parametrize(("place", "words"), [
    ("comfyui", "ComfyUI keeps weights in RAM by itself"), ("command-line", "--set offload_blocks=0.75")])
def test_blocks_that_must_be_in_ram_are_said_with_how(place, words, monkeypatch, capsys):
    gib = 2**30
    count = a_count(weights=10 * gib, peak=11 * gib, movable=10 * gib)
    monkeypatch.setattr(plan, "count_published", lambda shape, config, precision, share: count)
    assert run("plan", "flux", "--vram", 6.8, "--place", place) == 0
    out = capsys.readouterr().out
    assert words in out and "fits 6.8 GB with gradient checkpointing and fp8 base and 75% of the blocks in RAM" in out


def test_what_is_not_counted_is_said(counted, capsys):
    assert run("plan", "qwen-image-edit") == 0
    assert "without control images" in capsys.readouterr().out


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


def test_a_plan_of_a_fine_tune_counts_all_weights_once_and_keeps_them_on_a_card_that_has_room(capsys):
    assert run("plan", "sandbox", "--method", "full", "--resolution", 64, "--vram", 2, "--json") == 0
    out, told = capsys.readouterr()
    facts = json.loads(out)
    assert facts["adapter"] == 4 * facts["parameters"] > 10_000_000 and facts["weights"] < facts["adapter"] / 100
    assert (facts["optimizer"], facts["batch"]) == ("adafactor", 2)
    assert facts["optimizer_state"] < facts["adapter"] / 20 and facts["fits"]["offload"] == 0
    assert "fine-tune of all weights" in told and "rank" not in told and "with the base as it was" in told
    assert run("plan", "sandbox", "--method", "full", "--resolution", 64, "--vram", 1.05) == 0
    assert "or train a LoRA" in capsys.readouterr().out


def test_a_plan_of_a_fine_tune_says_how_many_blocks_must_be_in_ram(monkeypatch, capsys):
    gib = 2**30
    count = replace(a_count(weights=0, peak=11 * gib, movable=10 * gib), adapter=10 * gib)
    monkeypatch.setattr(plan, "count_published", lambda shape, config, precision, share: count)
    monkeypatch.setattr(plan, "block_shares", lambda shape: (0.1,) * 10)
    assert run("plan", "sdxl", "--method", "full", "--vram", 8) == 0
    out = capsys.readouterr().out
    assert "fits 8 GB with gradient checkpointing and bf16 base and 6 of 10 blocks in RAM (5.0 GiB)" in out
    assert "with fit_memory on" in out and "offload_blocks" not in out
    assert "(10.0 GiB, on disk where RAM is short)" in out


@pytest.mark.parametrize(("option", "value"), [("--rank", 8), ("--layers", "all"), ("--precision", "fp8")])
def test_a_plan_of_a_fine_tune_refuses_what_only_a_lora_has(option, value, capsys):
    assert run("plan", "sandbox", "--method", "full", option, value) == 2
    assert "with --method full" in capsys.readouterr().err
