"""`lora-bootstrap generate`, `info` and `grid` on a LoRA that `train` made."""

import json

import torch
from safetensors.torch import load_file

from ...helpers.command_line import SMALL, run


def test_a_trained_lora_can_be_looked_at_generated_with_and_swept(tiny, tmp_path, dataset, capsys):
    run("train", "--dataset", tmp_path / "data", "--name", "discs", "--output", tmp_path, "--trigger", "zqx", *SMALL)
    lora = tmp_path / "loras" / "discs" / "discs.safetensors"
    capsys.readouterr()
    assert run("info", lora, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ranks"] == [2] and facts["modules"] > 10 and "ss_network_dim" in facts["metadata"]
    size = ["--width", 32, "--height", 32, "--sample-steps", 2, "--output", tmp_path, "--json"]
    assert run("generate", "--prompt", "zqx, disc", "--lora", f"{lora}:0.5", "--count", 3, *size) == 0
    assert len(json.loads(capsys.readouterr().out)["pictures"]) == 3
    assert run("grid", "--lora", lora, "--prompt", "a", "--prompt", "b", "--strengths", 0.5, 1, *size) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["grid"] == str(tmp_path / "sweeps" / "discs" / "grid.png") and made["cells"] == 4
    assert run("info", tmp_path / "loras" / "discs") == 0


def test_a_fine_tune_is_saved_whole_and_as_a_difference_whose_checkpoints_are_swept(
        tiny, tiny_backbone, tmp_path, dataset, capsys):
    small = ["--set", "steps=2", "--set", "save_every=1", "--set", "data.resolution=32"]
    assert run("finetune", "--dataset", tmp_path / "data", "--name", "tuned", "--output", tmp_path, "--trigger", "zqx",
               *small, "--json") == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert made["model"] == str(tmp_path / "diffusion_models" / "tuned.safetensors")
    whole, difference = load_file(made["model"]), load_file(made["difference"])
    base = tiny_backbone.network.state_dict()
    assert whole.keys() == base.keys()
    added = whole["conv_in.weight"] - base["conv_in.weight"]
    torch.testing.assert_close(added, difference["lora_unet_conv_in.diff"].float(), rtol=0, atol=1e-6)
    size = ["--width", 32, "--height", 32, "--sample-steps", 2, "--output", tmp_path, "--json"]
    assert run("sweep", "--run", tmp_path / "loras" / "tuned", "--prompt", "a", "--strengths", 1, *size) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["cells"] == 2
