"""Preparation: framing, colours, backgrounds, mirror images, masks, and a folder that can be used again."""

import dataclasses
import json
import random

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from lora_bootstrap.sandbox import world
from lora_bootstrap.sandbox.drawing import draw
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.common.events import Interrupted, Progress
from lora_bootstrap.trainer.datasets.dataset import Dataset, Sample, load_folder
from lora_bootstrap.trainer.datasets.framing import (
    frame_subject,
    largest_frame,
    share_of_frame,
    subject_box,
    suitable_bucket,
    trained_size,
)
from lora_bootstrap.trainer.datasets.kohya_folder import save_dataset
from lora_bootstrap.trainer.datasets.prepare import PrepareFinished, prepare
from lora_bootstrap.trainer.datasets.prepared_folder import PrepareConfig
from lora_bootstrap.trainer.datasets.retouch import (
    SYMMETRIC,
    asymmetric_words,
    asymmetry,
    lab_statistics,
    match_colours,
    on_background,
    replace_background_tags,
    resize_image,
)


def sheet(size, box, colour="red", ground="white"):
    image = Image.new("RGB", size, ground)
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=colour)
    return image


def mask_of(size, box):
    return sheet(size, box, "white", "black").convert("L")


@pytest.fixture
def folder(tmp_path):
    """Two pictures of 300 x 200 with a small subject in a corner, the first with a mask."""
    home = tmp_path / "set"
    (home / "3_akane" / "masks").mkdir(parents=True)
    for name, box in (("a", (200, 120, 240, 180)), ("b", (20, 30, 60, 90))):
        sheet((300, 200), box).save(home / "3_akane" / f"{name}.png")
        (home / "3_akane" / f"{name}.txt").write_text("zqx, 1girl, outdoors, front view")
    mask_of((300, 200), (200, 120, 240, 180)).save(home / "3_akane" / "masks" / "a.png")
    return home


def run(dataset, folder, **settings):
    *_, last = prepare(dataset, PrepareConfig(family="sandbox", **settings), folder)
    return last


# -- framing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aspect", [1.0, 0.75, 1.5])
@pytest.mark.parametrize("subject", [(480, 300, 560, 420), (0, 0, 90, 100), (900, 700, 1000, 800),
                                     (400, 100, 500, 350)])
def test_the_subject_fills_40_to_60_percent_of_a_frame_of_the_wanted_shape(subject, aspect):
    size = (1000, 800)
    frame = frame_subject(size, subject, (0.4, 0.6), aspect)
    width, height = frame[2] - frame[0], frame[3] - frame[1]
    assert 0 <= frame[0] and 0 <= frame[1] and frame[2] <= 1000 and frame[3] <= 800
    assert width / height == pytest.approx(aspect, rel=0.02)
    assert share_of_frame(frame, subject) == 1.0
    slim = min((subject[2] - subject[0]) / width, (subject[3] - subject[1]) / height)
    # A subject far from the frame's shape cannot fill it without being cut.
    assert 0.38 <= share_of_frame(subject, frame) <= 0.6 or max(
        (subject[2] - subject[0]) / width, (subject[3] - subject[1]) / height) > 0.9 > slim


def test_a_subject_that_fills_enough_is_not_cut_closer():
    size, subject = (1000, 1000), (100, 100, 900, 900)
    assert frame_subject(size, subject, (0.4, 0.6), 1.0) == (0, 0, 1000, 1000)


def test_a_tall_subject_in_a_square_keeps_its_head():
    size, subject = (400, 1000), (100, 50, 300, 980)
    frame = frame_subject(size, subject, (0.4, 0.6), 1.0)
    assert frame[2] - frame[0] == 400 and 30 <= frame[1] <= 50


def test_a_frame_is_not_cut_below_the_pixels_it_is_trained_at():
    frame = frame_subject((1000, 1000), (480, 480, 520, 520), (0.4, 0.6), 1.0, least_width=512)
    assert frame[2] - frame[0] == 512 and frame[0] < 480 < 520 < frame[2]
    small = frame_subject((300, 300), (140, 140, 160, 160), (0.4, 0.6), 1.0, least_width=512)
    assert small == (0, 0, 300, 300)


