"""The report and the project file say what happened, and survive odd input."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from PIL import Image

from lora_bootstrap.trainer.bootstrap import report
from lora_bootstrap.trainer.bootstrap.candidates import Lineage
from lora_bootstrap.trainer.bootstrap.curation.round_figures import RoundFigures
from lora_bootstrap.trainer.bootstrap.project import ProjectRecord, StageRecord, crops_folder, open_project
from lora_bootstrap.trainer.bootstrap.report import write_report
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.training.runs import read_losses

SETTINGS = {"trigger": "<b>zqx</b>", "base": "sandbox", "tags": ["1girl", "red hair"], "picture": "a.png"}
FIGURES = RoundFigures(1, 1, 2, None, 1.25, None, 0.5, None, None, 0.4)


@pytest.fixture
def project(tmp_path):
    project = ProjectRecord(tmp_path / "bootstrap" / "p", SETTINGS, "hash", rounds=[FIGURES], notes=["take care"])
    folder = project.folder / "round_1"
    for name in ("r1-000", "r1-001"):
        (folder / "candidates").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), "red").save(folder / "candidates" / f"{name}.png")
        write_json(folder / "candidates" / f"{name}.json", asdict(Lineage(
            name=name, prompt="zqx, smile", tags=["zqx"], view={}, seed=77, round=1, parent_lora="p-style-1",
            parent_lora_sha256="", strength=1.0, base="sandbox", width=64, height=64, steps=8, cfg=4.0)))
    write_json(folder / "decisions.json", {"decisions": [
        {"candidate": "r1-000", "kept": True, "reason": "pick 1 of 1", "scores": {"likeness": 0.91}},
        {"candidate": "r1-001", "kept": False, "reason": "blurred (sharpness z -5.0)", "scores": {}}]})
    run = tmp_path / "loras" / "p"
    run.mkdir(parents=True)
    lines = [json.dumps({"step": step, "loss": 1 / step}) for step in range(1, 101)]
    (run / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 101, "lo']))
    project.record_stage(StageRecord("character", "Train", "100 steps", 12.5, "now",
                                     {"lora": "loras/p/p.safetensors", "run": "loras/p"}), reused=False)
    return project


def test_the_report_shows_decisions_reasons_lineage_curves_and_figures(project, tmp_path):
    page = write_report(project, tmp_path).read_text()
    for words in ("kept 1 of 2", "blurred (sharpness z -5.0)", "p-style-1 at 1 · seed 77", "likeness 0.91", "take care",
                  "loras/p/p.safetensors", "<polyline", "12.5 s", "not measured"):
        assert words in page, words


def test_what_the_base_knows_of_her_stands_before_the_first_round(project, tmp_path):
    assert "What the base knows of her" not in write_report(project, tmp_path).read_text()
    made = project.folder / "reference" / "r0-000.png"
    made.parent.mkdir()
    Image.new("RGB", (64, 64), "blue").save(made)
    write_json(made.with_suffix(".json"), asdict(Lineage(
        name="r0-000", prompt="1girl, red hair, night sky", tags=["1girl"], view={"background": "night sky"}, seed=1,
        round=0, parent_lora="", parent_lora_sha256="", strength=0.0, base="sandbox", width=64, height=64, steps=8,
        cfg=4.0)))
    project.rounds = [replace(FIGURES, likeness=0.8, base_likeness=0.31, drawn_likeness=0.62)]
    page = write_report(project, tmp_path).read_text()
    assert "own images for her tags: likeness 0.31. Round 1: 0.62 as drawn, 0.80 as kept." in page
    places = [page.index(text) for text in ("What the base knows", "1girl, red hair, night sky", "Round 1: kept")]
    assert places == sorted(places)


def test_what_the_user_typed_is_escaped(project, tmp_path):
    page = write_report(project, tmp_path).read_text()
    assert "<b>zqx</b>" not in page and "&lt;b&gt;zqx&lt;/b&gt;" in page


def test_a_project_reads_back_as_it_was_written(project):
    assert ProjectRecord.load(project.folder) == project


def test_a_reused_stage_keeps_the_time_it_took(project):
    again = StageRecord("character", "Train", "100 steps", 0.1, "later", {})
    project.record_stage(again, reused=True)
    assert project.stages["character"].seconds == 12.5
    project.record_stage(again, reused=False)
    assert project.stages["character"].seconds == 0.1


def test_a_project_file_that_is_none_is_named(tmp_path):
    for text in ("{", '{"version": 1, "stages": {}, "x": 1}', "[]", '{"version": 9}'):
        (tmp_path / "project.json").write_text(text)
        with pytest.raises(UserError, match="project.json"):
            ProjectRecord.load(tmp_path)


def test_going_on_with_a_project_forgets_old_rounds_but_not_stage_times(project):
    again = open_project(project.folder, {**SETTINGS, "seed": 1}, "hash")
    assert again.rounds == [] and again.settings["seed"] == 1 and again.stages["character"].seconds == 12.5


def test_a_metrics_line_cut_short_and_a_loss_that_is_no_number_are_skipped(project, tmp_path):
    with open(tmp_path / "loras" / "p" / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('\n{"step": 101, "loss": null}\n{"step": 102, "validation_loss": 0.5}\n')
    losses = read_losses(tmp_path / "loras" / "p")
    assert len(losses) == 100 and losses[3] == (4, 0.25)
    assert read_losses(tmp_path / "loras" / "nobody") == []


def test_a_part_of_the_report_that_is_damaged_says_so_and_the_others_are_made(project, tmp_path):
    (project.folder / "round_1" / "decisions.json").write_text("[]")
    page = write_report(project, tmp_path).read_text()
    assert "decisions.json does not contain decisions" in page and str(tmp_path) not in page
    assert "<polyline" in page and "take care" in page


def test_a_path_in_the_project_that_leads_out_of_the_output_folder_is_not_read(project, tmp_path):
    Image.new("RGB", (8, 8), "blue").save(tmp_path.parent / "secret.png")
    project.record_stage(StageRecord("grid", "Grid", "", 0.0, "now", {"sheet": "../secret.png"}), reused=False)
    page = write_report(project, tmp_path).read_text()
    assert "Strength grid" not in page and "which is not in" in page


def test_the_output_folder_is_left_out_of_texts_and_never_of_images(project, tmp_path, monkeypatch):
    image = f"data:image/png;base64,AA{tmp_path.name}/BB"
    monkeypatch.setattr(report, "data_uri", lambda *_: image)
    monkeypatch.chdir(tmp_path.parent)
    project.notes.append(f"see {tmp_path.name}/loras/p")
    page = write_report(project, Path(tmp_path.name)).read_text()
    assert image in page and "see loras/p" in page


def test_a_crop_that_is_a_link_is_in_no_part_of_the_report(project, tmp_path):
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "secret.png")
    crop = crops_folder(project.folder) / "1-whole.png"
    crop.parent.mkdir(parents=True)
    crop.symlink_to(tmp_path / "secret.png")
    assert "The original image" not in write_report(project, tmp_path).read_text()


def test_two_that_save_one_project_keep_what_the_other_recorded(project):
    one, two = ProjectRecord.load(project.folder), ProjectRecord.load(project.folder)
    one.record_stage(StageRecord("crops", "Crops", "3 crops", 1.0, "now"), reused=False)
    two.note("of two")
    two.record_figures(replace(FIGURES, round=2))
    two.stopped_because = "enough"
    two.record_stage(StageRecord("style-1", "Style", "done", 1.0, "now"), reused=False)
    one.note("of one")
    one.save()
    saved = ProjectRecord.load(project.folder)
    assert set(saved.stages) == {"character", "crops", "style-1"} and saved.stopped_because == "enough"
    assert saved.notes == ["take care", "of two", "of one"] and [figures.round for figures in saved.rounds] == [1, 2]


def test_what_one_takes_out_of_a_project_is_out(project):
    one, two = ProjectRecord.load(project.folder), ProjectRecord.load(project.folder)
    one.rounds, one.notes = [], []
    one.save()
    two.note("of two")
    two.save()
    saved = ProjectRecord.load(project.folder)
    assert saved.rounds == [] and saved.notes == ["of two"]
