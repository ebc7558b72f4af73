"""What an audit measures of one picture: each figure answers to its fault and to nothing else."""

import io
import random
import tracemalloc

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lora_bootstrap.sandbox import world
from lora_bootstrap.sandbox.drawing import draw
from lora_bootstrap.trainer.audits.checks import (
    CHECKS,
    CODES,
    SEVERITIES,
    cast_findings,
    pixel_findings,
    size_findings,
)
from lora_bootstrap.trainer.audits.figures import blocking, edge_width, measure, neutral_tone, trained_copy
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.pictures.borders import WIDEST, content_box
from lora_bootstrap.trainer.pictures.components import connected
from lora_bootstrap.trainer.pictures.lettering import lettering


def drawings(count, size=256, seed=7, **fixed):
    rng = random.Random(seed)
    return [draw(world.sample_scene(rng, **{"style": "flat color", **fixed}), size) for _ in range(count)]


def jpeg(image, quality):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def codes(image):
    return {finding.code for finding in pixel_findings(measure(image, image.width))}


def grey(image):
    return np.asarray(image.convert("L"), dtype=np.float32)


def test_clean_drawings_have_no_findings():
    assert [codes(image) for image in drawings(12)] == [set()] * 12


@pytest.mark.parametrize("contrast", [1.0, 0.2])
@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0])
def test_the_edge_width_is_the_sigma_of_the_blur_whatever_the_contrast(sigma, contrast):
    board = Image.new("L", (256, 256), 128 - round(100 * contrast))
    pen = ImageDraw.Draw(board)
    for x in range(16, 256, 64):
        pen.rectangle((x, 0, x + 31, 255), fill=128 + round(100 * contrast))
    blurred = board.filter(ImageFilter.GaussianBlur(sigma))
    assert edge_width(np.asarray(blurred, dtype=np.float32)) == pytest.approx(sigma, rel=0.15)
    assert edge_width(np.asarray(board, dtype=np.float32)) == pytest.approx(0.5, abs=0.05)


def test_a_sharp_subject_before_a_blurred_background_is_sharp():
    sharp = drawings(1, 512, background="grass")[0]
    blurred = sharp.filter(ImageFilter.GaussianBlur(4))
    portrait = blurred.copy()
    portrait.paste(sharp.crop((128, 100, 384, 420)), (128, 100))
    assert edge_width(grey(portrait)) < 0.9 < edge_width(grey(blurred))


def test_a_plain_picture_has_no_edges_to_judge():
    plain = Image.new("RGB", (64, 64), "gray")
    assert edge_width(grey(plain)) is None
    assert codes(plain) <= {"bright", "dark"}


def test_blur_that_training_shrinks_away_does_not_count():
    large = drawings(1, 512)[0].filter(ImageFilter.GaussianBlur(2))
    assert measure(large, 512).edge_width > 1.5
    assert measure(large, 128).edge_width < 0.9
    assert trained_copy(large, 128).size == (128, 128) and trained_copy(large, 1024).size == (512, 512)


