"""Near duplicates: copies are found through compression, crops, mirrors; look-alikes are not; few are compared."""

import io
import random

import numpy as np
import pytest
from PIL import Image, ImageOps

from lora_bootstrap.sandbox import world
from lora_bootstrap.sandbox.drawing import draw
from lora_bootstrap.trainer.pictures.duplicates import (
    MOST_NEIGHBOURS,
    THUMB,
    WINDOWS,
    Search,
    best_of,
    bits_apart,
    copies_of,
    difference,
    find_duplicates,
    fingerprint_picture,
    group_copies,
    same_picture,
)


def pictures(count, size=192, seed=3):
    rng = random.Random(seed)
    return [draw(world.sample_scene(rng), size) for _ in range(count)]


def jpeg(image, quality=50):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def crop(image, left, top, share=0.05):
    width, height = image.size
    box = (left * share * width, top * share * height, (left * share + 1 - share) * width,
           (top * share + 1 - share) * height)
    return image.crop(tuple(map(round, box)))


def groups(images, search=None):
    prints = [fingerprint_picture(image) for image in images]
    return find_duplicates(np.stack([own.hashes for own in prints]), lambda index: prints[index].thumb, search)


def prints_of(*images):
    return [fingerprint_picture(image) for image in images]


COPIES = {
    "JPEG 50": jpeg,
    "cropped around": lambda image: crop(image, 0.5, 0.5),
    "cropped at two edges": lambda image: crop(image, 1, 0),
    "cropped anywhere, then JPEG 50": lambda image: jpeg(crop(image, 0.3, 0.8)),
    "half as large": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "mirrored": ImageOps.mirror,
    "mirrored and cropped": lambda image: crop(ImageOps.mirror(image), 0, 1),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_is_found_among_others(copy):
    images = pictures(10)
    copies = [copy(images[index]) for index in (2, 5, 7)]
    assert groups([*images, *copies]) == [[2, 10], [5, 11], [7, 12]]


def test_copies_of_copies_make_one_group():
    image = pictures(1)[0]
    assert groups([image, jpeg(image), crop(image, 0, 0), *pictures(4, seed=9)]) == [[0, 1, 2]]


def test_one_scene_with_another_pose_or_background_is_another_picture():
    base = world.Scene(world.HELD_OUT["akane"])
    scenes = [base, *(world.Scene(base.character, **{name: tag}) for name in ("angle", "framing", "background")
                      for tag in world.ATTRIBUTES[name] if tag != base.tag(name))]
    assert groups([draw(scene, 192) for scene in scenes]) == []


def test_copies_of_originals_are_found_one_way_and_not_among_themselves():
    a, b, c = pictures(3)
    made = prints_of(ImageOps.mirror(a), b, jpeg(b), crop(a, 1, 0))
    assert copies_of(made, prints_of(a, c)) == [True, False, False, True]
    assert copies_of(made, prints_of(a, a, c)) == [True, False, False, True]
    assert copies_of(made, []) == [False] * 4 and copies_of([], made) == []


def test_groups_of_fingerprints_are_those_of_the_pictures():
    a, b = pictures(2)
    images = [a, b, jpeg(a), ImageOps.mirror(b), crop(a, 0, 1)]
    assert group_copies(prints_of(*images)) == groups(images) == [[0, 2, 4], [1, 3]]
    assert group_copies([]) == []


def test_no_pictures_and_one_picture_have_no_duplicates():
    assert find_duplicates(np.zeros((0, 2 * WINDOWS), dtype=np.uint64), lambda index: None) == []
    assert groups(pictures(1)) == []


def test_a_crop_is_laid_on_its_picture_to_a_fraction_of_a_pixel():
    image = pictures(1)[0]
    whole, part = fingerprint_picture(image), fingerprint_picture(crop(image, 0.3, 0.8))
    window = int(bits_apart(whole.hashes, part.hashes[0]).argmin())
    mean, worst = difference(whole.thumb, part.thumb, window)
    assert mean < 0.02 and worst < 0.06 and same_picture(whole.thumb, part.thumb, window)
    as_they_are = np.abs(whole.thumb.astype(float) - part.thumb).mean() / 255
    assert as_they_are > 3 * mean
    assert difference(whole.thumb, whole.thumb) == (0.0, 0.0)


def test_a_small_but_clear_difference_is_no_copy():
    thumb = np.full((THUMB, THUMB, 3), 128, dtype=np.uint8)
    other = thumb.copy()
    other[20:28, 20:28] = (255, 0, 0)
    assert difference(thumb, other)[0] < 0.05
    assert not same_picture(thumb, other)


def test_bits_are_counted():
    a = np.array([0, 1, 2**64 - 1, 0xF0F0], dtype=np.uint64)
    assert bits_apart(a, np.uint64(0)).tolist() == [0, 1, 64, 8]


def _random_hashes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 2**64, (count, 2 * WINDOWS), dtype=np.uint64)


