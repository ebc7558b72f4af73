"""What the run route tells: from disk, from this process, and over HTTP."""

import json
import threading
import tracemalloc

import pytest
import torch
from PIL import Image

from lora_bootstrap.host.routes.views import outlier_view
from lora_bootstrap.host.routes.views.run_view import run_status
from lora_bootstrap.host.session import begin_session, current_session
from lora_bootstrap.host.trainings import TrainingTable
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.runs import open_run
from lora_bootstrap.trainer.training.watched.image_losses import LossDraw, LossFile

from ...helpers.archived_project import write_whole_run
from ...helpers.asking import ask, sent_as_json
from ...helpers.states import save_state

KEYS = {"name", "run", "status", "node_id", "message", "step", "steps", "seconds_left", "seconds_per_step", "memory",
        "learning_rate", "rank", "alpha", "figures", "losses", "smoothed", "validation", "samples", "checkpoints",
        "proofs", "notes", "outliers", "resumes_from"}


@pytest.fixture
def root(host):
    return host.output / "loras"


def make_run(root, name="girl", key="k", steps=40, done=20):
    run = open_run(root, TrainConfig(name=name, steps=steps).replace(**{"adapter.rank": 4, "adapter.alpha": 2.0}), key)
    for step in range(1, done + 1):
        run.append_metrics({"step": step, "loss": 1 / step, "learning_rate": 1e-3, "seconds": 0.5})
    run.append_metrics({"step": done, "validation_loss": 0.2, "validation_base_loss": 0.4, "validation_ratio": 0.5})
    run.close()
    return run


def test_a_run_on_disk_is_told_whole(root):
    run = make_run(root)
    run.samples_folder.mkdir()
    for name in ("step000010-00.png", "step000020-00.png", "step000020-01.png", "other.png"):
        Image.new("RGB", (4, 4)).save(run.samples_folder / name)
    run.checkpoint_path(10).write_bytes(b"")
    told = run_status(root, "girl")
    assert told.keys() == KEYS and json.loads(json.dumps(told)) == told
    assert (told["name"], told["run"], told["status"]) == ("girl", "girl", "interrupted")
    assert (told["step"], told["steps"], told["rank"], told["alpha"]) == (20, 40, 4, 2.0)
    assert told["figures"] == "rank 4 · alpha 2 · rate 1e-4 · 40 steps · batch 1 · 512 px"
    assert told["losses"][:2] == [[1, 1.0], [2, 0.5]] and len(told["losses"]) == len(told["smoothed"]) == 20
    assert told["validation"] == [[20, 0.2, 0.5]] and told["seconds_per_step"] == 0.5
    assert [(s["step"], s["filename"]) for s in told["samples"]] == [
        (10, "step000010-00.png"), (20, "step000020-00.png"), (20, "step000020-01.png")]
    assert told["samples"][0]["subfolder"] == "loras/girl/samples" and told["samples"][0]["type"] == "output"
    assert told["checkpoints"] == [{"step": 10, "filename": "girl-step000010.safetensors"}]


def test_images_whose_loss_is_unlike_the_others_are_told_while_the_file_grows(root, monkeypatch):
    run = make_run(root)
    assert run_status(root, "girl")["outliers"] == [], "a run of an earlier version"
    file = LossFile(run.folder, ["a.png"], 0)
    asked = []
    monkeypatch.setattr(outlier_view, "word_outliers", lambda run: asked.append(run) or [f"look {len(asked)}"] * 20)
    with run.locked():
        for step in range(1, 101):
            file.add(step, [LossDraw(0, 0.5, 0.25)])
            assert run_status(root, "girl")["outliers"] == [f"look {len(asked)}"] * 12
        assert 10 < (read := len(asked)) < 60, "it is not read again for every step"
        while len(asked) == read:
            file.add(101, [LossDraw(0, 0.5, 0.25)])
            run_status(root, "girl")
    file.add(102, [LossDraw(0, 0.5, 0.25)])
    read += 1
    told = [run_status(root, "girl")["outliers"][0] for _ in range(2)]
    assert told == [f"look {read + 1}"] * 2, "the list of a run that has ended is that of its last step"


