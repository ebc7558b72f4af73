"""The marks in the loop: style LoRAs that learn them alone, and kept images into which they are drawn."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from lora_bootstrap.trainer.bootstrap import loop as bootstrap
from lora_bootstrap.trainer.bootstrap.candidates import PictureMaker
from lora_bootstrap.trainer.bootstrap.events import StageFinished, StageStarted
from lora_bootstrap.trainer.bootstrap.loop import run_bootstrap
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.common.events import Warned
from lora_bootstrap.trainer.common.files import file_hash, write_json
from lora_bootstrap.trainer.measures.surprise import GRID
from lora_bootstrap.trainer.pictures.images import to_tensor

from ...helpers.loop_parts import DrawingBase, PlainBase, run


def test_style_loras_learn_the_marks_of_the_crops_alone_if_asked_and_the_character_lora_whole_images(
        config, tmp_path, training):
    few = replace(config, style_on="marks", targets=(3, 5, 7), candidates=(4, 4))
    run(few, tmp_path, PlainBase())
    *styles, (whole, images, _) = training.calls
    for settings, dataset, _ in styles:
        assert {sample.parent for sample in dataset} == {"akane"} and all(sample.mask for sample in dataset)
        assert (settings.data.masked_loss, settings.data.unmasked_weight, settings.data.masked_prior) == (True, 0, 1)
    assert [settings.name for settings, *_ in training.calls] == ["zqx-style-1", "zqx-style-1", "zqx"]
    assert not whole.data.masked_loss and len(images) == 7


def test_style_loras_learn_whole_images_where_the_base_draws_all_that_the_image_shows(config, tmp_path, training):
    few = replace(config, style_on="marks", targets=(3, 5, 7), candidates=(4, 4))
    events = run(few, tmp_path)  # this base draws the mark
    assert [(settings.name, len(images)) for settings, images, _ in training.calls] == [
        ("zqx-style-1", 3), ("zqx-style-2", 5), ("zqx", 7)]
    assert not any(settings.data.masked_loss for settings, *_ in training.calls)
    assert any("The style LoRAs are trained on whole images." in event.message for event in events
               if isinstance(event, Warned))


class MarkEye:
    """Likeness by how much of the image is of the mark's colour."""

    name = "mark"

    def embed(self, pixels):
        shown = ((pixels[:, 0] < 0.3) & (pixels[:, 1] > 0.6) & (pixels[:, 2] > 0.6)).float().flatten(1).mean(1)
        return normalize(torch.stack([shown * 50, torch.ones_like(shown)], 1), dim=1)

    def read_tags(self, pixels, tags):
        return None


@pytest.fixture(autouse=True)
def nothing_surprises(monkeypatch):
    """The bases here predict nothing."""
    monkeypatch.setattr(bootstrap, "surprise", lambda base, pixels, captions: torch.ones(len(pixels), GRID, GRID))


@pytest.fixture
def redrawing(config, training, monkeypatch):
    """(settings that draw marks into kept images; the lineages that were drawn again): in full views the whole image
    gets the mark's colour, in others it gets worse."""
    drawn = []

    def redraw(pictures, batch, lora, curve, beside, local):
        drawn.extend(batch)
        pixels = torch.stack([pictures.backbone._draw(one.prompt, one.seed, one.width) for one in batch])
        marked = torch.tensor([0.0, 0.8, 0.9])[:, None, None].expand_as(pixels[0])
        pixels = torch.stack([marked if "full body" in one.tags else image for one, image in zip(
            batch, pixels, strict=True)])
        places = torch.zeros(len(batch), 1, *pixels.shape[-2:])
        places[:, :, -8:] = 1.0
        return pixels, places

    monkeypatch.setattr(PictureMaker, "redraw", redraw)
    return replace(config, redraw_marks=True, targets=(3, 8, 12), candidates=(12, 16)), drawn