def test_the_largest_frame_lies_about_the_subject():
    assert largest_frame((300, 100), (250, 0, 290, 100), 1.0) == (200, 0, 300, 100)
    assert largest_frame((300, 100), (100, 20, 140, 60), 1.0) == (70, 0, 170, 100)


def test_a_bucket_suits_the_subject():
    assert suitable_bucket((1000, 1000), (450, 100, 550, 900), (0.4, 0.6), 1024, 64)[0] < 1024
    assert suitable_bucket((1500, 1000), (100, 50, 1400, 950), (0.4, 0.6), 1024, 64) == (1216, 832)


def test_a_subject_is_where_the_mask_is_or_what_stands_out():
    image = sheet((200, 100), (120, 30, 160, 80))
    assert subject_box(image, mask_of((200, 100), (10, 20, 30, 40))) == (10, 20, 30, 40)
    found = subject_box(image)
    assert all(abs(a - b) <= 6 for a, b in zip(found, (120, 30, 160, 80), strict=True))
    assert subject_box(image, Image.new("L", (200, 100))) == (0, 0, 200, 100)


def test_trained_sizes_are_buckets_or_squares_never_enlarged_unasked():
    assert trained_size((2000, 2000), 1024, 64, square=False, upscale=False) == (1024, 1024)
    assert trained_size((700, 700), 1024, 64, square=True, upscale=False) == (640, 640)
    assert trained_size((700, 700), 1024, 64, square=True, upscale=True) == (1024, 1024)
    with pytest.raises(UserError, match="too few to train on"):
        trained_size((100, 100), 1024, 64, square=True, upscale=False)


# -- pixels ------------------------------------------------------------------------------------------------------------


def test_shrinking_is_antialiased_and_keeps_mode_and_mean():
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    for image in (Image.fromarray(stripes), Image.fromarray(np.stack([stripes] * 3, -1))):
        small = np.asarray(resize_image(image, (16, 16))).astype(float)
        assert abs(small.mean() - 127.5) < 6 and small.std() < 30
        assert resize_image(image, (16, 16)).mode == image.mode
    assert resize_image(image, (64, 64)) is image


def test_colours_are_brought_to_those_of_the_reference():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(80, 170, (32, 32, 3), dtype=np.uint8))
    reference = Image.fromarray((rng.integers(80, 170, (32, 32, 3)) * (1.0, 0.85, 0.7)).astype(np.uint8))
    target, before = lab_statistics(reference), lab_statistics(image)
    after = lab_statistics(match_colours(image, target))
    assert (after - target).abs().max() < 1.0 < (before - target).abs().max()
    half = lab_statistics(match_colours(image, target, 0.5))
    assert ((half[0] - (before[0] + target[0]) / 2).abs() < 1.0).all()
    assert np.abs(np.asarray(match_colours(image, target, 0.0)).astype(int) - np.asarray(image)).max() <= 1


def test_a_mask_says_whose_colours_are_matched():
    image = sheet((40, 40), (0, 0, 20, 40), (150, 100, 100), (20, 200, 20))
    mask = mask_of((40, 40), (0, 0, 20, 40))
    target = lab_statistics(sheet((8, 8), (0, 0, 8, 8), (100, 100, 150)))
    pixel = match_colours(image, target, 1.0, mask).getpixel((5, 5))
    assert all(abs(value - wanted) <= 2 for value, wanted in zip(pixel, (100, 100, 150), strict=True))


def test_the_background_is_replaced_by_a_colour_or_by_a_picture_that_covers():
    image, mask = sheet((40, 20), (10, 5, 20, 15)), mask_of((40, 20), (10, 5, 20, 15))
    assert sorted(on_background(image, mask, "#0000ff").getcolors()) == [(100, (255, 0, 0)), (700, (0, 0, 255))]
    tall = sheet((10, 100), (0, 0, 10, 50), "lime", "black")
    laid = on_background(image, mask, tall)
    assert laid.size == (40, 20) and laid.getpixel((12, 8)) == (255, 0, 0)
    assert laid.getpixel((0, 2))[1] > 200 and laid.getpixel((0, 17))[1] < 60