def test_a_run_is_interrupted_unless_somebody_trains_it(root):
    run = make_run(root)
    assert run_status(root, "girl")["status"] == "interrupted"
    with run.locked():
        assert run_status(root, "girl")["status"] == "training"
    assert run_status(root, "girl")["status"] == "interrupted"
    with run.locked():
        pass  # asking did not keep the lock


def test_an_interrupted_run_says_from_which_step_it_goes_on(root):
    run = make_run(root)
    assert run_status(root, "girl")["resumes_from"] == 0, "no state was saved yet"
    save_state(run.state_path, 12, {"a": torch.ones(2)}, torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], 0.1))
    told = run_status(root, "girl")
    assert (told["step"], told["resumes_from"]) == (20, 12)
    with run.locked():
        assert run_status(root, "girl")["resumes_from"] is None
    run.final_path.write_bytes(b"")
    run.mark_finished(40, stopped=False)
    assert run_status(root, "girl")["resumes_from"] is None


def test_stopped_and_finished_runs_say_so(root):
    run = make_run(root)
    run.mark_finished(20, stopped=True)
    assert run_status(root, "girl")["status"] == "stopped"
    run.final_path.write_bytes(b"")
    run.mark_finished(40, stopped=False)
    told = run_status(root, "girl")
    assert told["status"] == "finished" and told["step"] == 40
    assert told["checkpoints"] == [{"step": 40, "filename": "girl.safetensors"}]


def test_of_several_runs_of_a_name_the_last_touched_is_told_and_a_folder_by_its_own_name(root):
    import os

    make_run(root, key="a")
    second = make_run(root, key="b")
    assert second.name == "girl-2"
    for path in (second.folder / "run.json", second.metrics_path):
        os.utime(path, (1, 1))
    assert run_status(root, "girl")["run"] == "girl"
    assert run_status(root, "girl-2")["run"] == "girl-2" and run_status(root, "girl-2")["name"] == "girl"
    os.utime(second.metrics_path, (2**31, 2**31))
    assert run_status(root, "girl")["run"] == "girl-2"


@pytest.mark.parametrize("name", ["nobody", "../loras/girl", "girl/", "/", ".", "", "girl\0"])
def test_any_other_name_is_no_run(root, name):
    make_run(root)
    assert run_status(root, name, TrainingTable()) is None


def test_a_long_run_is_thinned_evenly_to_its_ends(root):
    run = open_run(root, TrainConfig(name="long", steps=5000), "k")
    run.metrics_path.write_text("".join(f'{{"step": {n}, "loss": {n}}}\n' for n in range(1, 5001)), "utf-8")
    told = run_status(root, "long")
    assert len(told["losses"]) == len(told["smoothed"]) == 2000
    assert told["losses"][0] == [1, 1] and told["losses"][-1] == [5000, 5000]
    gaps = {b[0] - a[0] for a, b in zip(told["losses"], told["losses"][1:], strict=False)}
    assert gaps == {2, 3}


def test_a_line_cut_by_a_kill_and_losses_that_are_no_numbers_are_left_out(root):
    run = open_run(root, TrainConfig(name="cut", steps=9), "k")
    run.metrics_path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": null}\n{"step": 3, "lo', "utf-8")
    assert run_status(root, "cut")["losses"] == [[1, 0.5]]


def lines_parsed(monkeypatch):
    """The lines of metrics.jsonl that are parsed from now on."""
    from lora_bootstrap.host import run_logs

    parsed, parse = [], run_logs.read_metrics_row
    monkeypatch.setattr(run_logs, "read_metrics_row", lambda line: parsed.append(line) or parse(line))
    return parsed


def log_steps(run, *steps, loss=1.0):
    for step in steps:
        run.append_metrics({"step": step, "loss": loss, "seconds": 0.5})


def test_a_run_that_goes_on_is_read_from_where_it_was(root, monkeypatch):
    run = make_run(root)
    whole = run_status(root, "girl")
    parsed = lines_parsed(monkeypatch)
    assert run_status(root, "girl") == whole and parsed == []
    log_steps(run, 21, 22, loss=0.5)
    told = run_status(root, "girl")
    assert len(parsed) == 2 and told["losses"] == [*whole["losses"], [21, 0.5], [22, 0.5]] and told["step"] == 22
    begin_session()  # as after a restart of the server
    assert run_status(root, "girl") == told


