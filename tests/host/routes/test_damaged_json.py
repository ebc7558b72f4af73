"""Each JSON file that the pack writes, damaged in hundreds of ways: every view answers, or says in one line what is
wrong with which file."""

import json
import random
from dataclasses import asdict, replace

import pytest

from lora_bootstrap.host import paths
from lora_bootstrap.host.routes.views import gallery_view, run_view, sweep_view
from lora_bootstrap.trainer.bootstrap.picks import Picks
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.common.revisions import StaleRevision
from lora_bootstrap.trainer.datasets.dataset import load_folder, save_samples
from lora_bootstrap.trainer.datasets.kohya_folder import save_dataset
from lora_bootstrap.trainer.datasets.prepare import prepare
from lora_bootstrap.trainer.datasets.prepared_folder import PrepareConfig
from lora_bootstrap.trainer.stacks.known_strengths import KnownLora, MeasuredPair, recall, remember
from lora_bootstrap.trainer.sweeps.log import SHEET, log_picture, page, read_log
from lora_bootstrap.trainer.tagging.absorb import AbsorbPlan, TagDecision, load_plan
from lora_bootstrap.trainer.tagging.hand_edits import HandEdit, HandEdits
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.runs import open_run, read_losses, read_run

from ...helpers import drawn_sweep
from ...helpers.written_project import draw, write_project

EACH = 24
"""Mutations of each file."""
VALUES = [None, True, 0, -1, 1e308, float("nan"), "", "x", [], {}, [[]], [None], {"a": None}, "\ud800", "9" * 5000,
          "../../x", 10**400]
WHOLE = [b"", b"{", b"\0" * 50, b"[" * 100_000, b"\xff\xfe[]", b"null", b"NaN", b'"x"', b"[]", b"{}", b"1"]


def mutate(dice, value):
    """The value with one place in it replaced, dropped or added to."""
    if not isinstance(value, (dict, list)) or not value or dice.random() < 0.12:
        return dice.choice(VALUES)
    changed = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    place, chance = dice.choice(list(changed)), dice.random()
    if chance < 0.12:
        del changed[place]
    elif chance < 0.2:
        changed["new" if isinstance(value, dict) else len(changed)] = dice.choice(VALUES)
    else:
        changed[place] = mutate(dice, changed[place])
    return changed if isinstance(value, dict) else list(changed.values())


