"""`lora-bootstrap average` on a run's folder."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.runs import open_run

from ...helpers.command_line import run


@pytest.fixture
def trained(tmp_path):
    found = open_run(tmp_path, TrainConfig(name="girl", steps=300), key="girl")
    for step in (100, 200, 300):
        save_file({"up": torch.full((2, 2), float(step))}, found.checkpoint_path(step))
    return found


def test_the_last_checkpoints_of_a_run_are_averaged_and_an_identical_average_is_reused(trained, capsys):
    argv = ["average", trained.folder, "--last", 2, "--json"]
    assert run(*argv) == 0
    first = json.loads(capsys.readouterr().out)
    assert first == {"lora": str(trained.average_path(200, 300)), "steps": [200, 300], "reused": False}
    assert load_file(first["lora"])["up"].tolist() == [[250.0, 250.0], [250.0, 250.0]]
    assert run(*argv) == 0
    assert json.loads(capsys.readouterr().out) == {**first, "reused": True}


def test_checkpoints_may_be_named_and_a_stranger_is_refused(trained, tmp_path, capsys):
    files = [trained.checkpoint_path(100), trained.checkpoint_path(300)]
    assert run("average", trained.folder, "--checkpoint", files[0], "--checkpoint", files[1]) == 0
    assert "average of the checkpoints at steps 100, 300" in capsys.readouterr().out
    stranger = tmp_path / "other.safetensors"
    save_file({"up": torch.ones(2, 2)}, stranger)
    assert run("average", trained.folder, "--checkpoint", files[0], "--checkpoint", stranger) == 2
    assert "other.safetensors is not a checkpoint of run 'girl'" in capsys.readouterr().err
    assert run("average", trained.folder, "--last", 1) == 2
    assert "--last is 1" in capsys.readouterr().err
