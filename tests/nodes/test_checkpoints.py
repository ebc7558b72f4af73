"""LoadRun and PickCheckpoint find what a run has kept."""

import json

import pytest
import torch
from safetensors.torch import save_file

from lora_bootstrap.nodes.checkpoints import LoadRun, PickCheckpoint, pick_checkpoint, run_names
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.runs import open_run, read_run


@pytest.fixture
def root(host):
    return host.output / "loras"


def make_run(root, name="girl", steps=(100, 200), final=300, ratios=()):
    run = open_run(root, TrainConfig(name=name, steps=300), key=name)
    for step in steps:
        save_file({"step": torch.tensor([float(step)])}, run.checkpoint_path(step))
    for step, ratio in ratios:
        run.append_metrics({"step": step, "validation_loss": ratio / 2, "validation_ratio": ratio})
    if final:
        save_file({"step": torch.tensor([float(final)])}, run.final_path)
        run.mark_finished(final, stopped=False)
    run.close()
    return read_run(run.folder)


def test_runs_are_listed_the_latest_first_and_other_folders_are_not(root):
    (root / "no run").mkdir()
    make_run(root, "b")
    make_run(root, "a")
    import os

    os.utime(root / "b" / "run.json", (1, 1))
    assert run_names() == ["a", "b"]
    assert LoadRun.object_info()["input"]["required"]["run"][1]["options"] == ["a", "b"]


def test_without_a_run_the_list_says_so_and_choosing_it_is_a_red_node(root):
    assert LoadRun.object_info()["input"]["required"]["run"][1]["options"] == ["no run yet"]
    assert "there is no run 'no run yet'" in LoadRun.validate_inputs("no run yet")


def test_a_run_is_loaded_with_its_latest_file(root):
    run = make_run(root)
    out = LoadRun.execute("girl")
    assert out[0].folder == run.folder and out[1] == str(run.final_path)
    assert LoadRun.validate_inputs("girl") is True and LoadRun.validate_inputs(None) is True


@pytest.mark.parametrize("name", ["../loras/girl", "girl/../girl", "/etc", ".", ""])
def test_a_name_is_one_of_those_there_or_nothing(root, name):
    make_run(root)
    assert "there is no run" in LoadRun.validate_inputs(name)


def test_a_run_without_a_file_yet_is_a_red_node(root):
    make_run(root, "begun", steps=(), final=0)
    assert "has no LoRA file yet" in LoadRun.validate_inputs("begun")


def test_a_new_checkpoint_is_noticed(root):
    run = make_run(root)
    before = LoadRun.fingerprint_inputs("girl")
    assert LoadRun.fingerprint_inputs("girl") == before
    save_file({"step": torch.tensor([1.0])}, run.checkpoint_path(250))
    assert LoadRun.fingerprint_inputs("girl") != before
    json.dumps(before)


def test_the_final_file_the_best_and_that_of_a_step_are_picked(root):
    run = make_run(root, ratios=((100, 0.9), (190, 0.7), (300, 0.8)))
    assert pick_checkpoint(run, "final") == (300, run.final_path)
    assert pick_checkpoint(run, "best validation") == (200, run.checkpoint_path(200)), "nearest to step 190"
    assert pick_checkpoint(run, "step", 120) == (100, run.checkpoint_path(100))


def test_of_a_stopped_run_the_last_file_is_the_final_one(root):
    run = make_run(root, final=0)
    assert pick_checkpoint(run, "final") == (200, run.checkpoint_path(200))


def test_best_validation_without_validation_says_how_to_get_one(root):
    with pytest.raises(UserError, match="has no validation loss. Give Train LoRA a validation dataset"):
        pick_checkpoint(make_run(root), "best validation")


def test_a_checkpoint_is_given_as_path_stack_weights_and_applied(root, adapter, host):
    run = make_run(root)
    path, stack, weights, model, clip = PickCheckpoint.execute(run, "step", 100, 0.8, model="M", clip="C").args
    assert path == str(run.checkpoint_path(100)) and stack == [("girl/girl-step000100.safetensors", 0.8, 0.8)]
    assert weights["step"].item() == 100 and (model, clip) == ("M+girl-step000100", "C+girl-step000100")
    assert adapter.calls == [("apply", "girl-step000100.safetensors", 0.8, 0.8)]
    assert host.server.texts == [("girl-step000100.safetensors (step 100)", "7")]


def test_without_a_model_only_that_output_is_blocked(root, adapter):
    out = PickCheckpoint.execute(make_run(root), "final", 0, 1.0)
    assert [type(value).__name__ for value in out.args] == ["str", "list", "dict", "ExecutionBlocker",
                                                            "ExecutionBlocker"]
    assert adapter.calls == []


def test_what_the_run_has_kept_since_it_was_loaded_counts(root):
    run = make_run(root, final=0)
    save_file({"step": torch.tensor([250.0])}, run.checkpoint_path(250))
    assert PickCheckpoint.execute(run, "final", 0, 1.0)[0].endswith("step000250.safetensors")


def test_a_checkpoint_whose_weights_were_damaged_is_not_handed_out(root):
    run = make_run(root)
    save_file({"a": torch.ones(4)}, run.final_path, {"lora_bootstrap.family": "sd15", "sshs_model_hash": "0" * 64})
    with pytest.raises(UserError, match="are not those that were saved"):
        PickCheckpoint.execute(run, "final", 0, 1.0)


def test_the_average_of_the_last_is_written_beside_the_run_and_handed_out(root):
    run = make_run(root)
    before = LoadRun.fingerprint_inputs("girl")
    path, stack, weights, *_ = PickCheckpoint.execute(run, "average of the last", 0, 0.8, last=2).args
    assert path == str(run.average_path(200, 300)) and weights["step"].item() == 250
    assert stack == [("girl/girl-average000200-000300.safetensors", 0.8, 0.8)]
    assert LoadRun.fingerprint_inputs("girl") != before
    assert PickCheckpoint.execute(run, "final", 0, 1.0)[0] == str(run.final_path)
    with pytest.raises(UserError, match="two or more checkpoints"):
        PickCheckpoint.execute(make_run(root, "short", steps=()), "average of the last", 0, 1.0)


def test_an_average_that_was_picked_in_a_sweep_is_handed_out_while_it_is_there(root):
    run = make_run(root)
    average = PickCheckpoint.execute(run, "average of the last", 0, 1.0, last=2)[0]
    (run.folder / "picked.json").write_text(json.dumps(
        {"step": None, "strength": 0.7, "lora": "girl-average000200-000300.safetensors", "sweep": "s"}))
    path, stack, *_ = PickCheckpoint.execute(run, "picked in a sweep", 0, 1.0).args
    assert path == average and stack[0][1] == 0.7
    run.average_path(200, 300).unlink()
    with pytest.raises(UserError, match="-000300.safetensors' is not in its folder any more. Pick again"):
        PickCheckpoint.execute(run, "picked in a sweep", 0, 1.0)
    (run.folder / "picked.json").write_text(json.dumps({"step": 100, "strength": 0.7}))  # an earlier version's
    assert PickCheckpoint.execute(run, "picked in a sweep", 0, 1.0)[0] == str(run.checkpoint_path(100))
