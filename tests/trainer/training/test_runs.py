"""The run registry: which folder a run gets, what is reused and resumed, metrics, and the lock."""

import errno
import json
import os
import shutil
import signal
import threading

import pytest

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.leftovers import temporary_path
from lora_bootstrap.trainer.training import runs
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.runs import OUTPUTS, open_run, read_run, run_key

CONFIG = TrainConfig(name="mira", steps=200, precision="fp32")


def key_of(config=CONFIG, base="b", data="d", validation=""):
    return run_key(config, base, data, validation)


def finish(run, step=200, stopped=False):
    run.state_path.parent.mkdir(exist_ok=True)
    run.state_path.write_bytes(b"state")
    if not stopped:
        run.final_path.write_bytes(b"lora")
    run.mark_finished(step, stopped)


def opened(root, config=CONFIG, **options):
    return open_run(root, config, key_of(config), **options)


def test_the_key_changes_with_everything_that_changes_the_weights():
    changes = {"steps": 201, "seed": 1, "precision": "bf16", "kind": "style", "adapter.rank": 8, "data.flip": True,
               "optimizer.learning_rate": 2e-4, "data.trigger": "x", "adapter.layers": "all",
               "objective.min_snr_gamma": 1.0, "adapter.kind": "loha", "adapter.rank_stabilized": True,
               "adapter.block_ranks": "mid=8", "adapter.lokr_factor": 8}
    keys = {key_of(CONFIG.replace(**{name: value})) for name, value in changes.items()}
    keys |= {key_of(), key_of(base="c"), key_of(data="c"), key_of(validation="c")}
    assert len(keys) == len(changes) + 4
    assert all(len(key) == 64 for key in keys)


def test_the_key_does_not_change_with_what_is_only_kept_or_shown():
    kept = {"name": "kai", "state_every": 7, "state_minutes": 0.5, "data.cache": "disk", "save_every": 10,
            "save_every_epochs": 1, "validate_every": 5, "preview_every": 5, "preview_prompts": ["a"],
            "fit_memory": False, "offload_blocks": 0.5}
    assert set(OUTPUTS) < set(kept)
    assert {key_of(CONFIG.replace(**{name: value})) for name, value in kept.items()} == {key_of()}


def test_the_key_is_the_one_that_older_versions_gave():
    """Epochs are counted in steps, so a finished run from before there were any is still found."""
    assert key_of() == "18c426a3afd48186b7112152dd0264e30e77053970f9066dea1b84eae2c37ab5"
    assert key_of(CONFIG.replace(epochs=10)) == key_of()


def test_a_run_that_differs_in_its_steps_alone_is_told_with_how_to_get_back_to_it(tmp_path):
    lineage = {"base": "b", "dataset": "d"}
    finish(opened(tmp_path, lineage=lineage))
    longer = opened(tmp_path, CONFIG.replace(steps=300), lineage=lineage)
    assert longer.name == "mira-2" and longer.notes == (
        "mira is the same training with 200 steps, not 300, so this one is mira-2. Set steps to 200 to go on with "
        "mira.",)
    others = CONFIG.replace(steps=300, **{"adapter.rank": 8})
    assert opened(tmp_path, others, lineage=lineage).notes == ()
    assert opened(tmp_path, CONFIG.replace(steps=400), lineage={**lineage, "dataset": "e"}).notes == ()
    assert opened(tmp_path, lineage=lineage).name == "mira", "with as many steps as before it is found"


def test_a_new_run_has_its_folder_and_its_facts(tmp_path):
    run = opened(tmp_path / "loras", lineage={"parent": "style"})
    assert run.folder == tmp_path / "loras" / "mira"
    facts = json.loads((run.folder / "run.json").read_text())
    assert facts["key"] == key_of() and facts["lineage"] == {"parent": "style"} and facts["status"] == "training"
    assert TrainConfig.from_dict(facts["config"]) == CONFIG
    assert (run.finished, run.step, run.state_path.exists(), run.checkpoints()) == (False, 0, False, [])
    assert run.checkpoint_path(100).name == "mira-step000100.safetensors"
    assert run.final_path.name == "mira.safetensors"
    assert [path.name for path in (tmp_path / "loras").iterdir()] == ["mira"]


def test_an_identical_finished_run_is_reused_and_its_state_is_gone(tmp_path):
    finish(opened(tmp_path))
    again = opened(tmp_path)
    assert again.finished and again.step == 200 and again.folder == tmp_path / "mira"
    assert not again.state_path.exists()


