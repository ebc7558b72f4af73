"""The loop from one picture to a character LoRA, on a base that draws and a training that only writes a file."""

import json
from dataclasses import replace

import pytest
import torch

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.bootstrap import loop as bootstrap
from lora_bootstrap.trainer.bootstrap.candidates import Lineage
from lora_bootstrap.trainer.bootstrap.events import BootstrapFinished, StageFinished, StageStarted
from lora_bootstrap.trainer.bootstrap.loop import run_bootstrap
from lora_bootstrap.trainer.bootstrap.originals import crop_framing, crop_repeats, crop_tags, real_share, square_box
from lora_bootstrap.trainer.bootstrap.repairs import Wish, change_wishes, list_wished
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.bootstrap.stages import list_stages
from lora_bootstrap.trainer.captions.roles import tag_roles
from lora_bootstrap.trainer.captions.views import VOCABULARIES
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Interrupted, Progress, Warned
from lora_bootstrap.trainer.pictures.crops import Crop
from lora_bootstrap.trainer.statements.consent import Statement, read_statement
from lora_bootstrap.trainer.statements.rights import Rights

from ...helpers.drawings import draw_once
from ...helpers.loop_parts import AKANE, TAGS, DrawingBase, run


def test_a_picture_becomes_a_character_lora_a_grid_and_a_report(config, tmp_path, training):
    events = run(config, tmp_path)
    last = events[-1]
    assert isinstance(last, BootstrapFinished) and last.stopped_because == ""
    assert last.lora == tmp_path / "out" / "loras" / "zqx" / "zqx.safetensors"
    assert all(path.is_file() for path in (last.lora, last.report, last.grid))
    assert [event.name for event in events if isinstance(event, StageFinished)] == [
        "crops", "reference", "style-1", "candidates-1", "curate-1", "dataset-1", "style-2", "candidates-2", "curate-2",
        "dataset-2", "character", "grid", "report"]


def test_a_real_person_without_consent_is_a_warning_before_the_first_stage_and_no_refusal(config, tmp_path, training):
    stated = Statement(Rights(person="real", consent_by="Jo", consent_written="yes", consent_uses=("images",)), "mit")
    events = run_bootstrap(config, tmp_path / "out", backbone=DrawingBase(), choose_eye=lambda *_: None,
                           statement=stated)
    first, second = next(events), next(events)
    events.close()
    assert first == Warned("This project shows a real person, whose consent is not stated for: training, generating.")
    assert isinstance(second, StageStarted)
    assert read_statement(tmp_path / "out" / "bootstrap" / "zqx") == (stated, "")


def test_every_stage_leaves_on_disk_what_the_table_says_that_it_makes(config, tmp_path, training):
    run(config, tmp_path)
    made = [stage.makes.format(project="zqx", round=number) for stage, number in list_stages(depth=2)]
    assert len(made) == 13 and [path for path in made if not (tmp_path / "out" / path).exists()] == []


def test_candidates_are_drawn_weak_early_and_strong_late_if_asked(config, tmp_path, training):
    base, few = DrawingBase(), replace(config, candidate_curve=(0.5, 2.0, 0.5), sample_steps=4)
    run(few, tmp_path, base)
    first = base.applied[: base.applied.index(("zqx-style-2", 0.6))]
    assert [strength for _, strength in first] == pytest.approx([0.6, 0.3, 0.3, 1.2, 1.2])
    folder = tmp_path / "out" / "bootstrap" / "zqx"
    lineages = [json.loads(path.read_text()) for path in folder.glob("round_*/candidates/*.json")]
    assert {lineage["curve"] for lineage in lineages} == {"x 0.5 until 0.5, x 2 from 0.5 of the steps"}
    assert {json.loads(path.read_text()).get("curve", "") for path in folder.glob("reference/*.json")} == {""}


def test_another_curve_draws_the_candidates_again(config, tmp_path, training):
    run(config, tmp_path)
    base = DrawingBase()
    run(replace(config, candidate_curve=(0.5, 2.0, 0.5)), tmp_path, base)
    assert base.made >= sum(config.candidates)
    base = DrawingBase()
    run(replace(config, candidate_curve=(0.5, 2.0, 0.5)), tmp_path, base)
    assert base.made == 0


