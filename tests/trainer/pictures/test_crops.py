"""Crops: the whole, the upper body, the face, and the parts where most is to be seen."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.pictures.crops import MAX_OVERLAP, box_overlap, suggest_crops
from lora_bootstrap.trainer.pictures.saliency import WORK_SIDE, find_subject

GROUNDS = ("white", "scene", "noise")
SKIN, HAIR, DRESS = (255, 224, 200), (90, 60, 160), (210, 60, 70)


def _ground(kind, size):
    if kind == "noise":
        values = np.random.default_rng(0).normal(150, 6, (size, size, 3)).clip(0, 255).astype(np.uint8)
        return Image.fromarray(values, "RGB")
    image = Image.new("RGB", (size, size), "white" if kind == "white" else (150, 200, 250))
    if kind == "scene":
        ImageDraw.Draw(image).rectangle((0, 0.8 * size, size, size), fill=(90, 180, 80))
    return image


def _figure(size=256, ground="white", shift=0.0):
    """A chibi figure; returns it with the box of its head and that of all of it, in pixels."""
    image = _ground(ground, size)
    draw = ImageDraw.Draw(image)

    def box(left, top, right, bottom):
        return tuple(round(v * size) for v in (left + shift, top, right + shift, bottom))

    draw.polygon([box(.5, .45, 0, 0)[:2], box(.3, .85, 0, 0)[:2], box(.7, .85, 0, 0)[:2]], fill=DRESS)
    draw.rectangle(box(.42, .85, .47, .93), fill=SKIN)
    draw.rectangle(box(.53, .85, .58, .93), fill=SKIN)
    draw.ellipse(box(.3, .1, .7, .5), fill=HAIR)
    draw.ellipse(box(.35, .2, .65, .5), fill=SKIN)
    for x in (.41, .53):
        draw.ellipse(box(x, .3, x + .07, .4), fill=(40, 30, 90))
    draw.line(box(.47, .45, .53, .45), fill=(160, 40, 40), width=max(1, size // 80))
    return image, box(.3, .1, .7, .5), box(.3, .1, .7, .93)


def _inside(inner, outer):
    """The share of `inner` that `outer` holds."""
    width, height = min(inner[2], outer[2]) - max(inner[0], outer[0]), min(inner[3], outer[3]) - max(inner[1], outer[1])
    return max(0, width) * max(0, height) / ((inner[2] - inner[0]) * (inner[3] - inner[1]))


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.2])
def test_the_subject_is_told_from_its_ground(ground, shift):
    image, _, figure = _figure(ground=ground, shift=shift)
    found = tuple(side * 256 / WORK_SIDE for side in find_subject(image).box)
    assert box_overlap(found, figure) > 0.7


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("size", [64, 256, 1024])
@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.2])
def test_the_face_crop_holds_the_head_and_little_else(ground, size, shift):
    image, head, _ = _figure(size, ground, shift)
    crops = {crop.name: crop.box for crop in suggest_crops(image)}
    assert _inside(head, crops["face"]) > 0.6
    assert box_overlap(head, crops["face"]) > 0.5


def test_the_upper_crop_holds_the_head_but_not_the_feet():
    image, head, figure = _figure()
    upper = {crop.name: crop.box for crop in suggest_crops(image)}["upper"]
    assert _inside(head, upper) > 0.95
    assert upper[3] < 0.75 * figure[3]


def test_the_first_crop_is_the_whole_and_the_names_tell_the_rest():
    image, *_ = _figure()
    crops = suggest_crops(image, 6)
    assert [crop.name for crop in crops] == ["whole", "upper", "face", "region_1", "region_2", "region_3"]
    assert crops[0].box == (0, 0, 256, 256)


@pytest.mark.parametrize("count", [1, 2, 4, 16])
@pytest.mark.parametrize("size", [(64, 64), (1024, 1024), (300, 900), (900, 120)])
def test_crops_are_distinct_inside_the_picture_and_not_tiny(count, size):
    image = _figure(512)[0].resize(size)
    crops = suggest_crops(image, count)
    assert len(crops) == count
    for crop in crops:
        left, top, right, bottom = crop.box
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        assert min(right - left, bottom - top) >= max(16, int(0.2 * min(size)))
    for one, other in itertools.combinations(crops, 2):
        assert box_overlap(one.box, other.box) < MAX_OVERLAP


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (3, 900)])
def test_a_picture_too_small_to_cut_gives_only_itself(size):
    assert [crop.box for crop in suggest_crops(Image.new("RGB", size), 4)] == [(0, 0, *size)]


def test_a_picture_of_nothing_still_gives_crops():
    crops = suggest_crops(Image.new("RGB", (200, 200), "gray"), 4)
    assert len(crops) == 4


def test_the_same_picture_gives_the_same_crops():
    image = _figure(ground="noise")[0]
    assert suggest_crops(image, 16) == suggest_crops(image.copy(), 16)


def test_given_boxes_are_used_as_they_are():
    image = Image.new("RGB", (100, 50))
    crops = suggest_crops(image, 4, boxes=[(0, 0, 50, 50), (10, 0, 100, 50)])
    assert [(crop.name, crop.box) for crop in crops] == [("box_1", (0, 0, 50, 50)), ("box_2", (10, 0, 100, 50))]
    for box in ((0, 0, 101, 50), (-1, 0, 9, 9), (5, 5, 5, 9), (0, 0, 9)):
        with pytest.raises(UserError, match="is not inside the image; .* right <= 100 .* bottom <= 50"):
            suggest_crops(image, boxes=[box])


@pytest.mark.parametrize("count", [0, 17])
def test_a_count_out_of_range_says_what_is_valid(count):
    with pytest.raises(UserError, match=f"count is {count}; it must be from 1 to 16"):
        suggest_crops(Image.new("RGB", (64, 64)), count)