def test_a_partial_or_stopped_run_is_resumed(tmp_path):
    first = opened(tmp_path)
    assert opened(tmp_path).folder == first.folder
    finish(first, 50, stopped=True)
    again = opened(tmp_path)
    assert (again.folder, again.finished, again.step) == (first.folder, False, 50)
    assert again.state_path.read_bytes() == b"state"


def test_a_finished_run_whose_lora_was_deleted_is_trained_again_in_its_place(tmp_path):
    run = opened(tmp_path)
    finish(run)
    run.final_path.unlink()
    assert not opened(tmp_path).finished and opened(tmp_path).folder == run.folder


def test_other_runs_of_the_same_name_get_numbers_and_are_found_again(tmp_path):
    other = CONFIG.replace(seed=1)
    third = CONFIG.replace(seed=2)
    folders = [opened(tmp_path, config).folder.name for config in (CONFIG, other, third, other, CONFIG)]
    assert folders == ["mira", "mira-2", "mira-3", "mira-2", "mira"]
    assert opened(tmp_path, other).final_path.name == "mira-2.safetensors"


def test_retrain_is_a_new_run_in_any_case(tmp_path):
    finish(opened(tmp_path))
    assert opened(tmp_path, retrain=True).folder.name == "mira-2"


@pytest.mark.parametrize(("wanted", "folder"), [
    ({}, "mira"), ({"save_every": 50}, "mira"), ({"save_every": 0}, "mira"), ({"preview_prompts": ["b"]}, "mira"),
    ({"save_every": 25}, "mira-2"), ({"validate_every": 10}, "mira-2"),
    ({"preview_every": 10, "preview_prompts": ["a"]}, "mira-2"),
])
def test_a_finished_run_is_reused_only_if_it_kept_what_is_asked_for(tmp_path, wanted, folder):
    finish(opened(tmp_path, CONFIG.replace(save_every=50)))
    assert opened(tmp_path, CONFIG.replace(save_every=50).replace(**wanted)).folder.name == folder


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "mira").mkdir()
    (tmp_path / "mira" / "mine.safetensors").write_bytes(b"mine")
    (tmp_path / "mira-2").mkdir()
    (tmp_path / "mira-2" / "run.json").write_text('{"format": 99}')
    assert opened(tmp_path).folder.name == "mira-3"
    assert [path.name for path in (tmp_path / "mira").iterdir()] == ["mine.safetensors"]
    with pytest.raises(UserError, match="is not the folder of a training run"):
        read_run(tmp_path / "mira")


@pytest.mark.parametrize("content", [
    "[]", "3", "null", "{}", '{"format": 1}', {"format": 2}, {"config": []}, {"config": None},
    {"config": {"steps": "9"}}, {"config": {"unknown": 1}}, {"step": "9"}, {"step": -1}, {"step": True},
    {"status": None}, {"lineage": []}, {"key": 5}, {"stem": "../other"}, {"stem": 4}])
def test_a_run_json_of_another_kind_is_left_alone_and_reported(tmp_path, content):
    path = opened(tmp_path).folder / "run.json"
    text = content if isinstance(content, str) else json.dumps({**json.loads(path.read_text()), **content})
    path.write_text(text)
    run = opened(tmp_path)
    assert run.folder.name == "mira-2" and len(run.notes) == 1
    assert str(path) in run.notes[0] and "the run is in mira-2" in run.notes[0] and "\n" not in run.notes[0]
    assert path.read_text() == text
    with pytest.raises(UserError, match="is not the folder of a training run"):
        read_run(path.parent)


def finished_run(root):
    run = opened(root)
    run.append_metrics({"step": 1, "loss": 1.0})
    run.checkpoint_path(100).write_bytes(b"half")
    finish(run)
    return run


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
@pytest.mark.parametrize("recorded", [True, False], ids=["new", "of an older version"])
def test_a_run_whose_folder_was_renamed_or_copied_keeps_its_files(tmp_path, move, recorded):
    folder = finished_run(tmp_path).folder
    if not recorded:
        facts = json.loads((folder / "run.json").read_text())
        del facts["stem"]
        (folder / "run.json").write_text(json.dumps(facts))
    move(folder, tmp_path / "kai")
    moved = read_run(tmp_path / "kai")
    assert moved.finished and moved.name == "kai"
    assert [path.name for _, path in moved.checkpoints()] == ["mira-step000100.safetensors", "mira.safetensors"]
    again = opened(tmp_path, CONFIG.replace(name="kai"))
    assert again.folder.name == "kai" and again.finished and again.metrics() == [{"step": 1, "loss": 1.0}]


