"""A release: what is in it, that its figures are measured ones, and that it tells nothing of the dataset."""

import json
import re
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.files import write_json
from lora_bootstrap.trainer.lora.file import Factors, LoraWeights, load_lora, save_lora
from lora_bootstrap.trainer.lora.hashes import tensor_hash
from lora_bootstrap.trainer.measures.prompts import PromptFigures
from lora_bootstrap.trainer.release.file_hashes import site_hashes
from lora_bootstrap.trainer.release.release import release_lora
from lora_bootstrap.trainer.release.settings import ReleaseSettings
from lora_bootstrap.trainer.statements.feedback_form import read_forms
from lora_bootstrap.trainer.sweeps.marks import Marks
from lora_bootstrap.trainer.training.adapters import select_modules
from lora_bootstrap.trainer.training.feed import derived_seed

from ...helpers.trained_run import CAPTIONS, PRIVATE, PROMPTS, draw_scored, write_trained

PREVIEW_SEED = derived_seed(0, "preview", 0) % 2**32


@pytest.fixture
def run(tmp_path):
    return write_trained(tmp_path / "output")


def release(tmp_path, path, sweep=None, **settings):
    return release_lora(Path(path), tmp_path / "releases", ReleaseSettings(**settings),
                        sweep=sweep.folder if sweep else None)