def test_a_candidate_without_a_curve_counts_in_keys_as_it_did_before_there_were_curves(config, tmp_path, training):
    run(config, tmp_path)
    drawn = next((tmp_path / "out" / "bootstrap" / "zqx").glob("round_1/candidates/*.json"))
    saved = json.loads(drawn.read_text())
    assert "curve" not in saved and Lineage.read(drawn.with_suffix(".png")).to_dict() == saved


def test_stages_are_reported_by_number_and_title(config, tmp_path, training):
    started = [event for event in run(config, tmp_path) if isinstance(event, StageStarted)]
    assert [(event.number, event.total) for event in started] == [(number, 13) for number in range(1, 14)]
    assert [event.title for event in started[2:6]] == [
        "Round 1: train a style LoRA on 3 images", "Round 1: generate candidates", "Round 1: choose from 12",
        "Round 1: dataset of 8"]


def test_the_training_sets_grow_as_the_targets_say(config, tmp_path, training):
    run(config, tmp_path)
    assert [len(dataset) for _, dataset, _ in training.calls] == [3, 8, 12]
    assert [c.kind for c, _, _ in training.calls] == ["style", "style", "character"]


def test_the_crops_are_at_least_a_third_of_every_rounds_samples(config, tmp_path, training):
    run(config, tmp_path)
    for _, dataset, _ in training.calls:
        real = sum(sample.repeats for sample in dataset if sample.parent == "akane")
        assert real / sum(sample.repeats for sample in dataset) >= 1 / 3


def test_only_the_character_stage_absorbs_the_identity_tags(config, tmp_path, training):
    run(config, tmp_path)
    *styles, (_, character, lineage) = training.calls
    assert all(any("red hair" in sample.caption for sample in dataset) for _, dataset, _ in styles)
    for sample in character:
        assert sample.caption.startswith("zqx, 1girl")
        assert not set(sample.caption.split(", ")) & set(AKANE.identity)
    assert lineage["absorbed"] == list(AKANE.identity)


def test_every_generated_picture_keeps_its_lineage(config, tmp_path, training):
    run(config, tmp_path)
    folder = tmp_path / "out" / "bootstrap" / "zqx" / "round_2"
    facts = [json.loads(path.read_text()) for path in sorted((folder / "candidates").glob("*.json"))]
    assert len(facts) == 16 and {fact["round"] for fact in facts} == {2}
    assert {fact["parent_lora"] for fact in facts} == {"zqx-style-2"}
    assert len({fact["seed"] for fact in facts}) == 16
    assert all(fact["prompt"].startswith("zqx, 1girl, red hair") for fact in facts)
    kept = json.loads((folder / "dataset" / "1_generated" / "crops.json").read_text())
    assert len(kept) == 9 and {fact["round"] for fact in kept.values()} <= {1, 2}


def test_running_again_makes_nothing_again(config, tmp_path, training):
    run(config, tmp_path)
    base = DrawingBase()
    events = run(config, tmp_path, base)
    assert base.made == 0
    assert all(event.reused for event in events if isinstance(event, StageFinished) and event.name != "report")


def test_a_stopped_project_goes_on_to_the_same_end(config, tmp_path, training):
    def decided(name):
        return json.loads((tmp_path / "out" / "bootstrap" / name / "round_2" / "decisions.json").read_text())[
            "decisions"]

    whole = run(replace(config, name="whole"), tmp_path)
    assert whole[-1].stopped_because == ""
    for stop_at in (1, 4, 7, 9):
        parts, asked = replace(config, name=f"parts{stop_at}"), iter(range(1000))
        first = run(parts, tmp_path, should_stop=lambda: next(asked) >= stop_at)  # noqa: B023 (called at once)
        assert isinstance(first[-1], Interrupted), stop_at
        second = run(parts, tmp_path)
        assert isinstance(second[-1], BootstrapFinished) and second[-1].stopped_because == "", stop_at
        assert decided(parts.name) == decided("whole"), stop_at