def test_a_renamed_run_that_is_continued_keeps_the_names_of_its_files(tmp_path):
    run = opened(tmp_path)
    run.checkpoint_path(100).write_bytes(b"half")
    run.folder.rename(tmp_path / "kai")
    again = opened(tmp_path, CONFIG.replace(name="kai"))
    assert again.final_path == tmp_path / "kai" / "mira.safetensors"
    finish(again)
    assert [path.name for _, path in read_run(tmp_path / "kai").checkpoints()] == [
        "mira-step000100.safetensors", "mira.safetensors"]


def test_an_older_runs_files_are_told_from_others_by_its_name(tmp_path):
    folder = finished_run(tmp_path).folder
    facts = json.loads((folder / "run.json").read_text())
    del facts["stem"]
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "a copy.safetensors").write_bytes(b"other")
    assert read_run(folder.rename(tmp_path / "kai")).final_path.name == "mira.safetensors"


def test_what_a_finished_run_measured_is_kept_when_it_is_trained_again_without_its_lora(tmp_path):
    run = finished_run(tmp_path)
    run.final_path.unlink()
    again = opened(tmp_path)
    assert "mira.safetensors is no longer in its folder, so it is trained again" in again.notes[0]
    again.keep_metrics()
    assert again.metrics() == [] and (run.folder / "metrics-1.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n'


def test_a_run_never_leaves_its_root(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "mira").symlink_to(outside)
    with pytest.raises(UserError, match="outside"):
        opened(tmp_path / "root")
    assert list(outside.iterdir()) == []


def test_checkpoints_are_listed_by_step_and_a_finished_runs_last_is_the_final_file(tmp_path):
    run = opened(tmp_path)
    for step in (1_000_000, 100, 20):
        run.checkpoint_path(step).write_bytes(b"")
    (run.folder / ".mira-step000030.safetensors.1234.tmp").write_bytes(b"")
    assert [step for step, _ in run.checkpoints()] == [20, 100, 1_000_000]
    run.checkpoint_path(1_000_000).unlink()
    finish(run)
    assert read_run(run.folder).checkpoints()[-1] == (200, run.final_path)


def test_metrics_after_the_state_and_half_written_lines_are_dropped(tmp_path):
    run = opened(tmp_path)
    for step in range(1, 6):
        run.append_metrics({"step": step, "loss": step / 10})
    run.append_metrics({"step": 3, "validation_loss": float("nan")})
    assert len(run.metrics_path.read_text().splitlines()) == 6
    with open(run.metrics_path, "a") as file:
        file.write('{"step": 2, "lo')
    run.truncate_metrics(3)
    assert run.metrics() == [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.2}, {"step": 3, "loss": 0.3},
                             {"step": 3, "validation_loss": None}]
    run.append_metrics({"step": 4, "loss": 0.5})
    assert json.loads(run.metrics_path.read_text().splitlines()[-1]) == {"step": 4, "loss": 0.5}
    run.truncate_metrics(0)
    assert run.metrics_path.read_text() == ""


