"""Marks that the base draws otherwise, though their colours are its own: found by what it takes an image for."""

import random
from dataclasses import replace

import pytest
import torch

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.backends.diffusers import load_backbone
from lora_bootstrap.trainer.captions.tags import join_tags
from lora_bootstrap.trainer.measures.marks import MOST_STRANGE
from lora_bootstrap.trainer.measures.remembered import remember_figures
from lora_bootstrap.trainer.measures.surprise import GRID, MUCH, find_surprising, surprise
from lora_bootstrap.trainer.pictures.images import to_tensor

HINATA, AKANE = world.HELD_OUT["hinata"], world.HELD_OUT["akane"]
SIZE, NEAR = 64, 2 / GRID


def draw(scenes):
    return torch.stack([to_tensor(world.draw(scene, SIZE)) for scene in scenes])


def captions(scenes):
    return [join_tags(world.caption_tags(scene)) for scene in scenes]


@pytest.fixture(scope="module")
def base():
    return load_backbone("sandbox")


@pytest.fixture(scope="module")
def usual(base):
    """What surprises the base in drawings of somebody without a mark."""
    rng = random.Random(1)
    scenes = [world.sample_scene(rng, replace(HINATA, signature=None)) for _ in range(3)]
    return surprise(base, draw(scenes), captions(scenes))


@pytest.mark.parametrize("who", [HINATA, AKANE], ids=["odd eye", "tip of the tail"])
def test_a_mark_is_found_where_it_is_and_nowhere_else(base, usual, who):
    scene = world.Scene(who)
    places = find_surprising(surprise(base, draw([scene]), captions([scene])), usual)
    with_mark, without = draw([scene, world.Scene(replace(who, signature=None))])
    true = ((with_mark - without).abs().amax(0) > 0.1).nonzero() / SIZE
    assert len(places) > 4
    for _, top, left, side in places:
        apart = (true - torch.tensor([top + side / 2, left + side / 2])).abs().amax(1)
        assert apart.min() < NEAR, "a place far from the mark"


def test_without_a_mark_nothing_is_found(base, usual):
    scene = world.Scene(replace(HINATA, signature=None))
    assert find_surprising(surprise(base, draw([scene]), captions([scene])), usual) == ()


def test_marks_are_sought_in_the_crop_that_is_most_like_the_base_and_reach_as_far_as_they_stand_out():
    usual = torch.ones(4, GRID, GRID)
    crops = torch.zeros(2, GRID, GRID)
    crops[0] += 3.0
    crops[1, 4, 5:8] = MUCH * torch.tensor([1.1, 0.6, 0.4])
    crops[1, 20, 20] = MUCH * 0.9
    assert find_surprising(crops, usual) == ((1, 4 / GRID, 5 / GRID, 1 / GRID), (1, 4 / GRID, 6 / GRID, 1 / GRID))


def test_a_whole_image_unlike_the_base_has_no_marks():
    crop = torch.zeros(1, GRID, GRID)
    crop[0, : int(GRID * (MOST_STRANGE + 0.1))] = 9.0
    assert find_surprising(crop, torch.ones(4, GRID, GRID)) == ()


def test_an_image_is_measured_once_for_a_caption(base, tmp_path, monkeypatch):
    scene, asked = world.Scene(AKANE), []
    monkeypatch.setattr(base, "predict", lambda noisy, t, heard: asked.append(len(noisy)) or torch.zeros_like(noisy))

    def measure(caption):
        before = sum(asked)
        with remember_figures(tmp_path / "figures"):
            return surprise(base, draw([scene]), [caption]), sum(asked) - before

    (first, some), (again, none), (_, other) = measure("a"), measure("a"), measure("b")
    assert torch.equal(first, again) and (some, none, other) == (18, 0, 18)
