"""The scoring matrix: figures from pictures, gates, the F-score, words, and one row to take; nothing is made up."""

import csv
import io
import json
import math

import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.schema import read_record
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.measures.artefacts import find_faults
from lora_bootstrap.trainer.measures.background import copies_background, read_background
from lora_bootstrap.trainer.pictures.images import open_image, to_image, to_tensor
from lora_bootstrap.trainer.release.measured import Matrix
from lora_bootstrap.trainer.sweeps.cells import CHECKPOINT, Axis, Choice, Sweep, prompt_axis, seed_axis, strength_axis
from lora_bootstrap.trainer.sweeps.checks import TrainingBackgrounds, measure_artefacts
from lora_bootstrap.trainer.sweeps.marks import Marks
from lora_bootstrap.trainer.sweeps.score import (
    GOOD,
    OVERTRAINED,
    UNDERTRAINED,
    Scale,
    ScoreRow,
    ScoreSettings,
    f_score,
    judge_rows,
    score_sweep,
)
from lora_bootstrap.trainer.sweeps.score_table import as_csv, as_picture, cells_of, report, write_scores

SETTINGS = ScoreSettings(neighbours=0)
WHOLE = Scale(likeness_without=0.0, likeness_training=1.0, prompt_without=1.0)


def rows(*figures):
    """Checkpoints at steps 100, 200, ... of 10 epochs a hundred steps, at strength 1."""
    return [ScoreRow(0, place, 0, f"step {100 * (place + 1)}, strength 1", 4, step=100 * (place + 1),
                     epoch=place * 3 + 1, lora=f"l{place}", at=1.0, **one) for place, one in enumerate(figures)]


def figures(likeness, prompt=0.9, **more):
    return {"likeness": likeness, "prompt": prompt, **more}


# -- from figures to a choice ------------------------------------------------------------------------------------------


def test_the_f_score_is_the_harmonic_mean_and_likeness_weighs_alpha_squared():
    assert f_score(0.5, 1.0, 1) == pytest.approx(2 / 3) and f_score(0.7, 0.7, 3) == pytest.approx(0.7)
    assert f_score(0.9, 0.5, 3) > f_score(0.5, 0.9, 3) and f_score(0.9, 0.5, 1) == f_score(0.5, 0.9, 1)
    assert f_score(0, 1, 3) == f_score(1, 0, 3) == 0
    assert f_score(0.4, 0.8, 3) == pytest.approx(1 / (0.9 / 0.4 + 0.1 / 0.8))


def test_the_best_row_is_taken_and_the_others_are_too_early_or_too_late():
    scores = judge_rows(rows(figures(0.4), figures(0.9), figures(0.6)), WHOLE, SETTINGS)
    assert scores.best.step == 200 and scores.best.score == pytest.approx(0.9)
    assert [row.verdict for row in scores.rows] == [UNDERTRAINED, GOOD, OVERTRAINED]
    assert [row.advice for row in scores.rows] == [
        "Advance 2-4 epochs, to step 200.", "", "Roll back 2-4 epochs, to step 200; to train again, take 20-30 % fewer "
        "steps or half the learning rate."]
    assert scores.why.startswith("Take step 200, strength 1: score 0.90 (likeness 0.90, prompt accuracy 0.90).")


def test_far_from_the_best_the_advice_leads_two_to_four_epochs_on():
    scores = judge_rows(rows(*(figures(value) for value in (0.2, 0.4, 0.6, 0.9))), WHOLE, SETTINGS)
    assert scores.rows[0].advice == "Advance 2-4 epochs, to step 200."


@pytest.mark.parametrize("gate, value", [("copies", 0.2), ("burn", 99.0), ("diversity", 0.3)])
def test_a_row_that_breaks_a_gate_is_not_taken_however_alike(gate, value):
    scores = judge_rows(rows(figures(0.7), figures(0.95, **{gate: value})), WHOLE, SETTINGS)
    assert scores.best.step == 100 and scores.rows[1].gates == (gate,)
    assert scores.rows[1].verdict == OVERTRAINED


@pytest.mark.parametrize("gate, value, cure", [
    ("copies", 0.2, "it copies: add images that show something new, or train 20-30 % fewer steps."),
    ("burn", 99.0, "it burns: use a strength below 1, or train at half the learning rate (1e-4 → 5e-5)."),
    ("diversity", 0.3, "it repeats itself: add more varied images, or train at half the learning rate (1e-4 → 5e-5)."),
    ("validation", 0.9, "it learns by heart: add images, or train 20-30 % fewer steps.")])
