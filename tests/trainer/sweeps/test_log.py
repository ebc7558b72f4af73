"""The log of sweeps keeps how each run looked, once for each look, and lays any two side by side."""

import json

import pytest
from PIL import Image

from lora_bootstrap.trainer.sweeps.cells import CHECKPOINT, Axis, Choice, Sweep, prompt_axis
from lora_bootstrap.trainer.sweeps.log import LONGEST_SIDE, SCORES, SHEET, log_picture, page, read_log, run_of


def sweep_of(root, name="grid", run="girl"):
    checkpoints = Axis(CHECKPOINT, (Choice("step 1", {"lora": "a", "lora_sha256": "a", "strength": 1.0, "run": run}),))
    return Sweep(root / name, name, (checkpoints, prompt_axis(["a"])))


def sheet(root, colour, size=(40, 20)):
    Image.new("RGB", size, colour).save(root / "grid.png")
    return root / "grid.png"


def test_a_new_look_is_kept_and_the_same_is_not_kept_twice(tmp_path):
    sweep = sweep_of(tmp_path)
    first = log_picture(sweep, sheet(tmp_path, "red"), SHEET)
    assert log_picture(sweep, sheet(tmp_path, "red"), SHEET) is None
    second = log_picture(sweep, sheet(tmp_path, "blue"), SHEET)
    third = log_picture(sweep, sheet(tmp_path, "red"), SHEET, "as before")
    assert len({first, second, third}) == 3 and all(Image.open(path).size == (40, 20) for path in (first, third))
    entries = read_log(tmp_path / "log")["girl"]
    assert [entry["file"] for entry in entries] == [first.name, second.name, third.name]
    assert entries[-1]["line"] == "as before" and entries[0]["at"] <= entries[-1]["at"]


def test_sheets_and_scores_of_two_runs_are_told_apart(tmp_path):
    for name, run in (("a", "girl"), ("b", "boy")):
        log_picture(sweep_of(tmp_path, name, run), sheet(tmp_path, "red"), SHEET)
        log_picture(sweep_of(tmp_path, name, run), sheet(tmp_path, "red"), SCORES)
    log = read_log(tmp_path / "log")
    assert {run: [entry["kind"] for entry in entries] for run, entries in log.items()} == {
        "girl": [SHEET, SCORES], "boy": [SHEET, SCORES]}
    text = (tmp_path / "log" / "index.html").read_text()
    assert text == page(log) and text.count("<optgroup") == 4 and text.count(" selected") == 2
    assert all(f'src="{run}/' in text for run in log)


def test_what_was_typed_by_people_is_escaped(tmp_path):
    sweep = sweep_of(tmp_path, "x", 'a"<b>/..')
    log_picture(sweep, sheet(tmp_path, "red"), SHEET, "<script>alert(1)</script>")
    text = (tmp_path / "log" / "index.html").read_text()
    assert "<script>alert" not in text and '"<b>' not in text
    assert run_of(sweep) == "a-b-.." and (tmp_path / "log" / "a-b-..").is_dir()


@pytest.mark.parametrize("name", ["..", ".hidden", "../x", ""])
def test_a_runs_name_leads_to_no_other_folder(tmp_path, name):
    path = log_picture(sweep_of(tmp_path, "x", name), sheet(tmp_path, "red"), SHEET)
    assert path.parent.parent == tmp_path / "log" and not path.parent.name.startswith(".")


def test_large_sheets_are_kept_smaller(tmp_path):
    path = log_picture(sweep_of(tmp_path), sheet(tmp_path, "red", (2 * LONGEST_SIDE, 100)), SHEET)
    assert Image.open(path).size == (LONGEST_SIDE, 50)


@pytest.mark.parametrize("text", ["no json", "{}", "[1]", '[{"file": "x"}]'])
def test_a_broken_log_is_begun_anew(tmp_path, text):
    (tmp_path / "log" / "girl").mkdir(parents=True)
    (tmp_path / "log" / "girl" / "log.json").write_text(text)
    log_picture(sweep_of(tmp_path), sheet(tmp_path, "red"), SHEET)
    assert len(json.loads((tmp_path / "log" / "girl" / "log.json").read_text())) == 1