def test_a_line_that_is_only_half_written_is_read_once_it_is_whole(root):
    run = make_run(root, done=1)
    with open(run.metrics_path, "ab") as file:
        for part, steps in ((b'{"step": 2, "lo', 1), (b'ss": 0.25}\n', 2)):
            file.write(part)
            file.flush()
            assert len(run_status(root, "girl")["losses"]) == steps


@pytest.mark.parametrize("way", ["shortened", "replaced", "written again in place"])
def test_a_log_that_is_not_the_one_read_before_is_read_from_its_start(root, way):
    run = make_run(root)
    run_status(root, "girl")
    if way == "shortened":  # as a resumed training does, which then writes on
        run.truncate_metrics(10)
        log_steps(run, *range(11, 31), loss=3.0)
    elif way == "replaced":
        run.keep_metrics()
        log_steps(run, *range(1, 31), loss=3.0)
    else:
        lines = [json.dumps({"step": step, "loss": 3.0, "learning_rate": 1e-3, "seconds": 0.5}) for step in range(40)]
        run.metrics_path.write_text("\n".join(lines) + "\n", "utf-8")
    told = run_status(root, "girl")
    begin_session()
    assert told == run_status(root, "girl") and told["losses"][-1][1] == 3.0


def test_a_long_log_takes_few_bytes_a_step_and_does_not_keep_others_waiting(root, monkeypatch):
    from lora_bootstrap.host import run_logs

    steps, logs, told = 20_000, run_logs.RunLogs(), []
    long, short = make_run(root, "long", key="a"), make_run(root, "short", key="b")
    long.metrics_path.write_text("".join(f'{{"step": {n}, "loss": {n}.5}}\n' for n in range(steps)), "utf-8")
    asking = threading.Thread(target=lambda: told.append(logs.read(short.metrics_path, 40)))
    parse = run_logs.read_metrics_row

    def answer_another(line):
        if asking.ident is None:
            asking.start()
            asking.join(5)
            told.append("the long one")
        return parse(line)

    monkeypatch.setattr(run_logs, "read_metrics_row", answer_another)
    tracemalloc.start()
    logs.read(long.metrics_path, steps)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    asking.join()
    assert told[1:] == ["the long one"] and len(told[0].losses) == 20
    assert held < 60 * steps


# -- trainings of this process -----------------------------------------------------------------------------------------


def test_a_training_is_told_before_its_folder_is_there(root):
    table = TrainingTable()
    training = table.begin("new", "5")
    training.message = "making room"
    told = run_status(root, "new", table)
    assert told.keys() == KEYS
    assert (told["status"], told["run"], told["node_id"], told["message"]) == ("preparing", "new", "5", "making room")


def test_a_live_training_tells_its_pace_over_what_is_on_disk(root):
    table = TrainingTable()
    make_run(root)
    training = table.begin("girl", "5")
    training.folder, training.status, training.steps = "girl", "training", 40
    for step in (21, 22, 23):
        training.step_done(step)
    told = run_status(root, "girl", table)
    assert told["status"] == "training" and told["step"] == 23 and told["node_id"] == "5" and len(told["losses"]) == 20
    assert told["seconds_left"] == pytest.approx(17 * told["seconds_per_step"])
    training.status, training.message = "cancelled", "cancelled at step 23"
    told = run_status(root, "girl", table)
    assert (told["status"], told["message"], told["seconds_left"]) == ("cancelled", "cancelled at step 23", None)
    assert run_status(root, "girl", TrainingTable())["status"] == "interrupted", "after a restart of the server"


def test_what_is_on_disk_wins_over_an_older_end_in_this_process(root):
    table = TrainingTable()
    run = make_run(root)
    ended = table.begin("girl")
    ended.folder, ended.status, ended.message = "girl", "failed", "out of memory"
    assert run_status(root, "girl", table)["message"] == "out of memory"
    run.final_path.write_bytes(b"")
    run.mark_finished(40, stopped=False)
    assert run_status(root, "girl", table)["status"] == "finished"


