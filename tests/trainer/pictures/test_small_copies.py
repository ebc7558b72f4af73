"""Small copies lie beside images, serve what is shown small, and never show an earlier image."""

import os

import numpy
import pytest
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.pictures import small_copies
from lora_bootstrap.trainer.pictures.images import open_image
from lora_bootstrap.trainer.pictures.small_copies import open_small, small_copy, small_version

SIZE = (400, 300)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", SIZE, "red").save(path)
    return path


def colour(image):
    return tuple(round(value) for value in numpy.asarray(image).mean((0, 1)))


def never_opened(monkeypatch):
    """Fail if a whole image is decoded from now on."""
    opened = small_copies.open_image

    def refuse(path, *args, **more):
        assert path.suffix == ".jpg", f"{path} was decoded"
        return opened(path, *args, **more)

    monkeypatch.setattr(small_copies, "open_image", refuse)
    monkeypatch.setattr(small_copies, "thumbnail", lambda *args: pytest.fail("the image was decoded"))


def test_a_copy_is_made_once_and_then_serves_without_the_image(picture, monkeypatch):
    first = small_version(picture)
    copy = small_copy(picture)
    assert copy == picture.parent / ".small" / "a.jpg" and copy.read_bytes() == first
    never_opened(monkeypatch)
    assert small_version(picture) == first
    shown = open_small(picture, 256)
    assert shown.size == (256, 192) and colour(shown) == pytest.approx((255, 0, 0), abs=2)


def test_what_is_shown_larger_than_the_copy_comes_from_the_image(picture):
    assert open_small(picture, 257).size == SIZE


def test_a_small_image_has_no_copy(tmp_path):
    path = tmp_path / "b.png"
    Image.new("RGB", (256, 100), "lime").save(path)
    assert small_copy(path) is None and small_version(path).endswith(b"\xff\xd9") and not (tmp_path / ".small").exists()
    assert colour(open_small(path, 64)) == (0, 255, 0)


@pytest.mark.parametrize("seconds", [-100, 100], ids=["older", "newer"])
def test_another_image_under_the_same_name_gets_another_copy(picture, seconds):
    small_version(picture)
    before = picture.stat().st_mtime
    Image.new("RGB", SIZE, "blue").save(picture)
    os.utime(picture, (before + seconds, before + seconds))
    assert colour(open_small(picture, 128)) == pytest.approx((0, 0, 255), abs=2)


def test_a_damaged_copy_is_not_shown_but_written_again(picture, monkeypatch):
    copy = small_copy(picture)
    time = copy.stat().st_mtime_ns
    copy.write_bytes(copy.read_bytes()[:200])
    os.utime(copy, ns=(time, time))
    assert colour(open_small(picture, 128)) == pytest.approx((255, 0, 0), abs=2)
    assert copy.read_bytes().endswith(b"\xff\xd9"), "it was written again"
    never_opened(monkeypatch)
    assert small_version(picture) == copy.read_bytes()


def test_a_copy_that_is_damaged_before_its_end_is_written_again(picture):
    copy = small_copy(picture)
    whole, time = copy.read_bytes(), copy.stat().st_mtime_ns
    copy.write_bytes(bytes(len(whole) - 2) + whole[-2:])
    os.utime(copy, ns=(time, time))
    assert colour(open_small(picture, 128)) == pytest.approx((255, 0, 0), abs=2) and copy.read_bytes() == whole


def test_an_image_that_is_replaced_while_its_copy_is_made_gets_another_copy(picture, monkeypatch):
    os.utime(picture, (1, 1))
    decode = small_copies.thumbnail

    def replaced_meanwhile(*args):
        jpeg = decode(*args)
        Image.new("RGB", SIZE, "blue").save(picture)
        return jpeg

    monkeypatch.setattr(small_copies, "thumbnail", replaced_meanwhile)
    small_copy(picture)
    monkeypatch.undo()
    assert colour(open_small(picture, 128)) == pytest.approx((0, 0, 255), abs=2)


def test_a_link_in_place_of_a_copy_is_not_followed(picture, tmp_path):
    outside, copy = tmp_path / "secret", small_copy(picture)
    outside.write_bytes(b"secret")
    os.utime(outside, ns=(0, picture.stat().st_mtime_ns))
    copy.unlink()
    copy.symlink_to(outside)
    assert small_version(picture).startswith(b"\xff\xd8") and outside.read_bytes() == b"secret"


def test_a_folder_that_takes_no_copies_is_shown_all_the_same(picture, monkeypatch):
    def refuse(path, flush):
        raise UserError("read-only")

    monkeypatch.setattr(small_copies, "atomic_path", refuse)
    assert small_copy(picture) is None and small_version(picture).startswith(b"\xff\xd8")
    assert open_small(picture, 256).size == SIZE


def test_an_image_that_is_none_is_told(tmp_path):
    (tmp_path / "c.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot read"):
        small_version(tmp_path / "c.png")


def test_copies_are_no_images_of_a_dataset(picture):
    small_version(picture)
    assert [sample.path for sample in load_folder(picture.parent)] == [picture]
    assert open_image(picture).size == SIZE