def damage(dice, name, whole):
    chance = dice.random()
    if chance < 0.1:
        return dice.choice([*WHOLE, whole[:len(whole) // 2]])
    if name == "metrics.jsonl":
        lines = whole.splitlines()
        place = dice.randrange(len(lines))
        lines[place] = json.dumps(mutate(dice, json.loads(lines[place]))).encode()
        return b"\n".join(lines) + b"\n"
    return json.dumps(mutate(dice, json.loads(whole))).encode()


def write_sweep():
    loras = drawn_sweep.write_run(paths.loras_root(), "girl", (1, 2))
    sweep = drawn_sweep.draw_sweep(paths.sweeps_root(), loras, name="s", strengths=(0.5,), prompts=("a",), seeds=(1,))
    sweep.fail(sweep.cells[0], "why")
    drawn_sweep.write_scores(sweep, (0, 0))
    sweep_view.save_marks(sweep, 0, sweep.cells[1].key, [sweep.cells[0].key])
    draw(1).save(sweep.folder / "grid.png")
    log_picture(sweep, sweep.folder / "grid.png", SHEET, "a line")
    return sweep


def write_training():
    run = open_run(paths.loras_root(), TrainConfig(name="trained", preview_prompts=("a",)), "k" * 64, {"parent": "p"})
    for step in range(3):
        run.append_metrics({"step": step, "loss": 0.5, "seconds": 0.1, "learning_rate": 1e-4, "validation_loss": 0.4,
                            "validation_ratio": 0.9})
    run.close()
    return run


def write_strengths(path):
    loras = {name: KnownLora(name=name, sha256=name, bytes=8, strength=0.5) for name in ("character", "style")}
    remember(path, "base", MeasuredPair(base="b", **loras, scores={"harmonic": 0.5, "style": None}, eye="e", sweep="s",
                                        at="now"))


def last(events):
    *_, end = events
    return end


@pytest.fixture
def cases(host, tmp_path, monkeypatch):
    """Name → (a file, what reads it)."""
    project = write_project(paths.output_root(), "p", candidates=4, target=6)
    one = gallery_view.find_round("p", 1)
    gallery_view.save_picks(one, 0, "l", [(path.stem, {"state": "keep", "tags": ["a"], "crop": [0, 0, 40, 40]})
                                          for path in one.pictures()[:2]])
    sweep, run = write_sweep(), write_training()
    images = tmp_path / "images"
    save_samples(images, [(draw(number), "a", {"name": str(number), "parent": "p"}) for number in range(2)])
    saved, prepared, plan = tmp_path / "saved", tmp_path / "prepared", AbsorbPlan("character", (
        TagDecision("a", "keep", "other", 1, 2, "why"),))
    settings = PrepareConfig(family="sandbox", resolution=32, crop="none")
    for folder in (saved, prepared):
        folder.mkdir()
    last(save_dataset(load_folder(images), saved, "girl"))
    last(prepare(load_folder(images), settings, prepared))
    plan.save(tmp_path / "plan.json")
    edits = replace(HandEdits(), edits={"k": HandEdit("a", "b")}, revision=1)
    edits.save(tmp_path / "edits.json")
    write_strengths(tmp_path / "lora_strengths.json")
    lora = drawn_sweep.write_lora(tmp_path / "l.safetensors", 1, "girl")
    run.checkpoint_path(1).touch()
    write_json(run.folder / "picked.json", {"step": 1, "strength": 0.5})

    views = {
        "project": lambda: gallery_view.project_view("p"),
        "round": lambda: gallery_view.round_view(gallery_view.find_round("p", 1)),
        "kept": lambda: [str(kept.path) for kept in gallery_view.find_round("p", 1).list_kept()],
        "picks": lambda: gallery_view.save_picks(gallery_view.find_round("p", 1), Picks.load(one.picks_file).revision,
                                                 "l", [(one.pictures()[0].stem, {"note": "n"})]),
        "sweep": lambda: sweep_view.sweep_view("s"), "summary": lambda: sweep_view.summary("s"),
        "archive": sweep_view.archive, "marks": lambda: sweep_view.save_marks(sweep, 1, None, []),
        "run": lambda: run_view.run_status(paths.loras_root(), "trained"),
        "losses": lambda: read_losses(run.folder), "read": lambda: read_run(run.folder).config.to_dict(),
        "open": lambda: open_run(paths.loras_root(), TrainConfig(name="trained"), "k" * 64).name,
        "log": lambda: page(read_log(paths.sweeps_root() / "log")),
        "logged": lambda: log_picture(sweep, sweep.folder / "grid.png", SHEET) and None,
        "recall": lambda: recall(tmp_path / "lora_strengths.json", [("l", lora)]),
        "edits": lambda: HandEdits.load(tmp_path / "edits.json").fingerprint,
        "load": lambda: load_folder(images).fingerprint,
        "save": lambda: last(save_dataset(load_folder(images), saved, "girl")).written,
        "prepare": lambda: last(prepare(load_folder(images), settings, prepared)).reused,
        "plan": lambda: asdict(load_plan(tmp_path / "plan.json", plan)),
        "pick": lambda: picked(run.folder),
    }
    files = {
        "project.json": (project / "project.json", "project round kept"),
        "decisions.json": (one.decisions_file, "round kept"), "picks.json": (one.picks_file, "round kept picks"),
        "candidate": (one.pictures()[1].with_suffix(".json"), "round kept project"),
        "manifest.json": (sweep.folder / "manifest.json", "sweep summary archive"),
        "scores.json": (sweep.folder / "scores.json", "sweep summary archive"),
        "marks.json": (sweep.folder / "marks.json", "sweep marks"),
        "cell": (sweep.record(sweep.cells[1]), "sweep"), "failed cell": (sweep.record(sweep.cells[0]), "sweep"),
        "run.json": (run.folder / "run.json", "run read open"), "metrics.jsonl": (run.metrics_path, "run losses"),
        "picked.json": (run.folder / "picked.json", "pick"),
        "log.json": (paths.sweeps_root() / "log" / "girl" / "log.json", "log logged"),
        "lora_strengths.json": (tmp_path / "lora_strengths.json", "recall"),
        "edits.json": (tmp_path / "edits.json", "edits"), "crops.json": (images / "crops.json", "load"),
        "saved.json": (saved / "saved.json", "save"), "prepared.json": (prepared / "prepared.json", "prepare"),
        "plan.json": (tmp_path / "plan.json", "plan"),
    }
    return {name: (path, {view: views[view] for view in names.split()}) for name, (path, names) in files.items()}


def picked(folder):
    from lora_bootstrap.nodes.checkpoints import picked_in_sweep

    step, path, strength = picked_in_sweep(read_run(folder))
    return step, path.name, strength


def test_a_damaged_file_never_ends_in_a_raw_error(cases):
    dice, tried, failed = random.Random(4), 0, []
    for name, (path, views) in cases.items():
        whole = path.read_bytes()
        for view in views.values():
            json.dumps(view())
        for _ in range(EACH):
            damaged = damage(dice, name, whole)
            for view, read in views.items():
                path.write_bytes(damaged)
                tried += 1
                try:
                    json.dumps(read())
                except UserError as error:
                    assert "\n" not in str(error)
                except StaleRevision:
                    pass
                except Exception as error:  # all of them are wanted at once
                    failed.append((name, view, type(error).__name__, str(error)[:60], damaged[:200]))
        path.write_bytes(whole)
    assert not failed, "\n".join(map(str, failed[:20])) + f"\n{len(failed)} of {tried}"
    assert tried >= 400


@pytest.mark.parametrize("broken", ["[]", "{", "{}", '{"seed": "x"}'])
def test_a_broken_candidate_is_left_out_and_named_and_the_others_stay(cases, broken):
    path, views = cases["candidate"]
    before = views["round"]()
    path.write_text(broken)
    after = views["round"]()
    assert {row["name"] for row in before["candidates"]} - {row["name"] for row in after["candidates"]} == {path.stem}
    assert len(after["notes"]) == len(before["notes"]) + 1 and path.name in after["notes"][-1]


@pytest.mark.parametrize("broken", ["[]", "{", '{"error": 5}'])
def test_a_broken_record_of_a_cell_is_that_cells_problem_only(cases, broken):
    path, views = cases["failed cell"]
    before = views["sweep"]()
    path.write_text(broken)
    after = views["sweep"]()
    changed = [(old, new) for old, new in zip(before["cells"], after["cells"], strict=True) if old != new]
    assert [(old["error"], path.name in new["error"]) for old, new in changed] == [("why", True)]


def test_broken_scores_are_no_scores_and_the_cells_stay(cases):
    path, views = cases["scores.json"]
    before = views["sweep"]()
    path.write_text('{"rows": [[]]}')
    assert views["sweep"]() == {**before, "scores": None} and views["summary"]()["recommended"] == ""


def test_images_that_a_record_names_outside_its_folder_are_not_trained(cases, tmp_path):
    path, views = cases["prepared.json"]
    values = json.loads(path.read_text())
    draw(9).save(tmp_path / "secret.png")
    values["samples"][0]["path"] = "../secret.png"
    path.write_text(json.dumps(values))
    assert views["prepare"]() is False