def test_captions_follow_the_background():
    told = "zqx, 1girl, outdoors, night, smile"
    assert replace_background_tags(told, "white background") == "zqx, 1girl, smile, white background"
    assert replace_background_tags("zqx, park", "") == "zqx"
    assert replace_background_tags("A girl in a park.", "white background") == "A girl in a park."


def test_asymmetric_characters_are_known_by_their_words_or_by_measure():
    assert asymmetric_words(["1girl, solo", "1girl, hair_over_one_eye"]) == "hair over one eye"
    assert asymmetric_words(["1girl, red hair"]) == ""
    rng = random.Random(2)
    same, odd = [], []
    for _ in range(8):
        plain = world.sample_character(rng)
        scene = {"angle": "front view", "framing": "close-up", "style": "flat color", "background": "white background"}
        same.append(asymmetry(draw(world.Scene(plain, **scene), 192)))
        marked = dataclasses.replace(plain, signature=world.Signature("odd eyes", "magenta"))
        odd.append(asymmetry(draw(world.Scene(marked, **scene), 192)))
    assert np.median(same) < SYMMETRIC < np.median(odd)


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_a_prepared_set_is_a_kohya_folder_of_pictures_captions_and_masks(folder, tmp_path):
    last = run(load_folder(folder), tmp_path / "out", resolution=64)
    assert [(s.path.relative_to(tmp_path / "out").as_posix(), s.size, s.repeats, s.caption) for s in last.dataset] == [
        ("3_prepared/a.png", last.dataset.samples[0].size, 3, "zqx, 1girl, outdoors, front view"),
        ("3_prepared/b.png", last.dataset.samples[1].size, 3, "zqx, 1girl, outdoors, front view")]
    reloaded = load_folder(tmp_path / "out")
    assert reloaded.fingerprint == last.dataset.fingerprint
    assert reloaded.notes == ("1 of 2 images have a mask: 3_prepared/a.png.",)
    for sample in last.dataset:
        image = sample.load()
        assert image.size == sample.size and sample.size[0] % 8 == sample.size[1] % 8 == 0
        red = (np.asarray(image)[..., 1] < 128).mean()
        assert 0.33 <= red <= 0.62
    mask = np.asarray(last.dataset.samples[0].load_mask())
    assert ((mask >= 128) == (np.asarray(last.dataset.samples[0].load())[..., 1] < 128)).mean() > 0.98
    assert last.dataset.samples[1].mask is None
    assert all("cropped to" in picture.text and picture.text.endswith(".") for picture in last.pictures)


def test_progress_is_told_and_stopping_keeps_the_folder_usable(folder, tmp_path):
    dataset, config = load_folder(folder), PrepareConfig(family="sandbox")
    events = list(prepare(dataset, config, tmp_path / "out", should_stop=lambda: True))
    assert events == [Progress("prepare", 1, 2), Interrupted("prepare")]
    events = list(prepare(dataset, config, tmp_path / "out"))
    assert events[:2] == [Progress("prepare", 1, 2), Progress("prepare", 2, 2)]
    assert isinstance(events[-1], PrepareFinished) and not events[-1].reused


def test_the_same_preparation_is_used_again_and_another_takes_its_place(folder, tmp_path):
    dataset = load_folder(folder)
    first = run(dataset, tmp_path / "out", flip="always")
    again = run(dataset, tmp_path / "out", flip="always")
    assert again.reused and (again.dataset, again.pictures) == (first.dataset, first.pictures)
    assert len(first.dataset) == 4
    other = run(dataset, tmp_path / "out", crop="none")
    assert not other.reused and len(load_folder(tmp_path / "out")) == 2
    (tmp_path / "out" / "3_prepared" / "a.png").unlink()
    assert not run(dataset, tmp_path / "out", crop="none").reused
    (folder / "3_akane" / "a.txt").write_text("zqx, 1girl, hat")
    assert run(load_folder(folder), tmp_path / "out", crop="none").dataset.samples[0].caption == "zqx, 1girl, hat"