def test_a_verdict_names_the_cure_for_the_gate_that_fails(gate, value, cure):
    scores = judge_rows(rows(figures(0.7, validation=0.5), figures(0.95, **{"validation": 0.5, gate: value})), WHOLE,
                        SETTINGS, rate=1e-4)
    assert scores.rows[1].advice == f"Roll back 2-4 epochs, to step 100; {cure}"


def test_where_the_rate_is_not_known_it_is_named_without_figures():
    scores = judge_rows(rows(figures(0.9, burn=99.0), figures(0.7, burn=99.0)), WHOLE, SETTINGS)
    assert ("No row passes every gate; this one fails burn: it burns: use a strength below 1, or train at half the "
            "learning rate.") in scores.why
    assert "→" not in scores.why


@pytest.mark.parametrize("rate, text", [(1e-4, "1e-4 → 5e-5"), (1.5e-3, "1.5e-3 → 7.5e-4"), (1.0, "1 → 0.5"),
                                        (3e-4, "3e-4 → 1.5e-4")])
def test_rates_are_written_as_people_write_them(rate, text):
    assert f"half the learning rate ({text})" in judge_rows(rows(figures(0.9), figures(0.3)), WHOLE, SETTINGS,
                                                            rate=rate).why


def test_validation_is_measured_against_the_runs_lowest():
    limit = SETTINGS.most_validation
    scores = judge_rows(rows(figures(0.7, validation=0.5), figures(0.8, validation=0.5 * limit - 0.001),
                             figures(0.9, validation=0.5 * limit + 0.001)), WHOLE, SETTINGS)
    assert [row.gates for row in scores.rows] == [(), (), ("validation",)] and scores.best.step == 200


def test_where_every_row_breaks_a_gate_the_one_that_breaks_fewest_is_taken_and_it_is_said():
    scores = judge_rows(rows(figures(0.9, burn=99.0, copies=0.5), figures(0.7, burn=99.0)), WHOLE, SETTINGS)
    assert scores.best.step == 200 and "No row passes every gate; this one fails burn: it burns" in scores.why
    assert "more epochs" not in scores.why, "it is the last, but more of the same would burn it more"


def test_of_equal_rows_the_earlier_checkpoint_is_taken_and_the_strength_nearest_to_one():
    equal = rows(figures(0.9), figures(0.9 + SETTINGS.tie / 4))
    assert judge_rows(equal, WHOLE, SETTINGS).best.step == 100
    strengths = [ScoreRow(0, 0, place, "", 4, step=100, at=at, likeness=0.9, prompt=0.9)
                 for place, at in enumerate((0.6, 0.9, 1.4))]
    assert judge_rows(strengths, WHOLE, SETTINGS).best.at == 0.9


def test_the_first_and_the_last_checkpoint_are_told_to_be_the_edge():
    assert "save more often" in judge_rows(rows(figures(0.9), figures(0.3)), WHOLE, SETTINGS).why.lower()
    last = judge_rows(rows(figures(0.3), figures(0.9)), WHOLE, SETTINGS, rate=1e-4).why
    assert "train 2-4 more epochs" in last and "add images or take twice the learning rate (1e-4 → 2e-4)" in last


def test_without_likeness_nothing_is_recommended():
    scores = judge_rows(rows({"burn": 0.1}, {"burn": 0.2}), WHOLE, SETTINGS, notes=("no eye",))
    assert scores.recommended is None and scores.best is None and "likeness was not measured" in scores.why
    assert [row.score for row in scores.rows] == [None, None] and scores.rows[0].verdict == ""


def test_without_prompt_accuracy_the_score_is_likeness_alone():
    assert judge_rows(rows(figures(0.8, None)), WHOLE, SETTINGS).best.score == pytest.approx(0.8)


def test_likeness_counts_from_what_the_base_makes_to_what_the_training_pictures_are():
    scale = Scale(likeness_without=0.4, likeness_training=0.8, prompt_without=0.9)
    assert (scale.likeness(0.6), scale.likeness(0.3), scale.likeness(0.95)) == (pytest.approx(0.5), 0, 1)
    assert scale.prompt(0.45) == pytest.approx(0.5) and scale.prompt(0.95) == 1


