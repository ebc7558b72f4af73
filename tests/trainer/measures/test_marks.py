"""Marks are found where only the original has them, and seen again in other images of the same character."""

import random
from dataclasses import replace

import pytest
import torch

from lora_bootstrap.sandbox import world
from lora_bootstrap.trainer.measures.marks import find_marks
from lora_bootstrap.trainer.pictures.images import to_tensor

MOMO = world.HELD_OUT["momo"]
PLAIN = replace(MOMO, signature=None)


def pixels_of(scenes):
    return torch.stack([to_tensor(world.draw(scene)) for scene in scenes])


def crops_of(character):
    return pixels_of([world.Scene(character, framing=framing) for framing in world.ATTRIBUTES["framing"]])


def scenes_of(character, count, seed):
    rng, scenes = random.Random(seed), []
    while len(scenes) < count:
        scene = world.sample_scene(rng, character)
        scenes += [scene] if world.visible(scene, "signature") or character.signature is None else []
    return scenes


@pytest.fixture(scope="module")
def reference():
    return pixels_of(scenes_of(PLAIN, 8, 1))


@pytest.fixture(scope="module")
def marks(reference):
    found, why = find_marks(crops_of(MOMO), reference)
    assert found is not None and why == ""
    return found


def test_images_with_the_mark_show_more_of_it_than_the_same_images_without(marks, reference):
    scenes = scenes_of(MOMO, 24, 2)
    shown = marks.shown(pixels_of(scenes))
    missing = marks.shown(pixels_of([replace(scene, character=PLAIN) for scene in scenes]))
    assert (shown > missing).float().mean() > 0.8
    assert shown.mean() > missing.mean() + 0.2 and 0 <= missing.min() and shown.max() <= 1


def test_what_is_found_in_the_whole_drawing_lies_where_the_mark_is(marks):
    assert marks.places
    for crop, top, left, side in marks.places:
        scene = world.Scene(MOMO, framing=world.ATTRIBUTES["framing"][crop])
        changed = (pixels_of([scene]) - pixels_of([replace(scene, character=PLAIN)])).abs().amax(1)[0] > 0.02
        rows, columns = (slice(int(start * 64), max(int(start * 64) + 1, round((start + side) * 64)))
                         for start in (top, left))
        assert changed[rows, columns].any()


def test_the_original_shows_all_of_its_marks(marks):
    assert marks.shown(crops_of(MOMO)).max() > 0.9


def test_a_character_without_a_mark_has_none_and_says_why(reference):
    found, why = find_marks(crops_of(PLAIN), reference)
    assert found is None and "the base's own images hold all" in why


def test_marks_need_images_of_the_base_to_compare_with(reference):
    for given, count in ((None, "0 images"), (reference[:3], "3 images")):
        found, why = find_marks(crops_of(MOMO), given)
        assert found is None and count in why and "at least 4" in why


def test_an_original_that_is_unlike_the_base_everywhere_has_no_marks(reference):
    noise = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found, why = find_marks(noise, reference[:4] * 0.1 + 0.4)
    assert found is None and "unlike the base's own images" in why


def test_the_ground_around_a_padded_crop_is_not_a_mark(reference):
    padded = crops_of(PLAIN).clone()
    padded[:, :, :, :12] = torch.tensor([0.9, 0.1, 0.9]).view(1, 3, 1, 1)
    found, why = find_marks(padded, reference)
    assert found is None, why