def test_what_was_prepared_from_another_source_is_refused_and_stays(folder, tmp_path):
    run(load_folder(folder), tmp_path / "out")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    (tmp_path / "photos").mkdir()
    sheet((200, 300), (20, 30, 60, 90), "blue").save(tmp_path / "photos" / "a.png")
    photos = load_folder(tmp_path / "photos")
    with pytest.raises(UserError, match=r"out has 2 images that were saved there from .*3_akane \(a.png\), and this "
                       "save would replace them by 1 images from .*photos. Choose another name"):
        run(photos, tmp_path / "out")
    assert {path: path.read_bytes() for path in before} == before
    last = run(photos, tmp_path / "other")
    *_, saved = save_dataset(run(load_folder(folder), tmp_path / "out").dataset, tmp_path / "saved", "girl")
    with pytest.raises(UserError, match=r"saved there from .*3_akane \(a.png\)"):
        list(save_dataset(last.dataset, tmp_path / "saved", "girl"))
    assert len(saved.dataset) == 2


def test_a_prepared_caption_that_was_edited_is_not_overwritten(folder, tmp_path):
    run(load_folder(folder), tmp_path / "out")
    edited = tmp_path / "out" / "3_prepared" / "b.txt"
    for version in ("this", "earlier"):
        if version == "earlier":
            record = json.loads((tmp_path / "out" / "prepared.json").read_text())
            del record["files"]
            (tmp_path / "out" / "prepared.json").write_text(json.dumps(record))
        edited.write_text("a caption of my own")
        with pytest.raises(UserError, match="b.txt was edited after it was saved"):
            run(load_folder(folder), tmp_path / "out", crop="none")
        assert edited.read_text() == "a caption of my own"
    edited.unlink()
    assert not run(load_folder(folder), tmp_path / "out", crop="none").reused


def test_other_peoples_pictures_are_never_removed(folder, tmp_path):
    dataset, home = load_folder(folder), tmp_path / "out"
    run(dataset, home)
    sheet((64, 64), (0, 0, 9, 9)).save(home / "3_prepared" / "mine.png")
    with pytest.raises(UserError, match="has images that were not prepared there \\(mine.png\\)"):
        run(dataset, home, crop="none")
    assert (home / "3_prepared" / "a.png").is_file()
    with pytest.raises(UserError, match="is in .* choose another folder"):
        run(dataset, folder)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "prepared.json").write_text('{"key": "", "claimed": ["../set/3_akane/a.png", 7]}')
    run(dataset, tmp_path / "theirs")
    assert (folder / "3_akane" / "a.png").is_file()


def test_masked_backgrounds_are_replaced_and_the_caption_says_so(folder, tmp_path):
    last = run(load_folder(folder), tmp_path / "out", background="blue", background_tag="blue background")
    first, second = last.dataset.samples
    assert first.caption == "zqx, 1girl, front view, blue background"
    assert second.caption == "zqx, 1girl, outdoors, front view"
    assert first.load().getpixel((0, 0)) == (0, 0, 255)
    assert "background replaced" in last.pictures[0].done
    assert "background left unchanged, because it has no mask" in last.pictures[1].done
    with pytest.raises(UserError, match="neither a colour nor a file"):
        run(load_folder(folder), tmp_path / "more", background="nowhere.png")


def test_transparent_pictures_bring_their_own_mask(tmp_path):
    (tmp_path / "set").mkdir()
    cut_out = sheet((96, 96), (30, 20, 70, 80)).convert("RGBA")
    cut_out.putalpha(mask_of((96, 96), (30, 20, 70, 80)))
    cut_out.save(tmp_path / "set" / "a.png")
    sample = run(load_folder(tmp_path / "set"), tmp_path / "out").dataset.samples[0]
    assert sample.mask is not None and np.asarray(sample.load_mask()).mean() > 80
    plain = run(load_folder(tmp_path / "set"), tmp_path / "plain", alpha_masks=False).dataset.samples[0]
    assert plain.mask is None


