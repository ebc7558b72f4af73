"""Small copies of pictures for a browser."""

import base64
import hashlib
import io
import os

import pytest
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.pictures.thumbnails import ThumbnailStyle, data_uri, thumbnail


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.linear_gradient("L").resize((600, 300)).convert("RGB").save(path)
    return path


def opened(data):
    return Image.open(io.BytesIO(data))


def test_a_thumbnail_is_a_jpeg_no_larger_than_its_side_and_a_small_picture_keeps_its_size(picture, tmp_path):
    Image.new("RGB", (30, 20), "red").save(tmp_path / "small.png")
    made = [opened(thumbnail(path, ThumbnailStyle(side=side), 1)) for path, side in (
        (picture, 256), (picture, 100), (tmp_path / "small.png", 256))]
    assert [(image.format, image.size) for image in made] == [("JPEG", (256, 128)), ("JPEG", (100, 50)),
                                                              ("JPEG", (30, 20))]


@pytest.mark.parametrize(("quality", "resample"), [(88, Image.Resampling.LANCZOS), (85, Image.Resampling.BICUBIC)])
def test_it_is_what_pillow_makes_with_that_filter_and_quality(picture, quality, resample):
    image, wanted = Image.open(picture), io.BytesIO()
    image.thumbnail((256, 256), resample)
    image.save(wanted, "JPEG", quality=quality)
    assert thumbnail(picture, ThumbnailStyle(quality=quality, resample=resample), 1) == wanted.getvalue()


def test_it_is_made_again_only_for_another_version(picture):
    first = thumbnail(picture, ThumbnailStyle(), picture.stat().st_mtime_ns)
    Image.new("RGB", (8, 8), "red").save(picture)
    os.utime(picture, (1, 1))
    assert thumbnail(picture, ThumbnailStyle(), picture.stat().st_mtime_ns) != first
    picture.unlink()
    assert opened(thumbnail(picture, ThumbnailStyle(), 10**9)).size == (8, 8)
    with pytest.raises(UserError, match="a.png"):
        thumbnail(picture, ThumbnailStyle(), "another")


def test_whatever_has_a_picture_can_be_shown():
    class Red:
        def load(self, shown_at):
            return Image.new("RGB", (512, 64), "red")

    assert opened(thumbnail(Red(), ThumbnailStyle(), hashlib.sha256(b"red").hexdigest())).size == (256, 32)


def test_large_pictures_are_shrunk_and_small_ones_stay_lossless():
    small = data_uri(Image.new("RGB", (64, 64), "red"))
    assert small.startswith("data:image/png") and opened(base64.b64decode(small.split(",")[1])).size == (64, 64)
    large = data_uri(Image.effect_noise((2000, 1000), 90).convert("RGB"), 400)
    assert large.startswith("data:image/jpeg") and len(large) < 150_000
    assert opened(base64.b64decode(large.split(",")[1])).size == (400, 200)