def test_the_marks_are_drawn_into_the_kept_images_that_become_more_like_the_original(redrawing, tmp_path, training):
    asked, drawn = redrawing
    events = list(run_bootstrap(asked, tmp_path / "out", backbone=PlainBase(), choose_eye=lambda *_: MarkEye()))
    (marks, crops, lineage), (style, *_) = training.calls[2], training.calls[0]
    assert [settings.name for settings, *_ in training.calls] == ["zqx-style-1", "zqx-style-2", "zqx-marks", "zqx"]
    assert all(sample.mask for sample in crops) and marks.data.masked_loss and marks.steps == 2 * style.steps
    assert lineage == {"project": "zqx"}
    started = [event for event in events if isinstance(event, StageStarted)]
    assert [event.number for event in started] == list(range(1, 15)) and started[9].name == "marks"

    project = Project.load(tmp_path / "out" / "bootstrap" / "zqx")
    kept = {item.lineage.name: item for item in project.round(2).list_kept()}
    assert drawn and not any("close-up" in one.tags for one in drawn), "no crop of that framing shows the mark whole"
    assert {one.name for one in drawn} == {name for name, item in kept.items() if "close-up" not in item.lineage.tags}
    taken = {one.name for one in drawn if "full body" in one.tags}
    assert 0 < len(taken) < len(drawn)
    (finished,) = [event for event in events if isinstance(event, StageFinished) and event.name == "marks"]
    assert finished.summary.startswith(f"into {len(taken)} of 9 images")
    for image in (project.folder / "round_2" / "dataset").rglob("r*.png"):
        trained, before = (to_tensor(Image.open(path).convert("RGB")) for path in (image, kept[image.stem].path))
        assert torch.equal(trained[:, :-8], before[:, :-8]), "only the places change in which it counted"
        assert (image.stem in taken) == bool((trained[:, -8:] - before[:, -8:]).abs().max() > 0.1)


def test_marks_that_are_drawn_are_not_drawn_again_and_what_is_no_longer_kept_goes(redrawing, tmp_path, training):
    asked, drawn = redrawing

    def made():
        list(run_bootstrap(asked, tmp_path / "out", backbone=PlainBase(), choose_eye=lambda *_: MarkEye()))
        return {path.stem for path in (tmp_path / "out" / "bootstrap" / "zqx" / "marked").glob("*.png")}

    first = made()
    assert first == {one.name for one in drawn}
    drawn.clear()
    assert made() == first and drawn == []
    round_ = Project.load(tmp_path / "out" / "bootstrap" / "zqx").round(2)
    (out,) = [path for path in round_.list_candidates() if path.stem == max(first)]
    write_json(round_.picks_file, {"revision": 1, "history": [], "picks": {
        out.stem: {"state": "reject", "picture": file_hash(out)}}})
    assert out.stem not in made()


@pytest.mark.parametrize("base, eye, why", [
    (DrawingBase, MarkEye, "Marks were not measured"),
    (lambda: PlainBase(), lambda: None, "What is drawn has to be checked by an eye, and this base has none.")])
def test_without_a_mark_or_an_eye_the_kept_images_stay_and_it_is_said_why(
        redrawing, tmp_path, training, base, eye, why):
    asked, drawn = redrawing
    events = list(run_bootstrap(asked, tmp_path / "out", backbone=base(), choose_eye=lambda *_: eye()))
    assert drawn == [] and "zqx-marks" not in [settings.name for settings, *_ in training.calls]
    told = [event.message for event in events if isinstance(event, Warned)]
    assert sum(why in message and message.endswith("The marks are not drawn into the kept images.")
               for message in told) == 1


def test_a_mark_that_surprises_the_base_is_learned_though_no_patch_of_it_is_unusual(
        redrawing, tmp_path, training, monkeypatch):
    asked, _ = redrawing

    def surprise(base, pixels, captions):
        found = torch.ones(len(pixels), GRID, GRID)
        if len(captions) == asked.targets[0]:  # the crops
            found[0], found[0, 18:21, 24:27] = 0.5, 9.0
        return found

    monkeypatch.setattr(bootstrap, "surprise", surprise)
    list(run_bootstrap(asked, tmp_path / "out", backbone=DrawingBase(), choose_eye=lambda *_: MarkEye()))
    (crops,) = [dataset for settings, dataset, _ in training.calls if settings.name == "zqx-marks"]
    left, top, right, bottom = crops.samples[0].load_mask().getbbox()
    width, height = crops.samples[0].size
    assert 0.7 * width < left < right < 0.9 * width and 0.5 * height < top < bottom < 0.7 * height
