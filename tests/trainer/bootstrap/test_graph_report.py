"""The report of a project that was made in a workflow, where trainings leave no stage and picks are made by hand."""

from lora_bootstrap.trainer.bootstrap.notebook import Notebook
from lora_bootstrap.trainer.bootstrap.project import ProjectRecord
from lora_bootstrap.trainer.bootstrap.report import write_report
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.common.files import read_json, write_json

from ...helpers.archived_project import write_whole_project


def test_the_report_names_the_lora_where_the_folder_of_runs_is_a_link_to_another_disk(tmp_path):
    folder = write_whole_project(tmp_path / "output")
    record = read_json(folder / "project.json")
    write_json(folder / "project.json", {**record, "stages": {}})
    (tmp_path / "output" / "loras").rename(tmp_path / "disk")
    (tmp_path / "output" / "loras").symlink_to(tmp_path / "disk")
    page = write_report(ProjectRecord.load(folder), tmp_path / "output").read_text()
    assert "<code>loras/akane/akane.safetensors</code>" in page


def test_a_project_of_a_workflow_shows_picks_by_hand_runs_notes_and_sweeps(tmp_path):
    folder = write_whole_project(tmp_path, candidates=9)
    record = read_json(folder / "project.json")
    write_json(folder / "project.json", {**record, "stages": {}, "rounds": []})
    one = Project.load(folder).round(1)
    one.picks.changed("pick", [("r1-001", {"state": "keep", "note": "her best side"}), ("r1-002", {"state": "reject"})],
                      one.collect_facts()).save(one.picks_file)
    Notebook().changed("A LoRA for <night> scenes.", {"1": "more views from behind"}, 1).save(folder / "notes.json")
    write_json(tmp_path / "sweeps" / "strengths" / "manifest.json", {"axes": [{"name": "checkpoint", "choices": [
        {"label": "step 100", "facts": {"run": "akane"}}]}]})
    write_json(tmp_path / "sweeps" / "of another" / "manifest.json", {"axes": [{"choices": [{"facts": {"run": "x"}}]}]})
    page = write_report(ProjectRecord.load(folder), tmp_path).read_text()
    for words in ("Round 1: kept 1 of 9", "<b>kept by hand</b>", "note: her best side", "<b>rejected by hand</b>",
                  "pick 8 of 8", "loras/akane/akane.safetensors", "akane-style-1 (100 of", "A LoRA for &lt;night&gt;",
                  "more views from behind", "<td>strengths</td><td>akane</td><td>0</td>"):
        assert words in page, words
    assert "of another" not in page and str(tmp_path) not in page and "http" not in page.replace("http://www.w3", "")