def test_only_missing_candidates_are_made_again(config, tmp_path, training):
    run(config, tmp_path)
    candidates = tmp_path / "out" / "bootstrap" / "zqx" / "round_1" / "candidates"
    (candidates / "r1-003.png").unlink()
    (candidates / "r1-005.json").write_text((candidates / "r1-006.json").read_text())
    base = DrawingBase()
    events = run(config, tmp_path, base)
    assert base.made == 2
    assert [event.done for event in events if isinstance(event, Progress) and event.what == "round 1"] == [12]


def test_what_the_gallery_asks_for_is_drawn_once_and_stays(config, tmp_path, training):
    config = replace(config, targets=(3, 8), candidates=(6,))
    run(config, tmp_path)
    round_ = Project.load(tmp_path / "out" / "bootstrap" / "zqx").round(1)
    old = round_.list_candidates()[0].stem
    change_wishes(round_, [Wish.of({"candidate": old, "seed": 5, "strength": 0.9})])
    (wished,) = list_wished(round_)
    for _ in range(2):
        run(config, tmp_path)
        assert list_wished(round_) == []
        (drawn,) = [Lineage.read(path) for path in round_.list_candidates() if Lineage.read(path).asked_for]
        assert (drawn.name, drawn.again_of, drawn.seed, drawn.strength) == (wished.name, old, 5, 0.9)
        assert drawn.steps and drawn.parent_lora and wished.name in round_.read_decisions().decisions


def test_a_view_drawn_again_without_a_strength_has_that_of_its_view(config, tmp_path, training):
    config = replace(config, targets=(3, 8), candidates=(6,), candidate_strengths=(0.6, 0.8))
    run(config, tmp_path)
    round_ = Project.load(tmp_path / "out" / "bootstrap" / "zqx").round(1)
    change_wishes(round_, [Wish.of({"candidate": round_.list_candidates()[1].stem, "seed": 5})])
    run(config, tmp_path)
    assert [lineage.strength for lineage in map(Lineage.read, round_.list_candidates()) if lineage.asked_for] == [0.8]


def test_a_users_changed_decision_is_honoured(config, tmp_path, training):
    run(config, tmp_path)
    file = tmp_path / "out" / "bootstrap" / "zqx" / "round_2" / "decisions.json"
    known = json.loads(file.read_text())
    row = next(row for row in known["decisions"] if row["kept"])
    row["kept"] = False
    file.write_text(json.dumps(known))
    run(config, tmp_path)
    assert len(training.calls[-1][1]) == 11
    assert row["candidate"] not in [sample.path.stem for sample in training.calls[-1][1]]


def test_pictures_that_are_all_alike_stop_the_loop_and_keep_everything(config, tmp_path, training):
    events = run(config, tmp_path, DrawingBase(flat=True))
    last = events[-1]
    assert "stopped after round 1" in last.stopped_because
    assert any(isinstance(event, Warned) and event.message == last.stopped_because for event in events)
    assert [len(dataset) for _, dataset, _ in training.calls] == [3, 3]
    assert last.lora.is_file() and last.stopped_because in last.report.read_text()
    assert len(list((last.folder / "round_1" / "candidates").glob("*.png"))) == 12


def test_another_picture_under_the_same_name_is_refused(config, tmp_path, training):
    run(config, tmp_path)
    other = tmp_path / "other.png"
    draw_once(world.Scene(world.HELD_OUT["momo"]), 128).save(other)
    with pytest.raises(UserError, match="another image"):
        run(replace(config, picture=str(other), name="zqx"), tmp_path)


def test_why_the_loop_stopped_is_no_note_and_other_warnings_are_each_one_once(config, tmp_path, training):
    run(config, tmp_path, DrawingBase(flat=True))
    events = run(config, tmp_path, DrawingBase(flat=True))
    values = json.loads((tmp_path / "out" / "bootstrap" / "zqx" / "project.json").read_text())
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert values["stopped_because"] == warnings[-1]
    assert values["notes"] == list(dict.fromkeys(warnings[:-1])) and len(values["notes"]) == 2


def test_what_measures_likeness_is_chosen_by_base_folder_and_device(config, tmp_path, training):
    asked = []
    list(run_bootstrap(replace(config, likeness="clip"), tmp_path / "out", backbone=DrawingBase(),
                       choose_eye=lambda *words: asked.append(words)))
    assert asked == [("sandbox", "clip", torch.device("cpu"))]


