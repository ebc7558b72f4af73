"""`lora-bootstrap generate`, `info` and `grid` on a LoRA that `train` made."""

import json

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