def test_ten_times_the_pictures_are_far_from_a_hundred_times_the_work():
    thumb = _faint_thumb()
    compared = {}
    for count in (1000, 4000):
        search = Search()
        find_duplicates(_random_hashes(count), lambda index: thumb, search)
        compared[count] = search.compared
        assert search.compared < 0.002 * count * (count - 1) * 2 * WINDOWS
    assert compared[4000] < 20 * compared[1000]


@pytest.mark.slow
def _faint_thumb():
    """A gradient so faint that each window of it, also mirrored, looks like the whole."""
    return np.broadcast_to(np.linspace(100, 112, THUMB)[:, None, None], (THUMB, THUMB, 3)).astype(np.uint8)


def test_a_film_of_alike_frames_costs_no_more_than_its_length():
    """Where nearly all hashes are the same, each is held against a few neighbours, not against all."""
    rng = np.random.default_rng(1)
    thumb = _faint_thumb()
    compared = []
    for count in (100, 400):
        hashes = np.full((count, 2 * WINDOWS), 0x0123456789ABCDEF, dtype=np.uint64)
        hashes ^= np.uint64(1) << rng.integers(0, 64, hashes.shape, dtype=np.uint64)
        search = Search()
        found = find_duplicates(hashes, lambda index: thumb, search)
        compared.append(search.compared)
        assert sum(map(len, found)) >= 0.99 * count
        assert search.aligned < 40 * count
    assert compared[1] <= 4.5 * compared[0]
    assert compared[1] <= 400 * 2 * WINDOWS * 4 * MOST_NEIGHBOURS


def test_every_hash_up_to_seven_bits_apart_is_met():
    rng = random.Random(0)
    hashes = _random_hashes(60, seed=2)
    for index in range(30):
        flipped = sum(1 << bit for bit in rng.sample(range(64), 7))
        hashes[30 + index, 0] = hashes[index, 0] ^ np.uint64(flipped)
    thumb = _faint_thumb()
    search = Search()
    find_duplicates(hashes, lambda index: thumb, search)
    assert sorted(search.pairs) == [(index, index + 30) for index in range(30)]


def test_images_in_which_nothing_can_be_seen_are_not_copies_of_each_other():
    white, paper = Image.new("RGB", (300, 200), "white"), Image.effect_noise((300, 200), 2).convert("RGB")
    drawn = Image.new("RGB", (300, 200), "white")
    drawn.paste((200, 200, 200), (40, 40, 200, 60))
    prints = [fingerprint_picture(image) for image in (white, white, paper, drawn, drawn.resize((150, 100)))]
    assert group_copies(prints) == [[3, 4]]
    assert copies_of(prints, prints[:1]) == [False] * 5


def test_the_worthiest_of_a_group_is_kept_the_first_among_equals():
    assert best_of([3, 1, 2], {1: 5, 2: 9, 3: 9}.get) == 2