def test_mirror_images_are_added_with_mirrored_masks(folder, tmp_path):
    last = run(load_folder(folder), tmp_path / "out", flip="always")
    own, mirrored = last.dataset.samples[:2]
    assert mirrored.path.name == "a_flip.png" and mirrored.parent == own.parent
    assert np.array_equal(np.asarray(mirrored.load()), np.asarray(ImageOps.mirror(own.load())))
    assert np.array_equal(np.asarray(mirrored.load_mask()), np.asarray(ImageOps.mirror(own.load_mask())))


@pytest.mark.parametrize(("captions", "signature", "flipped", "words"), [
    (["1girl, front view"] * 3, None, True, ""),
    (["1girl, front view"] * 3, world.Signature("odd eyes", "cyan"), False, "left and right differ"),
    (["1girl, front view", "1girl, eyepatch"], None, False, "'eyepatch', which is on one side"),
    (["1girl, from behind"] * 2, None, False, "no caption says front view"),
])
def test_only_symmetric_characters_are_mirrored(tmp_path, captions, signature, flipped, words):
    character = world.Character("black hair", "short hair", "red eyes", "human ears", "no tail", "green dress",
                                signature)
    scene = world.Scene(character, framing="upper body")
    samples = []
    for number, caption in enumerate(captions):
        draw(scene, 128 + number).save(tmp_path / f"{number}.png")
        samples.append(Sample(tmp_path / f"{number}.png", (128 + number,) * 2, caption))
    last = run(Dataset(tuple(samples)), tmp_path / "out", flip="symmetric")
    assert (len(last.dataset) == 2 * len(captions)) == flipped
    assert words in " ".join(last.notes) and bool(last.notes) != flipped


def test_a_picture_that_cannot_be_read_does_not_keep_others_from_being_mirrored(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    draw(world.Scene(world.HELD_OUT["momo"]), 128).save(tmp_path / "b.png")
    samples = tuple(Sample(tmp_path / f"{name}.png", (128, 128), "1girl, front view") for name in "ab")
    last = run(Dataset(samples), tmp_path / "out", flip="symmetric")
    assert [picture.path is None for picture in last.pictures] == [True, False]


def test_small_pictures_are_enlarged_only_if_asked(tmp_path):
    sheet((40, 40), (5, 5, 35, 35)).save(tmp_path / "a.png")
    dataset = Dataset((Sample(tmp_path / "a.png", (40, 40), "x"),))
    assert run(dataset, tmp_path / "as_is").dataset.samples[0].size == (40, 40)
    large = run(dataset, tmp_path / "large", upscale=True)
    assert large.dataset.samples[0].size == (64, 64) and "enlarged 1.60 times" in large.pictures[0].text


def test_crops_of_one_picture_keep_their_names_apart(tmp_path):
    sheet((128, 128), (20, 20, 100, 100)).save(tmp_path / "a.png")
    samples = tuple(Sample(tmp_path / "a.png", (64, 64), "x", crop=(left, 0, left + 64, 64)) for left in (0, 32, 64))
    last = run(Dataset(samples), tmp_path / "out", crop="none")
    assert [s.path.name for s in last.dataset] == ["a.png", "a_2.png", "a_3.png"]
    assert {s.parent for s in last.dataset} == {"a"}


@pytest.mark.parametrize(("settings", "words"), [
    ({"crop": "subjct"}, "Did you mean 'subject'"), ({"shape": "round"}, "Valid: bucket, square"),
    ({"flip": "yes"}, "Valid: always, never, symmetric"), ({"resolution": 8}, "at least 16"),
    ({"subject": (0.6, 0.4)}, "the smaller first"), ({"strength": 2}, "from 0 to 1"),
    ({"name": "../x"}, "cannot be a folder's"),
    ({"family": "sd9"}, "unknown model family"),
])
def test_wrong_settings_are_one_clear_line(settings, words):
    with pytest.raises(UserError, match=words):
        PrepareConfig(**{"family": "sandbox", **settings})


def test_nothing_left_is_said_with_the_first_reason(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="nothing is left to train on: left out a.png: cannot read"):
        run(Dataset((Sample(tmp_path / "a.png", (64, 64), "x"),)), tmp_path / "out")
