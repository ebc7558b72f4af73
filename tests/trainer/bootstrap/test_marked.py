"""Style LoRAs that learn the marks of the crops alone: where the masks are, and what is trained with them."""

import random
from dataclasses import replace

import pytest
import torch

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.bootstrap.config import BootstrapConfig
from lora_bootstrap.trainer.bootstrap.marked import framings_without, mark_crops, style_round
from lora_bootstrap.trainer.bootstrap.originals import read_saved
from lora_bootstrap.trainer.bootstrap.rounds import Project
from lora_bootstrap.trainer.bootstrap.training_sets import make_crops
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.measures.likeness import anchor_pixels
from lora_bootstrap.trainer.pictures.images import to_tensor

from ...helpers.drawings import draw_once

SIZE = 256
AKANE = world.HELD_OUT["akane"]
PLAIN = replace(AKANE, signature=None)
TAGS = tuple(world.caption_tags(world.Scene(AKANE)))


@pytest.fixture(scope="module")
def reference():
    """The base's own images for all tags."""
    rng = random.Random(1)
    return torch.stack([to_tensor(world.draw(world.sample_scene(rng, PLAIN))) for _ in range(8)])


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    config = BootstrapConfig(picture="akane.png", tags=TAGS, trigger="zqx")
    project = Project(tmp_path_factory.mktemp("zqx"), config, "sandbox")
    make_crops(project, draw_once(world.Scene(AKANE), SIZE), "akane")
    return project


@pytest.fixture(scope="module")
def marked(project, reference):
    found, why = mark_crops(project, anchor_pixels(project.crops(), (64, 64)), reference)
    assert why == ""
    return found


def true_marks():
    """[1, SIZE, SIZE], true where the drawing differs from that of the same character without the mark."""
    with_mark, without = (to_tensor(draw_once(world.Scene(who), SIZE)) for who in (AKANE, PLAIN))
    return (with_mark - without).abs().amax(0, keepdim=True) > 0.1


def test_every_crop_of_the_image_has_a_mask_where_the_mark_is_though_it_was_found_in_some(project, marked):
    saved, checked = read_saved(project.crops_folder), 0
    for sample in marked:
        left, top, right, bottom = saved[sample.path.name]["box"]
        true, mask = true_marks()[:, top:bottom, left:right], to_tensor(sample.load_mask().convert("RGB"))[:1] > 0.5
        assert (true & mask).sum() > 0.6 * true.sum()
        assert (mask & ~true).sum() < 2 * true.sum()
        checked += 1
    assert checked == 3  # the tail's tip is in each of these crops


def test_a_mark_that_no_patch_shows_is_masked_where_it_was_found_otherwise(project, reference, tmp_path):
    other = Project(tmp_path, project.config, "sandbox")
    make_crops(other, draw_once(world.Scene(AKANE), SIZE), "akane")
    nothing = torch.stack([reference[0]] * 4)
    found, why = mark_crops(other, nothing, reference, [(0, 0.55, 0.75, 0.05)])
    assert why == "" and [sample.path.stem for sample in found] == ["0-whole", "1-upper", "2-face", "3-region_1"]
    left, top, right, bottom = found.samples[0].load_mask().getbbox()
    assert 0.7 * SIZE < left < right < 0.85 * SIZE and 0.5 * SIZE < top < bottom < 0.65 * SIZE


def test_the_crops_themselves_stay_without_masks(project, marked):
    assert all(sample.mask is None for sample in project.crops()) and all(sample.mask for sample in marked)


def test_a_crop_that_cuts_the_mark_off_is_left_out_and_its_framing_is_known_not_to_show_it(project, marked):
    assert [sample.path.stem for sample in marked] == ["0-whole", "1-upper", "3-region_1"]
    assert framings_without(project.crops(), marked) == {"close-up"}


def test_a_crop_without_the_mark_is_left_out(project, reference, tmp_path):
    other = replace(project, folder=tmp_path)
    for name, scene in (("a", world.Scene(AKANE)), ("b", world.Scene(PLAIN))):
        draw_once(scene, SIZE).save(tmp_path / f"{name}.png")
    own = load_folder(tmp_path)
    make_crops(other, draw_once(world.Scene(AKANE), SIZE), "akane", own)
    found, _ = mark_crops(other, anchor_pixels(other.crops(), (64, 64)), reference)
    assert [sample.path.stem for sample in found] == ["0-own"]


def test_every_round_is_drawn_by_the_one_style_lora_that_learned_the_marks(project, marked):
    asked = replace(project, config=replace(project.config, style_on="marks"))
    assert [style_round(asked, number) for number in (1, 2)] == [1, 1]
    assert style_round(project, 2) == 2 and style_round(replace(asked, folder=project.folder / "other"), 2) == 2


def test_without_a_mark_nothing_is_masked_and_the_reason_is_given(project, reference, tmp_path):
    other = Project(tmp_path, replace(project.config, style_on="marks"), "sandbox")
    crops = make_crops(other, draw_once(world.Scene(AKANE), SIZE), "akane").dataset
    anchors = anchor_pixels(crops, (64, 64))
    assert mark_crops(other, anchors, reference)[0] and style_round(other, 2) == 1
    found, why = mark_crops(other, torch.stack([reference[0]] * 4), reference)
    assert found is None and "Marks were not measured" in why and style_round(other, 2) == 2