def test_every_planted_fault_is_found():
    for image in drawings(4, background="grass"):
        assert "blur" in codes(image.filter(ImageFilter.GaussianBlur(2)))
        assert "blocking" in codes(jpeg(image, 20))
        letterbox = image.copy()
        ImageDraw.Draw(letterbox).rectangle((0, 0, 255, 24), fill="black")
        ImageDraw.Draw(letterbox).rectangle((0, 231, 255, 255), fill="black")
        assert "border" in codes(letterbox)
        assert "dark" in codes(image.point(lambda value: value // 6))
        assert "bright" in codes(image.point(lambda value: 240 + value // 20))
        marked = image.copy()
        ImageDraw.Draw(marked).text((12, 232), "@mina_draws", "white", ImageFont.load_default(18), stroke_width=1,
                                    stroke_fill="black")
        assert "lettering" in codes(marked)


def test_blocks_are_found_wherever_the_grid_lies_but_a_mosaic_is_none():
    image = drawings(1, 264)[0]
    for shift in (0, 3, 5):
        assert blocking(grey(jpeg(image, 20).crop((shift, shift, 256, 256)))) > 1
        assert blocking(grey(jpeg(image, 92).crop((shift, shift, 256, 256)))) < 0.5
    mosaic = image.resize((33, 33), Image.Resampling.BOX).resize((264, 264), Image.Resampling.NEAREST)
    assert blocking(grey(mosaic)) < 0.5
    assert blocking(np.zeros((16, 16), dtype=np.float32)) == 0


@pytest.mark.parametrize(("bars", "colour", "box"), [
    ([(0, 0, 99, 9), (0, 90, 99, 99)], "black", (0, 10, 100, 90)),
    ([(0, 0, 9, 99), (90, 0, 99, 99)], "gray", (10, 0, 90, 100)),
    ([(0, 0, 99, 4), (0, 95, 99, 99), (0, 0, 4, 99), (95, 0, 99, 99)], "#14325a", (5, 5, 95, 95)),
    ([(0, 80, 99, 99)], "black", (0, 0, 100, 80)),
    ([(0, 80, 99, 99)], "#14325a", (0, 0, 100, 100)),
])
def test_bars_are_found_to_the_pixel(bars, colour, box):
    noise = np.random.default_rng(0).integers(60, 200, (100, 100, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    for bar in bars:
        ImageDraw.Draw(image).rectangle(bar, fill=colour)
    assert content_box(np.asarray(image, dtype=np.float32)) == box


def test_bars_are_found_to_the_pixel_however_deep_they_are():
    noise = np.random.default_rng(0).integers(60, 200, (200, 60, 3)).astype(np.float32)
    for depth in range(2, 92):
        image = noise.copy()
        image[:depth], image[200 - depth:] = 0, 0
        inside = (depth, 200 - depth) if depth <= WIDEST * 200 else (0, 200)
        assert content_box(image) == (0, inside[0], 60, inside[1])
        assert content_box(image.swapaxes(0, 1)) == (inside[0], 0, inside[1], 60)


def test_an_image_without_bars_is_known_by_its_first_lines():
    noise = np.random.default_rng(0).integers(0, 255, (1000, 1000, 3)).astype(np.float32)
    tracemalloc.start()
    assert content_box(noise) == (0, 0, 1000, 1000)
    assert tracemalloc.get_traced_memory()[1] < noise.nbytes / 20
    tracemalloc.stop()


def test_a_gradient_and_a_figure_on_white_have_no_bars():
    ramp = np.repeat(np.linspace(0, 255, 100, dtype=np.float32)[:, None, None], 100, 1).repeat(3, 2)
    assert content_box(ramp) == (0, 0, 100, 100)
    disc = Image.new("RGB", (100, 100), "white")
    ImageDraw.Draw(disc).ellipse((15, 15, 85, 85), fill="red")
    assert content_box(np.asarray(disc, dtype=np.float32)) == (0, 0, 100, 100)


def test_lettering_is_told_from_drawing_and_not_looked_for_in_the_very_small():
    clean = drawings(1)[0]
    marked = clean.copy()
    ImageDraw.Draw(marked).text((10, 10), "Stock photo 1183", "black", ImageFont.load_default(16))
    assert lettering(marked) > 0 > lettering(clean)
    assert lettering(clean.resize((64, 64))) is None


def test_parts_of_a_mask_are_joined_by_corners_and_through_spirals():
    spiral = np.array([list(row) for row in (
        "1111111", "0000001", "1111101", "1000101", "1011101", "1000001", "1111111")]) == "1"
    parts = connected(spiral)
    assert (len(parts), parts.area.tolist()) == (1, [int(spiral.sum())])
    corners = connected(np.eye(5, dtype=bool))
    assert (len(corners), corners.left[0], corners.bottom[0], corners.runs[0]) == (1, 0, 5, 5)
    assert len(connected(np.zeros((4, 4), dtype=bool))) == 0
    dots = np.zeros((5, 5), dtype=bool)
    dots[::2, ::2] = True
    assert len(connected(dots)) == 9


def test_the_runs_of_a_mask_draw_it_again():
    mask = np.random.default_rng(3).random((17, 23)) < 0.6
    mask[:, [0, -1]], mask[5] = True, True
    parts, drawn = connected(mask), np.zeros_like(mask)
    for row, start, end in zip(parts.run_row, parts.run_start, parts.run_end, strict=True):
        assert mask[row, start:end].all() and not drawn[row, start:end].any()
        drawn[row, start:end] = True
    assert np.array_equal(drawn, mask) and parts.runs.sum() == len(parts.run_row)


def test_a_neutral_tone_follows_a_tint_and_is_unknown_without_middle_tones():
    image = Image.new("RGB", (32, 32), (150, 150, 150))
    image.paste((200, 60, 60), (0, 0, 16, 32))
    lab = np.zeros((3, 32, 32), dtype=np.float32)
    lab[0], lab[1, :, :16] = 60, 40
    assert neutral_tone(lab) == (0.0, 0.0)
    lab[2] = 12
    assert neutral_tone(lab) == (0.0, 12.0)
    lab[0] = 5
    assert neutral_tone(lab) is None


def test_a_tinted_picture_stands_out_of_its_set_and_a_set_of_one_tint_does_not():
    pictures = drawings(10, 128, background="white background", angle="front view", character=world.HELD_OUT["kuro"])
    warm = [Image.fromarray((np.asarray(image) * (1.0, 0.9, 0.75)).astype(np.uint8)) for image in pictures]
    figures = [measure(image, 128) for image in (*pictures[:9], warm[9])]
    found = cast_findings(figures)
    assert [index for index, finding in enumerate(found) if finding] == [9]
    assert found[9].text.startswith("yellowish") and found[9].value > found[9].threshold
    assert cast_findings([measure(image, 128) for image in warm]) == [None] * 10
    assert cast_findings(figures[-3:]) == [None] * 3
    assert cast_findings([None] * 8) == [None] * 8


@pytest.mark.parametrize(("size", "found"), [
    ((1024, 1024), []), ((1600, 1200), []), ((700, 700), [("small", "warning")]), ((400, 400), [("small", "fault")]),
    ((4000, 1024), [("shape", "warning")]), ((1024, 4000), [("shape", "warning")])])
def test_sizes_are_held_against_the_family(size, found):
    assert [(f.code, f.severity) for f in size_findings(size, get_family("sdxl"), 1024)] == found


def test_the_table_of_checks_is_sound():
    for check in CHECKS:
        assert check.code in CODES
        assert check.warning is not None
        if check.fault is not None:
            assert (check.fault < check.warning) == check.below
        assert check.text.format(value=0.5, limit=1.0).endswith(".")
    assert SEVERITIES == ("fault", "warning", "note")