def test_a_row_that_stands_out_by_chance_does_not_win_over_one_with_good_neighbours():
    values = (0.5, 0.92, 0.5, 0.85, 0.9, 0.86)
    assert judge_rows(rows(*map(figures, values)), WHOLE, SETTINGS).best.step == 200
    scores = judge_rows(rows(*map(figures, values)), WHOLE, ScoreSettings())
    assert scores.best.step == 500
    assert scores.best.likeness == 0.9, "the figures that are told are the row's own"
    assert scores.best.score == pytest.approx(f_score((0.9 + 0.85 / 2 + 0.86 / 2) / 2, 0.9, 3))


def test_an_unknown_kind_is_named():
    with pytest.raises(UserError, match="unknown kind of LoRA 'hat'"):
        ScoreSettings(kind="hat")


# -- from pictures to figures ------------------------------------------------------------------------------------------


class ColourEye:
    """Sees how red, green and blue a picture is; knows the tags red and green."""

    name = "colour eye"

    def embed(self, pixels):
        return F.normalize(pixels.mean((2, 3)) + 1e-6, dim=1)

    def read_tags(self, pixels, tags):
        means = pixels.mean((2, 3))
        known = {"red": 0, "green": 1}
        return torch.stack([(means[:, known[tag]] > 0.2).float() if tag in known else
                            torch.full((len(pixels),), float("nan")) for tag in tags], 1)


def drawn(colour, place=0):
    """A bar: it stands at places up to 2 and lies at later ones, so that none of these is a crop or mirror of those."""
    image = Image.new("RGB", (32, 32), "black")
    across, down = 4 * place, 8 * (place - 2.5)
    ImageDraw.Draw(image).rectangle((across, 4, across + 12, 28) if place <= 2 else (4, down, 28, down + 8), colour)
    return image


@pytest.fixture
def training(tmp_path):
    for index in range(3):
        (tmp_path / "data").mkdir(exist_ok=True)
        drawn("red", index).save(tmp_path / "data" / f"{index}.png")
        (tmp_path / "data" / f"{index}.txt").write_text("zqx, red")
    return load_folder(tmp_path / "data")


COLOURS = {100: "lime", 200: "red"}


