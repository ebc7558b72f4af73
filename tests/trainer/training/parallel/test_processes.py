"""Two processes train the run that one would: the same losses, files and states, and nothing twice."""

import functools
import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from lora_bootstrap.trainer.training.watched import watch

from ....helpers.teams import Case, make_images, run_case, run_team, third_is_outlier

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forkserver is POSIX")

MASKED = Case("masked", {
    "data.batch_size": 3, "data.masked_loss": True, "data.flip": True, "data.caption_dropout": 0.3,
    "data.shuffle_captions": True, "objective.weighting": "min_snr", "objective.noise_offset": 0.1,
    "objective.ip_noise_gamma": 0.1, "optimizer.ema_decay": 0.9})
CASES = {
    "masks, unequal buckets, batches of three": MASKED,
    "batches of one, with regularisation and preservation": Case("kept", {
        "steps": 3, "accumulation_steps": 4, "data.prior_loss_weight": 0.3, "preservation.weight": 5.0}, classes=True),
    "a text encoder that is trained too": Case("text", {
        "steps": 2, "data.batch_size": 3, "adapter.text_encoder": True, "adapter.kind": "dora"}),
    "batches that stay whole, and an outlier set aside": Case("whole", {
        "data.batch_size": 2, "accumulation_steps": 2, "data.set_aside_outliers": True}),
    "fp16, and a first step of one image, which the other process trains": Case("half", {
        "steps": 2, "data.batch_size": 2, "precision": "fp16"}),
}
STOPPED = Case("stopped", MASKED.settings, stop=2)
RESUMED = Case("stopped", MASKED.settings)
BEGUN = Case("begun", MASKED.settings, stop=3)
SHORT = Case("short", MASKED.settings, failing=(1, torch.OutOfMemoryError("CUDA out of memory")))
BROKEN = Case("broken", MASKED.settings, failing=(1, ZeroDivisionError("by chance")))
DIVERGED = Case("diverged", {"data.batch_size": 2, "optimizer.learning_rate": 1e30, "optimizer.max_grad_norm": 0.0})
KILLED = Case("killed", MASKED.settings, killed=2)
ALL = {**{case.root: case for case in CASES.values()}, "stopped": STOPPED, "resumed": RESUMED, "begun": BEGUN,
       "short": SHORT, "broken": BROKEN, "diverged": DIVERGED, "killed": KILLED}
IN_FIGURES = {"auto": 1e-4, "fp16": 5e-3}
"""By precision (auto: fp32 on a CPU), the largest relative difference of a loss or norm. That much is rounding: parts
of a batch are multiplied by other code than the whole, and each processor rounds differently."""
IN_STEPS = 0.1
"""Largest difference of the weights, root mean square, in steps of the learning rate. No bound on a single weight:
Adam moves one whose gradient is near zero by a whole step this way or that, as rounding has it."""
SOON = 60  # seconds, on a busy machine; a process that does not answer is waited for an hour


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("team") / "runs"
    make_images(folder)
    return folder


@pytest.fixture(scope="module")
def alone(folder, tiny_backbone):
    """By case, what one process reports of it; it trains in a folder of its own."""
    done = {}

    def find(case, root="one"):
        if (case.root, root) not in done:
            done[case.root, root] = run_case(Case(f"{root}/{case.root}", case.settings, case.classes, case.stop),
                                             tiny_backbone, folder)
        return done[case.root, root]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "find_outliers", third_is_outlier)
        patch.setattr(watch, "MOST_ASIDE", 0.5)
        torch.set_num_threads(1)
        yield find


@pytest.fixture(scope="module")
def together(folder, alone):
    """By name of a case, what both processes report of it."""
    alone(BEGUN, ".")  # what one process began, two go on with
    return dict(zip(ALL, run_team([*ALL.values()], folder), strict=True))


def weights(folder, root):
    return load_file(next((folder / root).glob("*/team.safetensors")))


def distance(folder, root, other):
    """Root mean square of the difference of the weights."""
    mine, theirs = weights(folder, root), weights(folder, other)
    assert mine.keys() == theirs.keys()
    return torch.cat([(mine[name].float() - theirs[name].float()).flatten() for name in mine]).square().mean().sqrt()


