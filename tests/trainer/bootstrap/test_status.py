"""Where a project stands, from its first Run to its LoRA."""

import pytest

from lora_bootstrap.trainer.bootstrap.curation.curate_round import curate_round
from lora_bootstrap.trainer.bootstrap.status import marks_run, project_runs, project_status, run_names, style_run
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import write_json

from ...helpers.drawn_project import draw_project, draw_round


@pytest.fixture
def project(tmp_path):
    return draw_project(tmp_path / "bootstrap")


@pytest.fixture
def status(project, tmp_path):
    return lambda: project_status(project.folder, tmp_path / "loras")


def states(status):
    return {stage.name: status.state(stage) for stage in status.stages}


def trained(tmp_path, name, folder=""):
    """A finished run of that name, as far as its files say."""
    home = tmp_path / "loras" / (folder or name)
    write_json(home / "run.json", {"key": "k", "status": "finished", "step": 5, "config": {
        "name": name, "steps": 5}, "lineage": {}, "version": 1})
    (home / f"{home.name}.safetensors").write_bytes(b"")
    return home


def test_a_new_project_has_its_crops_and_trains_a_style_lora_next(status):
    now = status()
    assert states(now)["crops"] == "done" and states(now)["style-1"] == "next"
    assert [stage.name for stage in now.stages] == [
        "crops", "style-1", "candidates-1", "curate-1", "style-2", "candidates-2", "curate-2", "character"]
    assert now.next == ("Run trains a style LoRA on the images so far, which then draws the candidates of round 1.")


def test_candidates_are_counted_and_then_somebody_has_to_pick(project, status, tmp_path, monkeypatch):
    monkeypatch.setattr("lora_bootstrap.trainer.bootstrap.status.read_run", lambda folder: Run(folder))
    trained(tmp_path, style_run(project.name, 1), "zqx-style-1-2")
    draw_round(project, 1, count=5)
    assert status().next == "Run draws 7 more candidates of round 1 with the style LoRA."
    draw_round(project, 1)
    now = status()
    assert now.next == "Pick 5 more in the gallery of round 1, then press Run."
    assert next(stage.text for stage in now.stages if stage.name == "curate-1") == "3 of 8 kept"
    curate_round(project.round(1), wanted=5, size=(64, 64), reference=None, eye=None)
    assert states(status())["curate-1"] == "done" and states(status())["style-2"] == "next"


def test_the_runs_of_a_project_are_found_by_the_names_that_it_gave_them(project, tmp_path, monkeypatch):
    monkeypatch.setattr("lora_bootstrap.trainer.bootstrap.status.read_run", lambda folder: Run(folder))
    mine = [trained(tmp_path, name) for name in ("zqx", "zqx-style-1", "zqx-style-2", "zqx-marks")]
    trained(tmp_path, "zqx-other")
    assert sorted(project_runs(project, tmp_path / "loras")) == sorted(mine)


def test_a_long_name_leaves_each_run_a_name_of_its_own():
    assert len(set(run_names("x" * 120, 2))) == 4 and marks_run("x" * 120) in run_names("x" * 120, 2)


class Run:
    """Of a run only what the status asks."""

    def __init__(self, folder):
        from types import SimpleNamespace

        from lora_bootstrap.trainer.common.files import read_json

        self.facts = read_json(folder / "run.json")
        self.finished, self.step = True, self.facts["step"]
        self.config = SimpleNamespace(steps=self.facts["config"]["steps"])


def test_a_damaged_list_of_images_to_draw_again_counts_as_empty(project, status):
    draw_round(project, 1, count=5)
    (project.round(1).folder / "again.json").write_text("[")
    assert next(stage.text for stage in status().stages if stage.name == "candidates-1") == "5 of 12"


def test_in_the_end_the_lora_is_there_to_be_prompted(project, status, tmp_path, monkeypatch):
    monkeypatch.setattr("lora_bootstrap.trainer.bootstrap.status.read_run", lambda folder: Run(folder))
    for number in (1, 2):
        trained(tmp_path, style_run(project.name, number))
        draw_round(project, number)
        curate_round(project.round(number), wanted=project.target(number) - 3, size=(64, 64), reference=None, eye=None)
    assert status().next == "Run trains the character LoRA on 12 images."
    trained(tmp_path, "zqx")
    assert status().next == "All done: prompt the LoRA with 'zqx'." and set(states(status()).values()) == {"done"}


def test_a_run_of_a_longer_name_is_not_taken_for_this_one(project, status, tmp_path, monkeypatch):
    monkeypatch.setattr("lora_bootstrap.trainer.bootstrap.status.read_run", lambda folder: Run(folder))
    trained(tmp_path, "zqx-style-10")
    assert states(status())["style-1"] == "next"


def test_there_is_no_status_without_a_project(tmp_path):
    with pytest.raises(UserError, match="there is no project"):
        project_status(tmp_path / "none", tmp_path)