def test_changed_settings_redo_only_what_depends_on_them(config, tmp_path, training):
    run(config, tmp_path)
    base = DrawingBase()
    events = run(replace(config, strengths=(0.5, 0.75, 1.0)), tmp_path, base)
    assert base.made == bootstrap.SHOWCASE_COUNT
    redone = [event.name for event in events if isinstance(event, StageFinished) and not event.reused]
    assert redone == ["grid", "report"]


def test_the_report_needs_no_other_file_and_no_script(config, tmp_path, training):
    page = run(config, tmp_path)[-1].report.read_text()
    assert "data:image/png;base64," in page
    assert "<script" not in page and 'src="http' not in page and "file:" not in page
    assert page.count("<figure") >= 3 + 12 + 16


@pytest.mark.parametrize("change, words", [
    ({"trigger": " "}, "trigger"), ({"trigger": "a, b"}, "one word"), ({"tags": ()}, "tags are empty"),
    ({"name": "../elsewhere"}, "must have none of"),
    ({"targets": (4, 16, 40, 80), "candidates": (48, 96, 200)}, "2 or 3 increasing"),
    ({"targets": (16, 4)}, "increasing"),
    ({"candidates": (4, 96)}, "at least 5, 9"), ({"strengths": (0.0,)}, "above 0"), ({"strengths": ()}, "strengths"),
    ({"candidate_curve": (0.7, 2.3)}, "candidate_curve is"), ({"candidate_curve": (0.7, 2.3, 1.0)}, "between 0 and 1"),
    ({"style_on": "mark"}, "must be images or marks"),
])
def test_impossible_settings_are_told_before_anything_runs(config, change, words):
    with pytest.raises(UserError, match=words):
        replace(config, **change)


def test_a_picture_that_is_none_is_told_before_a_model_is_loaded(config, tmp_path):
    (tmp_path / "akane.png").write_text("no picture")
    with pytest.raises(UserError, match="akane.png"):
        list(run_bootstrap(replace(config, base="/no/such/base"), tmp_path))


@pytest.mark.parametrize("crops, generated, repeats", [(4, 12, 2), (4, 36, 5), (4, 8, 1), (1, 15, 8), (4, 0, 1)])
def test_repeats_are_the_fewest_that_keep_a_third_real(crops, generated, repeats):
    assert crop_repeats(crops, generated) == repeats
    assert real_share(crops, generated) >= 1 / 3


def test_crops_are_made_square_inside_the_picture():
    assert square_box((10, 0, 30, 100), (200, 100)) == (0, 0, 100, 100)
    assert square_box((150, 40, 190, 60), (200, 100)) == (150, 30, 190, 70)
    assert square_box((0, 0, 100, 300), (100, 300)) == (0, 0, 100, 300)


def test_a_crops_framing_follows_its_name_or_its_height():
    assert crop_framing(Crop("whole", (0, 0, 9, 100)), (100, 100)) == ""
    assert crop_framing(Crop("face", (0, 0, 9, 90)), (100, 100)) == "close-up"
    assert crop_framing(Crop("region_1", (0, 0, 9, 60)), (100, 100)) == "upper body"
    assert crop_framing(Crop("region_2", (0, 0, 9, 40)), (100, 100)) == "close-up"


def test_a_crops_caption_names_only_what_it_shows():
    def tags(name, box, face=(30, 10, 70, 50)):
        roles, words = tag_roles(TAGS, VOCABULARIES["sandbox"]), VOCABULARIES["sandbox"]
        return crop_tags(Crop(name, box), (100, 100), roles, words, "zqx", face)

    assert tags("whole", (0, 0, 100, 100)) == ("zqx", *TAGS)
    assert {"close-up", "green eyes"} <= set(tags("face", (30, 10, 70, 50)))
    assert not {"full body", "fox tail", "white dress"} & set(tags("face", (30, 10, 70, 50)))
    part = tags("region_1", (50, 60, 90, 100))
    assert part == ("zqx", "1girl", "fox tail", "white dress", "front view", "white background", "flat color")