def metadata_of(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def card_of(released):
    return (released.folder / "README.md").read_text("utf-8")


def test_the_checkpoint_that_the_scores_recommend_is_released_with_the_strength_that_they_measured(run, tmp_path):
    sweep = draw_scored(tmp_path / "output", run, best=0)
    done = release(tmp_path, run.folder, sweep, title="Akane", licence="cc-by-4.0")
    assert torch.equal(*(next(iter(load_file(path).values())) for path in (done.lora, run.checkpoint_path(50))))
    told = metadata_of(done.lora)
    assert told["modelspec.usage_hint"] == "Write akane in the prompt. Use it at strength 0.8."
    assert told["modelspec.title"] == "Akane" and told["modelspec.license"] == "cc-by-4.0"
    assert told["modelspec.thumbnail"].startswith("data:image/") and told["ss_steps"] == "50"
    assert "- 0.8, by Score Sweep." in card_of(done), "the sweep is named after the run, and that after the dataset"
    assert "step 50, strength 0.8 is released, as its sweep recommends." in done.lines
    last = release(tmp_path, run.folder, sweep, step=100, name="last")
    assert metadata_of(last.lora)["ss_steps"] == "100"
    assert "The sweep's scores recommend another checkpoint than the one that is released." in last.lines
    with pytest.raises(UserError, match="no checkpoint at step 7; it has 50, 100"):
        release(tmp_path, run.folder, step=7)


def test_the_released_weights_do_in_diffusers_what_those_of_the_run_do(tiny_backbone, tmp_path):
    generator, factors = torch.Generator().manual_seed(3), {}
    for name in select_modules(tiny_backbone.network, "attention", tiny_backbone.family.blocks, 0):
        out, inside = tiny_backbone.network.get_submodule(name).weight.shape[:2]
        factors[f"unet.{name}"] = Factors(torch.randn(4, inside, generator=generator),
                                          torch.randn(out, 4, generator=generator), 2.0)
    run = write_trained(tmp_path / "output", factors=factors)
    done = release(tmp_path, run.folder)

    def draw():
        return tiny_backbone.generate(["akane"], seeds=[5], width=32, height=32, steps=2, cfg=1.0)

    plain = draw()
    with tiny_backbone.lora(run.final_path):
        expected = draw()
    tiny_backbone.pipeline.load_lora_weights(str(done.folder), weight_name=done.lora.name)
    try:
        torch.testing.assert_close(draw(), expected, atol=1e-4, rtol=0)
    finally:
        tiny_backbone.pipeline.unload_lora_weights()
    assert (expected - plain).abs().max() > 1e-3
    mine, theirs = load_file(done.lora), load_file(run.final_path)
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert load_lora(done.lora).modules.keys() == load_lora(run.final_path).modules.keys()
    assert tensor_hash(done.lora) == tensor_hash(run.final_path), "so its sweeps stay valid"


@pytest.mark.parametrize("strip", [False, True])
def test_nothing_in_a_release_tells_a_caption_a_files_name_or_a_folder_of_the_dataset(run, tmp_path, strip):
    sweep = draw_scored(tmp_path / "output", run, prompts=(CAPTIONS[0], *PROMPTS))
    best = next(cell.key for cell in sweep.cells
                if cell.facts["prompt"] == CAPTIONS[0] and cell.facts["strength"] == 0.8)
    write_json(sweep.folder / "marks.json", Marks().changed(best, [], {}).to_dict())
    done = release(tmp_path, run.folder, sweep, strip=strip, workflow=True)
    assert any(line.startswith("1 preview drawn from captions of the training") for line in done.lines)
    kept = metadata_of(run.final_path)
    assert all(any(word in text for text in kept.values()) for word in ("secret garden", "/home/jane", "Aunt Mary"))
    for name in done.files:
        data = (done.folder / name).read_bytes()
        assert [word for word in (*PRIVATE, str(tmp_path)) if word.encode() in data] == [], name
    told = metadata_of(done.lora)
    assert ("ss_learning_rate" in told) is not strip and told["lora_bootstrap.family"] == "sandbox"
    assert told["ss_network_alpha"], "what decides the strength of the weights is never left out"
    if not strip:
        assert json.loads(told["ss_tag_frequency"]) == {"akane": {"1girl": 3, "smile": 1}}
        lineage = json.loads(told["lora_bootstrap.lineage"])
        assert lineage["beside"] == [{"name": "inks", "tensors": "e" * 64, "strength": 0.5}]
        assert lineage["model_loras"] == ["paper.safetensors at 0.8"]
    told = release(tmp_path, run.folder, sweep, captions=True)
    assert "secret garden" in metadata_of(told.lora)["lora_bootstrap.captions"] and "secret garden" in card_of(told)


def test_an_average_of_checkpoints_is_released_as_a_file_of_its_run(run, tmp_path):
    average = run.average_path(50, 100)
    average.write_bytes(run.checkpoint_path(50).read_bytes())
    run.checkpoint_path(50).unlink()
    done = release(tmp_path, average)
    assert done.lora.name == "akane.safetensors" and "- 3 images, 6 with repeats." in card_of(done)
    wanted = release(tmp_path, run.folder, draw_scored(tmp_path / "output", run, best=0))
    assert tensor_hash(wanted.lora) == tensor_hash(average) != tensor_hash(run.final_path)


def test_a_strangers_file_loses_the_folders_that_kohyas_trainer_writes_into_it(run, tmp_path):
    path = tmp_path / "stranger.safetensors"
    folders = {"ss_dataset_dirs": '{"10_jane": {"img_count": 9}}', "ss_steps": "9",
               "ss_sd_model_name": r"C:\Users\jane\base.safetensors", "ss_datasets": '[{"image_dir": "/home/jane"}]',
               "ss_training_comment": "for jane",
               "ss_tag_frequency": '{"10_jane": {"hat": 4}, "2_b": {"hat": 1}}', "ss_base_model_version": "sd_v1"}
    save_lora(path, LoraWeights(load_lora(run.final_path).modules, folders))
    done = release(tmp_path, path, trigger="hat")
    told = metadata_of(done.lora)
    assert b"jane" not in done.lora.read_bytes() and told["ss_sd_model_name"] == "base.safetensors"
    assert json.loads(told["ss_tag_frequency"]) == {"stranger": {"hat": 5}}
    assert "A LoRA for Stable Diffusion 1.5." in card_of(done) and "The dataset is not recorded." in card_of(done)
    assert "It was not tested: no sweep of it is part of this release." in card_of(done)
    assert json.loads((done.folder / "stranger.json").read_text())["preferred weight"] == 0, "not measured"


def test_the_same_release_twice_is_the_same_bytes(run, tmp_path):
    sweep = draw_scored(tmp_path / "output", run)
    both = []
    for _ in range(2):
        done = release(tmp_path, run.folder, sweep, changes="First.")
        both.append([done.zip.read_bytes(), *((done.folder / name).read_bytes() for name in done.files)])
    assert both[0] == both[1]


def test_the_zip_holds_the_folder_under_names_that_every_machine_can_unpack(run, tmp_path):
    done = release(tmp_path, run.folder, draw_scored(tmp_path / "output", run), version="1.0 beta")
    assert done.zip.name == "akane-v1.0 beta.zip"
    with zipfile.ZipFile(done.zip) as archive:
        assert sorted(archive.namelist()) == sorted(f"akane/{name}" for name in done.files)
        assert all(re.fullmatch(r"[\w./-]+", name) and ".." not in name for name in archive.namelist())
        assert archive.testzip() is None
        assert archive.read("akane/README.md") == (done.folder / "README.md").read_bytes()
    listed = json.loads((done.folder / "hashes.json").read_text())
    assert listed.keys() == set(done.files) - {"hashes.json"}
    for name in ("../up", "a/b", "CON", ""):
        with pytest.raises(UserError, match="version"):
            ReleaseSettings(version=name)


def test_previews_show_different_views_first_and_none_that_was_hidden_or_rated_as_bad(run, tmp_path):
    sweep = draw_scored(tmp_path / "output", run, best=1)
    cells = {cell.facts["prompt"]: cell for cell in sweep.cells
             if cell.facts["strength"] == 0.8 and cell.facts["step"] == 100}
    marks = Marks().changed(cells[PROMPTS[1]].key, [cells[PROMPTS[3]].key],
                            {cells[PROMPTS[2]].key: {"anatomy": -1}})
    write_json(sweep.folder / "marks.json", marks.to_dict())
    done = release(tmp_path, run.folder, sweep)
    shown = [Image.open(path).info["parameters"] for path in sorted((done.folder / "previews").iterdir())]
    assert [text.partition(" <lora:akane:0.8>")[0] for text in shown] == [PROMPTS[1], PROMPTS[4], PROMPTS[0]]
    assert f"- Rated as bad by eye (anatomy): `{PROMPTS[2]}`." in card_of(done)
    first = shown[0].splitlines()[-1]
    assert "Steps: 12, Sampler: euler, Schedule type: normal, CFG scale: 4.0, Seed: 1, Size: 64x64" in first
    assert f'Lora hashes: "akane: {site_hashes(done.lora)["AutoV3"].lower()}"' in first
    assert Image.open(done.folder / "akane.png").info == Image.open(done.folder / "previews" / "1.png").info
    varied = release(tmp_path, run.folder, sweep, previews=2, workflow=True)
    assert len(list((varied.folder / "previews").iterdir())) == 2
    assert "prompt" in Image.open(varied.folder / "previews" / "1.png").info, "the workflow, because it was asked for"


def test_limits_are_the_gates_that_failed_and_what_was_not_measured(run, tmp_path):
    sweep = draw_scored(tmp_path / "output", run, best=1, gates=("copies", "by eye"), faults=("banding",), copies=0.25,
                        by_eye=0.4)
    text = card_of(release(tmp_path, run.folder, sweep))
    limits = text.partition("## Limits\n\n")[2].partition("\n\n##")[0].splitlines()
    assert limits == [
        "- 25% of its test images copy a training image.", "- Only 40% of what was rated by eye is good.",
        "- Artefacts seen in its test images: banding.",
        "- View: no training image is captioned as above or below or three-quarter.",
        "- Not measured: diversity, burn, validation, copied backgrounds, artefacts.",
        "- It was tested with one seed only."]
    assert "| likeness | 0.60 |" in text and "| diversity | not measured |" in text
    assert "| validation loss, as a share of the base's | 0.750 |" in text
    assert "- 3 images, 6 with repeats." in text and "- 1 regularisation image beside them." in text


def test_weak_views_are_limits_by_name_and_with_their_figures(run, tmp_path):
    found = (PromptFigures(PROMPTS[0], 2, 0.62, 0.9), PromptFigures(PROMPTS[2], 2, 0.30, 0.8),
             PromptFigures(PROMPTS[3], 2, 0.58, 0.25, ("from side", "upper body")),
             PromptFigures(CAPTIONS[0], 1, 0.1, 0.1, ("smile",)))
    sweep = draw_scored(tmp_path / "output", run, best=1, found=found)
    text = card_of(release(tmp_path, run.folder, sweep))
    weak = [line for line in text.splitlines() if line.startswith("- Weak")]
    assert weak == [
        "- Weak: what it draws from a caption of its training (likeness 0.10, of all its test images 0.60, 10% of its "
        "tags shown, 1 image).",
        f"- Weak view, side: `{PROMPTS[3]}` (likeness 0.58, of all its test images 0.60, 25% of its tags shown, never "
        "from side nor upper body, 2 images).",
        f"- Weak view, behind: `{PROMPTS[2]}` (likeness 0.30, of all its test images 0.60, 80% of its tags shown, 2 "
        "images)."]


def test_without_a_sweep_the_previews_are_those_of_the_run_and_say_so(run, tmp_path):
    none = release(tmp_path, run.folder)
    assert "It has no previews: give a sweep that was drawn with this LoRA." in none.lines
    assert "## Previews\n\nNo previews." in card_of(none)
    for step in (50, 100, 150):
        run.samples_folder.mkdir(exist_ok=True)
        Image.new("RGB", (64, 48), (step, 0, 0)).save(run.samples_folder / f"step{step:06d}-00.png")
    (run.samples_folder / "step000100-01.png").write_bytes(b"damaged")
    for path, step, file in ((run.folder, None, 100), (run.folder, 50, 50), (run.final_path, None, 100)):
        done = release(tmp_path, path, step=step, captions=True)
        preview, = (done.folder / "previews").iterdir()
        assert Image.open(preview).getpixel((0, 0)) == (file, 0, 0), "not those of a later step"
        assert f"`akane, Aunt Mary's house`, strength 1, seed {PREVIEW_SEED}, drawn at step {file} of the training" in (
            card_of(done))
        assert "It was not tested: no sweep of it is part of this release." in card_of(done)
    assert any("at strength 1. A sweep shows more" in line for line in done.lines)
    assert any("A preview is left out" in line for line in done.lines)
    assert f"Seed: {PREVIEW_SEED}, Size: 64x48" in Image.open(preview).info["parameters"]
    (run.samples_folder / "step000100-00.png").unlink()
    (run.samples_folder / "step000100-01.png").unlink()
    earlier = release(tmp_path, run.folder)
    assert "at step 50 of its training, not at step 100, which is released, at strength 1" in earlier.text()
    assert (done.folder / "akane.png").is_file() and not [*release(tmp_path, run.folder, previews=0).folder.glob("p*")]


def test_a_release_has_a_feedback_form_that_names_it(run, tmp_path):
    form = (release(tmp_path, run.folder, title="Akane", version="1.1").folder / "feedback.txt").read_text("utf-8")
    answer, = read_forms(form.replace("what worked:", "what worked: all"))
    assert (answer.title, answer.worked) == ("akane 1.1", "all") and "view from behind: " in form
    assert answer.weights == site_hashes(run.final_path)["AutoV3"]
    style = write_trained(tmp_path / "output", "ink", kind="style")
    assert "[views]" not in (release(tmp_path, style.folder).folder / "feedback.txt").read_text("utf-8")


def test_scores_of_other_weights_or_other_images_are_not_used(run, tmp_path):
    sweep = draw_scored(tmp_path / "output", run)
    other = write_trained(tmp_path / "output", "other", steps=(30,))
    done = release(tmp_path, other.folder, sweep)
    assert "Sweep 'akane-test' was not drawn with this LoRA, so nothing of it is used." in done.lines
    assert "Strength: Not measured." in done.lines and not (done.folder / "previews").exists()
    scores = json.loads((sweep.folder / "scores.json").read_text())
    write_json(sweep.folder / "scores.json", {**scores, "recommended": None})
    none = release(tmp_path, run.folder, sweep)
    assert not any("another checkpoint" in line for line in none.lines), "the scores recommend nothing"
    write_json(sweep.folder / "scores.json", {**scores, "cells": ["0" * 16]})
    done = release(tmp_path, run.folder, sweep)
    assert "The scores of sweep 'akane-test' are of other images: score it again." in done.lines
    assert "Strength: Not measured." in done.lines and (done.folder / "previews").exists()


def test_a_real_person_without_stated_consent_is_a_warning_in_report_and_card_and_no_refusal(tmp_path):
    run = write_trained(tmp_path / "output", "jo", kind="real person")
    done = release(tmp_path, run.folder)
    warning = "This LoRA shows a real person, and consent is not stated. Do not publish or use it without theirs."
    assert done.lines[0] == f"⚠ {warning}" and f"> ⚠️ {warning}" in card_of(done)
    rights = json.loads((done.folder / "rights.json").read_text())
    assert rights["person"] == rights["consent_by"] == rights["consent_uses"] == "not stated"
    assert json.loads((done.folder / "jo.civitai.info").read_text())["model"]["poi"] is True


def test_the_card_tells_what_changed_since_the_version_before(run, tmp_path):
    release(tmp_path, run.folder, step=50, version="1.0", strength=0.9)
    done = release(tmp_path, run.folder, version="1.1", changes="Less red.\n", licence="mit")
    versions = card_of(done).partition("## Versions\n\n")[2].partition("\n\n##")[0].splitlines()
    assert versions == ["- **1.1**", "  - Less red.", "  - The weights are new.", "  - strength: 0.9 → not stated",
                        "  - steps: 50 → 100", "  - licence: not stated → mit", "- **1.0**", "  - First release."]
    again = release(tmp_path, run.folder, step=50, version="1.1")
    assert any("Version 1.1 was released with other weights before." in line for line in again.lines)
    (again.folder / "history.json").write_text("{")
    assert any("The history begins anew." in line for line in release(tmp_path, run.folder).lines)
    assert (again.folder.parent / "akane-v1.0.zip").is_file(), "the zips of earlier versions stay"