@pytest.fixture
def sweep(tmp_path):
    """Two checkpoints at two strengths, four pictures each, and without the LoRA: blue ones."""
    checkpoints = Axis(CHECKPOINT, tuple(
        Choice(f"step {step}", {"lora": f"{step}", "lora_sha256": str(step), "step": step, "epoch": step // 50})
        for step in COLOURS))
    made = Sweep(tmp_path / "sweep", "sweep", (checkpoints, strength_axis((0.5, 1.0)), prompt_axis(("zqx, red", "cat")),
                                               seed_axis((1, 2))), {}, without=True)
    made.write()
    for cell in made.everything:
        place = 2.5 + cell.at[2] + cell.at[3] / 2  # of prompt and seed: no training picture is there
        made.save(cell, drawn(COLOURS.get(cell.facts["step"], "blue"), place))
    return made


def scored(sweep, training, eye=None, **more):
    *progress, end = score_sweep(sweep, eye=eye, training=training, trigger="zqx", **more)
    assert [event.done for event in progress] == list(range(len(progress)))
    return end.scores


def test_each_checkpoint_and_strength_is_measured(sweep, training):
    scores = scored(sweep, training, ColourEye(), validation={100: 0.6, 200: 0.5})
    assert [(row.step, row.at, row.cells) for row in scores.rows] == [
        (100, 0.5, 4), (100, 1.0, 4), (200, 0.5, 4), (200, 1.0, 4)]
    assert scores.best.step == 200 and scores.best.at == 1.0 and scores.eye == "colour eye"
    assert scores.rows[2].likeness == pytest.approx(1, abs=1e-3) and scores.rows[0].likeness < 0.1
    assert [row.validation for row in scores.rows] == [0.6, 0.6, 0.5, 0.5]
    assert all(0.8 <= row.diversity < 3 and row.burn is not None for row in scores.rows)


def test_prompt_accuracy_counts_only_tags_that_the_eye_knows_and_never_the_trigger(sweep, training):
    prompts = {row.step: row.prompt for row in scored(sweep, training, ColourEye()).rows}
    assert prompts == {100: 0.0, 200: 1.0}, "cat is asked for too, but unknown, as is zqx"


def test_each_prompt_has_figures_of_its_own_that_are_read_back_from_the_file(sweep, training):
    cells = [cell for cell in sweep.cells if cell.facts["step"] == 200 and cell.facts["prompt"] == "zqx, red"]
    sweep.save(cells[0], drawn("lime", 4))
    scores = scored(sweep, training, ColourEye())
    red, cat = scores.rows[2].prompts
    assert (red.prompt, red.cells, red.shown, red.missed) == ("zqx, red", 2, 0.5, ())
    assert red.likeness == pytest.approx(0.5, abs=0.01) and cat.likeness == pytest.approx(1, abs=1e-3)
    assert cat.shown is None, "the eye knows nothing that this prompt asks for"
    assert scores.rows[0].prompts[0].missed == ("red",)
    assert read_record(write_scores(sweep, scores)["json"], Matrix).rows == scores.rows


def test_a_copy_of_a_training_picture_counts_as_one(sweep, training):
    row = [cell for cell in sweep.cells if cell.facts["step"] == 200 and cell.facts["strength"] == 1.0]
    for index, cell in enumerate(row[:2]):
        sweep.save(cell, drawn("red", index))
    scores = scored(sweep, training, ColourEye())
    assert [one.copies for one in scores.rows] == [0, 0, 0, 0.5]
    assert "copies" in scores.rows[3].gates and scores.best.at == 0.5


def test_an_eye_for_copies_replaces_the_comparison_of_thumbnails(sweep, training):
    assert [row.copies for row in scored(sweep, training, ColourEye(), copies=ColourEye()).rows] == [0, 0, 1, 1]


def test_what_was_not_measured_is_said_and_never_guessed(sweep, training):
    blind = scored(sweep, training)
    assert all(row.likeness is None and row.prompt is None and row.score is None for row in blind.rows)
    assert blind.recommended is None and any("there is no eye" in note for note in blind.notes)
    assert blind.rows[0].copies == 0 and blind.rows[0].burn is not None
    alone = scored(sweep, None, ColourEye())
    assert alone.recommended is None
    assert any(note.startswith("Likeness, copies and copied backgrounds are not measured: link the dataset")
               for note in alone.notes)
    assert any("no validation loss" in note for note in alone.notes)
    assert not any("One prompt shows little" in note for note in alone.notes)


def test_without_pictures_without_the_lora_burn_and_diversity_are_not_measured(sweep, training):
    for cell in sweep.references:
        sweep.picture(cell).unlink()
    scores = scored(sweep, training, ColourEye())
    assert all(row.burn is None and row.diversity is None for row in scores.rows) and scores.recommended is not None
    assert any("4 of 20 cells are missing" in note for note in scores.notes)


def test_missing_cells_are_left_out_and_a_sweep_without_any_is_refused(sweep, training):
    for cell in sweep.cells[:4]:
        sweep.fail(cell, "no")
    assert len(scored(sweep, training, ColourEye()).rows) == 3
    for cell in sweep.cells:
        sweep.fail(cell, "no")
    with pytest.raises(UserError, match="has no finished cell"):
        scored(sweep, training, ColourEye())


def test_scores_are_written_for_scripts_people_and_the_viewer(sweep, training):
    scores = scored(sweep, training, ColourEye())
    paths = write_scores(sweep, scores)
    told = json.loads(paths["json"].read_text())
    assert told["version"] == 1 and told["rows"][told["recommended"]]["step"] == 200
    table = list(csv.DictReader(io.StringIO(paths["csv"].read_text())))
    assert len(table) == 4 and [row["recommended"] for row in table].count("1") == 1
    assert table[0]["validation"] == "" and float(table[3]["likeness"]) == pytest.approx(scores.rows[3].likeness)
    picture = open_image(paths["png"])
    assert picture.size == as_picture(scores, "sweep: scores").size and picture.width > 600
    assert as_csv(scores) == paths["csv"].read_text()
    text = report(scores)
    assert scores.why in text and "step 100: undertrained. Advance" in text and text.endswith("Measured by colour eye.")


# -- backgrounds, artefacts, and marks by eye --------------------------------------------------------------------------


def scenery(seed):
    noise = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=(96, 96), mode="bicubic").clamp(0, 1)[0]


def figure_before(ground, across=34):
    """A figure in white and black, standing before a background."""
    made = ground.clone()
    made[:, 24:94, across:across + 24] = 1.0
    made[:, 36:50, across + 4:across + 20] = 0.0
    return to_image(made)


def test_a_repeated_background_is_seen_behind_another_pose_but_a_plain_one_is_not_compared():
    grounds = [scenery(1), scenery(2), torch.full((3, 96, 96), 0.9)]
    known = [read_background(figure_before(ground, 24)) for ground in grounds]
    again = [copies_background(read_background(figure_before(ground, 40)), known) for ground in (*grounds, scenery(3))]
    assert again == [True, True, False, False]


def test_a_background_that_the_base_draws_too_is_not_copied_from_the_training_images():
    def batch(*seeds):
        return torch.stack([to_tensor(figure_before(scenery(seed))) for seed in seeds])

    backgrounds = TrainingBackgrounds(batch(1, 2))
    assert backgrounds.share_copied(batch(1, 2, 3, 4), None) == 0.5
    assert backgrounds.share_copied(batch(1, 2, 3, 4), batch(1, 5, 6, 7)) == 0.25
    assert TrainingBackgrounds(None).share_copied(batch(1), None) is None


def test_each_artefact_is_found_where_it_was_put_and_nowhere_else():
    size, made = 96, torch.Generator().manual_seed(0)
    slope = torch.linspace(0.3, 0.7, size).expand(1, 3, size, size).clone()
    slope[..., 30:60, 20:70] = 0.05
    wave = torch.sin(torch.arange(size) * math.pi / 2)[:, None] * 5 / 255
    broken = {
        "noise": slope + torch.randn(slope.shape, generator=made) * 6 / 255, "stripes": slope + wave,
        "banding": (slope * 12).round() / 12, "smoothing": F.avg_pool2d(slope, 5, 1, 2, count_include_pad=False)}
    for fault, image in broken.items():
        found = find_faults(image.clamp(0, 1), slope)
        assert [name for name, each in found.items() if each == [True]] == [fault]
    assert measure_artefacts(slope, None) == (None, ())
    assert measure_artefacts(broken["noise"].clamp(0, 1), slope) == (1.0, ("noise in 1 of 1",))


def test_what_a_person_rates_as_bad_is_not_taken_and_stands_in_the_table(sweep, training):
    best = scored(sweep, training, ColourEye()).best
    cells = [cell.key for cell in sweep.cells if (cell.facts["step"], cell.facts["strength"]) == (best.step, best.at)]
    marks = Marks().changed(None, (), {cells[0]: {"anatomy": -1, "skin": -1}, cells[1]: {"light": 1}})
    marks.save(sweep.folder / "marks.json")
    scores = scored(sweep, training, ColourEye())
    row = next(row for row in scores.rows if (row.step, row.at) == (best.step, best.at))
    assert row.by_eye == pytest.approx(1 / 3) and row.gates == ("burn", "by eye") and scores.best != row
    assert "0.33" in cells_of(row) and next(csv.DictReader(io.StringIO(as_csv(scores))))["by_eye"] == ""


def test_damaged_marks_cost_only_the_ratings_by_eye(sweep, training):
    (sweep.folder / "marks.json").write_text("[")
    scores = scored(sweep, training, ColourEye())
    assert scores.best is not None and all(row.by_eye is None for row in scores.rows)
    assert any(note.startswith("Ratings by eye are not counted: ") for note in scores.notes)


def test_marks_of_earlier_versions_are_read_and_damaged_ratings_are_refused(tmp_path):
    path = tmp_path / "marks.json"
    path.write_text('{"version": 1, "revision": 3, "best": "a", "hidden": ["b"]}')
    assert Marks.load(path) == Marks(3, "a", ("b",)) and Marks.load(path).changed("a", ()).ratings == {}
    for ratings in ({"a": {"nose": 1}}, {"a": {"skin": 2}}, {"a": {"skin": True}}, {"a": 1}):
        path.write_text(json.dumps({"version": 1, "revision": 3, "best": None, "hidden": [], "ratings": ratings}))
        with pytest.raises(UserError, match="does not contain marks"):
            Marks.load(path)