def test_only_one_holder_at_a_time_and_half_written_files_are_swept(tmp_path):
    run = opened(tmp_path)
    leftover = run.folder / ".mira.safetensors.12ab34cd.tmp"
    leftover.write_bytes(b"half")
    with run.locked():
        assert not leftover.exists()
        holder = f"already being trained .process {os.getpid()}."
        with pytest.raises(UserError, match=holder), opened(tmp_path).locked():
            pass
    with opened(tmp_path).locked():
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_process_frees_its_lock(tmp_path):
    run = opened(tmp_path)
    (said, says), (waits, _held) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with run.locked():
            os.write(says, b"1")
            os.read(waits, 1)  # until it is killed
        os._exit(0)
    os.read(said, 1)
    with pytest.raises(UserError, match=f"process {child}"), run.locked():
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with run.locked():
        assert run.folder.is_dir()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_that_open_at_once_agree_on_the_folders(tmp_path):
    children = []
    for seed in (0, 1, 0, 1, 0, 1):
        children.append(os.fork())
        if children[-1] == 0:
            try:
                opened(tmp_path, CONFIG.replace(seed=seed))
            finally:
                os._exit(0)
    for child in children:
        os.waitpid(child, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mira", "mira-2"]
    assert {read_run(path).config.seed for path in tmp_path.iterdir()} == {0, 1}


def test_a_run_that_an_older_version_named_as_none_may_be_today_is_still_read(tmp_path):
    run = open_run(tmp_path, TrainConfig(name="old"), "k" * 64)
    facts = json.loads((run.folder / "run.json").read_text())
    facts["config"]["name"] = "CON"
    (run.folder / "run.json").write_text(json.dumps(facts))
    run.folder.rename(tmp_path / "CON")
    assert read_run(tmp_path / "CON").name == "CON"
    with pytest.raises(UserError, match="device of Windows"):
        TrainConfig(name="CON")


def test_steps_and_losses_that_no_number_can_hold_are_left_out(tmp_path):
    run = open_run(tmp_path, TrainConfig(name="huge"), "k" * 64)
    rows = [{"step": 10**400, "loss": 1.0}, {"step": True, "loss": 1.0}, {"step": 1, "loss": 10**400},
            {"step": 2, "loss": 0.5}]
    run.metrics_path.write_text("\n".join(map(json.dumps, rows)) + "\n" + "[" * 100_000)
    assert runs.read_losses(run.folder) == [(2, 0.5)]


def test_asking_whether_a_run_is_trained_keeps_nobody_from_training_it(tmp_path):
    run = open_run(tmp_path, TrainConfig(name="asked"), "k" * 64)
    with run.locked():
        pass
    asking = threading.Event()
    askers = [threading.Thread(target=lambda: [run.being_trained for _ in iter(asking.is_set, True)]) for _ in range(3)]
    for asker in askers:
        asker.start()
    for _ in range(300):
        with run.locked():
            pass
    asking.set()
    for asker in askers:
        asker.join()
    with run.locked():
        assert run.being_trained
    assert not run.being_trained


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom the system can refuse")
def test_a_run_in_a_folder_that_cannot_be_written_to_is_one_line(tmp_path):
    run = open_run(tmp_path, TrainConfig(name="fixed"), "k" * 64)
    run.folder.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"), run.locked():
        pass


@pytest.mark.parametrize("call", ["mkdir", "open"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES])
def test_a_lock_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, call, number):
    run = open_run(tmp_path, TrainConfig(name="fixed"), "k" * 64)

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*((runs, "open", refuse, False) if call == "open" else (os, "mkdir", refuse)))
    with pytest.raises(UserError, match=r"lock|state") as caught, run.locked():
        pass
    assert "\n" not in str(caught.value)


def test_a_state_that_cannot_be_deleted_does_not_make_a_finished_run_fail(tmp_path, monkeypatch):
    config = TrainConfig(name="full")
    run = open_run(tmp_path, config, "k" * 64)
    run.state_path.parent.mkdir()
    for path in (run.state_path, run.final_path):
        path.write_bytes(b"x")

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        run.mark_finished(100, stopped=False)
        assert run.state_path.exists()
    assert open_run(tmp_path, config, "k" * 64).finished
    assert not run.state_path.exists()


def test_what_a_killed_start_and_a_killed_save_left_is_removed(tmp_path):
    config = TrainConfig(name="killed")
    run = open_run(tmp_path, config, "k" * 64)
    (run.folder / "state").mkdir()
    (run.folder / "state" / ".tmpQwqoec").write_bytes(b"half a state")
    dead = temporary_path(tmp_path / "k").name.replace(f"-{os.getpid()}-", "-999999999-")
    for folder in (tmp_path, run.folder, run.folder / "state"):
        (folder / dead).mkdir()
    with open_run(tmp_path, config, "k" * 64).locked():
        assert os.listdir(tmp_path) == ["killed"]
        assert sorted(os.listdir(run.folder)) == ["run.json", "state"] and os.listdir(run.folder / "state") == ["lock"]


def test_an_older_run_never_takes_a_strangers_file_for_its_own(tmp_path):
    run = opened(tmp_path)
    facts = {name: value for name, value in run.facts.items() if name != "stem"}
    (run.folder / "run.json").write_text(json.dumps(facts))
    (run.folder / "a-merge.safetensors").write_bytes(b"somebody's")
    assert opened(tmp_path).final_path == run.folder / "mira.safetensors"
    assert read_run(run.folder).final_path == run.folder / "mira.safetensors"