def test_stopping_finds_the_folder_before_the_name_and_only_what_is_live():
    table = TrainingTable()
    older, newer = table.begin("girl"), table.begin("girl")
    older.folder, newer.folder = "girl-2", "girl-3"
    table.stop("girl-2")
    assert older.stop.is_set() and not newer.stop.is_set()
    table.stop("girl")
    assert newer.stop.is_set()
    newer.status = "finished"
    with pytest.raises(UserError, match="'girl-3' is not being trained now"):
        table.stop("girl-3")
    with pytest.raises(UserError):
        table.stop("nobody")


def test_only_so_many_ended_trainings_are_remembered():
    table = TrainingTable()
    for number in range(500):
        table.begin(f"run{number}")
    assert table.find("run0") is None and table.find("run499") is not None


# -- over HTTP ---------------------------------------------------------------------------------------------------------


def test_the_run_route_answers_or_refuses(root):
    make_run(root)
    found, missing, empty, outside = ask(
        ("GET", "/lora_bootstrap/run?name=girl", {}), ("GET", "/lora_bootstrap/run?name=nobody", {}),
        ("GET", "/lora_bootstrap/run", {}), ("GET", "/lora_bootstrap/run?name=..%2Floras%2Fgirl", {}))
    assert found[0] == 200 and found[1].keys() == KEYS
    assert missing == (404, {"error": "there is no run 'nobody'."})
    assert empty[0] == 400 and outside[0] == 404


def test_the_stop_route_stops_a_training_and_refuses_anything_else(root):
    make_run(root, "ended")
    training = current_session().trainings.begin("being-trained")
    try:
        stopped, ended, missing, *bad = ask(
            ("POST", "/lora_bootstrap/stop", {"json": {"run": "being-trained"}}),
            ("POST", "/lora_bootstrap/stop", {"json": {"run": "ended"}}),
            ("POST", "/lora_bootstrap/stop", {"json": {"run": "nobody"}}),
            ("POST", "/lora_bootstrap/stop", {"json": {"run": 7}}),
            ("POST", "/lora_bootstrap/stop", {"json": ["being-trained"]}),
            ("POST", "/lora_bootstrap/stop", sent_as_json(b"\xff no json")))
    finally:
        training.status = "finished"
    assert stopped == (200, {"stopping": True}) and training.stop.is_set()
    assert ended[0] == 409 and "not being trained now" in ended[1]["error"]
    assert missing[0] == 404 and [status for status, _ in bad] == [400, 400, 400]


def test_the_resume_route_lets_a_stopped_run_go_on(root):
    make_run(root, "halted").mark_finished(20, stopped=True)
    make_run(root, "unfinished")
    before = current_session().trainings.resumed("halted")
    resumed, unfinished, missing, bad = ask(
        ("POST", "/lora_bootstrap/resume", {"json": {"run": "halted"}}),
        ("POST", "/lora_bootstrap/resume", {"json": {"run": "unfinished"}}),
        ("POST", "/lora_bootstrap/resume", {"json": {"run": "nobody"}}),
        ("POST", "/lora_bootstrap/resume", {"json": {}}))
    assert resumed == (200, {"resuming": True}) and current_session().trainings.resumed("halted") == before + 1
    # a training whose name comes over a link runs again too
    assert current_session().trainings.resumed(None) >= before + 1
    assert unfinished[0] == 409 and missing[0] == 404 and bad[0] == 400




def test_a_run_is_compared_with_another_of_its_project_first(host):
    write_whole_run(host.output, "other", project="x")
    write_whole_run(host.output, "akane-style-1")
    write_whole_run(host.output, "akane", losses=(0.25,), kind="character")
    path = "/lora_bootstrap/run/"
    others, found, missing = ask(
        ("GET", f"{path}others", {"params": {"name": "akane"}}),
        ("GET", f"{path}differences", {"params": {"first": "akane-style-1", "second": "akane"}}),
        ("GET", f"{path}differences", {"params": {"first": "akane", "second": "../akane"}}))
    assert others == (200, {"runs": ["akane-style-1", "other"]})
    assert found[0] == 200 and {"  kind: style → character", "  loss (last 20 steps): 0.375 → 0.25"} <= set(
        found[1]["lines"])
    assert missing[0] == 404
