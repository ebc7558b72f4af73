"""The log of sweeps keeps how each run looked, once for each look, and lays any two side by side."""

import json
import os

import pytest
from PIL import Image

from lora_bootstrap.trainer.sweeps.cells import CHECKPOINT, Axis, Choice, Sweep, prompt_axis
from lora_bootstrap.trainer.sweeps.log import (
    LONGEST_SIDE,
    SCORES,
    SHEET,
    add_to_log,
    log_picture,
    page,
    read_log,
    run_of,
)


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
    assert [entry.file for entry in entries] == [first.name, second.name, third.name]
    assert entries[-1].line == "as before" and entries[0].at <= entries[-1].at


def test_sheets_and_scores_of_two_runs_are_told_apart(tmp_path):
    for name, run in (("a", "girl"), ("b", "boy")):
        log_picture(sweep_of(tmp_path, name, run), sheet(tmp_path, "red"), SHEET)
        log_picture(sweep_of(tmp_path, name, run), sheet(tmp_path, "red"), SCORES)
    log = read_log(tmp_path / "log")
    assert {run: [entry.kind for entry in entries] for run, entries in log.items()} == {
        "girl": [SHEET, SCORES], "boy": [SHEET, SCORES]}
    text = (tmp_path / "log" / "index.html").read_text()
    assert text == page(log) and text.count("<optgroup") == 4 and text.count(" selected") == 2
    assert all(f'src="{run}/' in text for run in log)


def test_what_was_typed_by_people_is_escaped(tmp_path):
    sweep = sweep_of(tmp_path, "x", 'a"<b>/..')
    log_picture(sweep, sheet(tmp_path, "red"), SHEET, "<script>alert(1)</script>")
    text = (tmp_path / "log" / "index.html").read_text()
    assert "<script>alert" not in text and '"<b>' not in text
    assert run_of(sweep) == "a-b-" and (tmp_path / "log" / "a-b-").is_dir()


@pytest.mark.parametrize("name", ["..", ".hidden", "../x", ""])
def test_a_runs_name_leads_to_no_other_folder(tmp_path, name):
    path = log_picture(sweep_of(tmp_path, "x", name), sheet(tmp_path, "red"), SHEET)
    assert path.parent.parent == tmp_path / "log" and not path.parent.name.startswith(".")


def test_large_sheets_are_kept_smaller(tmp_path):
    path = log_picture(sweep_of(tmp_path), sheet(tmp_path, "red", (2 * LONGEST_SIDE, 100)), SHEET)
    assert Image.open(path).size == (LONGEST_SIDE, 50)


@pytest.mark.parametrize("text", ["no json", "{}", "[1]", '[{"file": "x"}]', "[" * 9999,
                                  '[{"file": "x", "at": [], "sweep": 1}]'])
def test_a_broken_log_is_begun_anew(tmp_path, text):
    (tmp_path / "log" / "girl").mkdir(parents=True)
    (tmp_path / "log" / "girl" / "log.json").write_text(text)
    log_picture(sweep_of(tmp_path), sheet(tmp_path, "red"), SHEET)
    assert len(json.loads((tmp_path / "log" / "girl" / "log.json").read_text())) == 1


def test_a_page_that_was_not_written_in_time_is_written_with_the_next_sheet(tmp_path):
    page_path = tmp_path / "log" / "index.html"
    log_picture(sweep_of(tmp_path), sheet(tmp_path, "red"), SHEET)
    whole = page_path.read_text()
    page_path.unlink()
    assert log_picture(sweep_of(tmp_path), sheet(tmp_path, "red"), SHEET) is None
    assert page_path.read_text() == whole
    page_path.write_text("of the time before the sheet was added")
    os.utime(page_path, (0, 0))
    assert log_picture(sweep_of(tmp_path), sheet(tmp_path, "red"), SHEET) is None
    assert page_path.read_text() == whole


def test_a_log_that_cannot_be_written_is_a_note_and_no_failure(tmp_path):
    (tmp_path / "log").write_text("in the way")
    assert "log of sweeps was not written" in add_to_log(sweep_of(tmp_path), sheet(tmp_path, "red"), SHEET)
    (tmp_path / "log").unlink()
    assert "not written" in add_to_log(sweep_of(tmp_path), tmp_path / "no such sheet.png", SHEET)
    assert add_to_log(sweep_of(tmp_path), sheet(tmp_path, "red"), SHEET) == ""


@pytest.mark.parametrize("run", ["x" * 5000, "字" * 200, "\ud800", "CON", "a\nb", 7, ["girl"], None])
def test_a_run_that_a_strangers_file_names_does_not_break_the_log(tmp_path, run):
    assert add_to_log(sweep_of(tmp_path, run=run), sheet(tmp_path, "red"), SHEET) == ""
    assert len(read_log(tmp_path / "log")) == 1


def test_one_broken_entry_costs_only_itself_and_leads_nowhere(tmp_path):
    first = log_picture(sweep_of(tmp_path), sheet(tmp_path, "red"), SHEET)
    path = tmp_path / "log" / "girl" / "log.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps([None, {**whole[0], "at": 5}, *whole, {**whole[0], "file": "../../../etc/passwd"}]))
    assert [entry.file for entry in read_log(tmp_path / "log")["girl"]] == [first.name, "passwd"]
    assert "etc" not in page(read_log(tmp_path / "log"))