def assert_same_file(folder, root, case):
    steps = distance(folder, root, f"one/{case.root}") / case.config.optimizer.learning_rate
    assert steps < IN_STEPS


def assert_same_steps(steps, others, case):
    assert [step[0] for step in steps] == [step[0] for step in others]
    same = functools.partial(pytest.approx, rel=IN_FIGURES[case.config.precision])
    for (step, loss, norm, images), (_, *rest) in zip(steps, others, strict=True):
        assert rest == [same(loss), same(norm), same(images)], step


@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_as_one_does(name, together, alone, folder):
    case = CASES[name]
    one, (first, second) = alone(case), together[case.root]
    assert first.error == second.error == one.error == ""
    assert first.steps == second.steps, "both know the figures of the whole step"
    assert_same_steps(one.steps, first.steps, case)
    assert_same_file(folder, case.root, case)


def test_processes_that_share_no_batch_end_with_the_bits_of_one(together, alone, folder):
    alone(CASES["batches that stay whole, and an outlier set aside"])
    assert distance(folder, "whole", "one/whole") == 0.0
    files = [folder / root / "team" / "image_losses.jsonl" for root in ("whole", "one/whole")]
    assert files[0].read_text() == files[1].read_text() and "set_aside" in files[0].read_text()


def test_all_stop_at_the_step_after_which_one_was_asked_to_and_resume_with_the_same_bits(together, folder):
    stopped, resumed = together["stopped"], together["resumed"]
    assert [[step[0] for step in outcome.steps] for outcome in stopped] == [[1, 2]] * 2
    assert stopped[0].steps + resumed[0].steps == together["masked"][0].steps
    assert distance(folder, "stopped", "masked") == 0.0


def test_two_processes_go_on_with_what_one_began(together, alone, folder):
    assert_same_steps(alone(MASKED).steps[3:], together["begun"][0].steps, MASKED)
    assert_same_file(folder, "begun", MASKED)


def test_only_the_first_process_encodes_images_and_writes_files(together, folder):
    first, second = together["masked"]
    assert second.written == [] and second.encoded == 0
    assert first.encoded > 0 and {"run.json", "metrics.jsonl", "image_losses.jsonl"} <= set(first.written)
    lines = [json.loads(line) for line in (folder / "masked" / "team" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]


def test_the_run_is_the_same_for_any_number_of_processes(together, alone, folder):
    alone(MASKED)
    keys = {json.loads((folder / root / "team" / "run.json").read_text())["key"] for root in ("masked", "one/masked")}
    assert len(keys) == 1


def test_memory_that_runs_out_in_one_process_lets_all_take_the_step_again(together, alone, folder):
    first, second = together["short"]
    assert first.error == second.error == ""
    assert_same_steps(alone(MASKED).steps, first.steps, MASKED)
    assert json.loads((folder / "short" / "team" / "run.json").read_text())["recomputed"] == 0.5


def test_an_error_in_one_process_ends_all_with_what_was_trained_saved(together, folder):
    first, second = together["broken"]
    assert "another process of this training has ended" in first.error and second.error.startswith("ZeroDivisionError")
    assert first.seconds < SOON and len(list((folder / "broken" / "team" / "state").glob("*.safetensors"))) == 1


def test_a_training_that_diverges_ends_at_the_same_step_in_all_processes(together):
    first, second = together["diverged"]
    assert first.error == second.error and first.error.startswith("Diverged") and first.steps == second.steps


def test_a_killed_process_ends_the_other_and_one_goes_on_with_the_run(together, folder, alone, tiny_backbone):
    first, second = together["killed"]
    assert second is None and "process 1 of 2 stops, because another process" in first.error
    assert first.seconds < SOON
    rest = run_case(Case("killed", MASKED.settings), tiny_backbone, folder)
    assert_same_steps(alone(MASKED).steps[2:], rest.steps, MASKED)
    assert_same_file(folder, "killed", MASKED)
