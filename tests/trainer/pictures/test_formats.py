"""Only the formats that are wanted are read: Pillow knows many more, and starts other programs for some of them."""

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.datasets.masks import has_alpha
from lora_bootstrap.trainer.pictures.images import image_size, open_alpha, open_image
from lora_bootstrap.trainer.pictures.thumbnails import ThumbnailStyle, data_uri, thumbnail

PACK = Path(__file__).parents[3]
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def ghostscript(tmp_path, monkeypatch):
    """A stand-in for Ghostscript on the PATH; the file that it leaves when it is called."""
    called, program = tmp_path / "called", tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho called >> '{called}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return called


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp"])
@pytest.mark.parametrize("read", [
    open_image, image_size, open_alpha, data_uri, lambda path: thumbnail(path, ThumbnailStyle(), 0)],
    ids=["open_image", "image_size", "open_alpha", "data_uri", "thumbnail"])
def test_postscript_under_the_name_of_an_image_starts_no_ghostscript(tmp_path, ghostscript, name, read):
    (tmp_path / name).write_bytes(EPS)
    with pytest.raises(UserError, match=rf"cannot read .*{name}: its content is not a png, jpg, webp or bmp"):
        read(tmp_path / name)
    assert not ghostscript.exists()


def test_postscript_in_a_dataset_is_named_and_left_out_as_an_image_and_as_a_mask(tmp_path, ghostscript):
    folder = tmp_path / "set"
    (folder / "masks").mkdir(parents=True)
    Image.new("RGB", (64, 64), "red").save(folder / "a.png")
    for name in ("b.png", "masks/a.png"):
        (folder / name).write_bytes(EPS)
    dataset = load_folder(folder)
    assert [sample.path.name for sample in dataset] == ["a.png"]
    assert any(note.startswith("skipped b.png: cannot read") for note in dataset.notes)
    assert not has_alpha(folder / "b.png")
    for sample in dataset:
        if sample.mask is not None:
            with pytest.raises(UserError, match="cannot read"):
                sample.load_mask()
    assert not ghostscript.exists()


@pytest.mark.parametrize("file_format", ["GIF", "TIFF", "PPM", "TGA", "ICO", "PCX", "SGI", "DIB", "IM"])
def test_other_formats_under_a_wanted_ending_are_refused_with_the_remedy(tmp_path, file_format):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", format=file_format)
    with pytest.raises(UserError, match="whatever its name says. Replace it with an intact png, jpg, webp"):
        open_image(tmp_path / "a.png")


def test_a_phones_multi_picture_jpeg_is_a_jpeg(tmp_path):
    first, second = Image.new("RGB", (64, 32), "red"), Image.new("RGB", (64, 32), "blue")
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    assert image_size(tmp_path / "a.jpg") == (64, 32)
    assert open_image(tmp_path / "a.jpg").getpixel((5, 5))[0] > 250


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("read", [open_image, image_size, open_alpha, has_alpha])
def test_a_pipe_under_the_name_of_an_image_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "x.png")
    if read is has_alpha:
        assert not read(tmp_path / "x.png")
        return
    with pytest.raises(UserError, match=r"cannot read .*x\.png: it is not a file\."):
        read(tmp_path / "x.png")


def test_images_are_opened_in_one_place_only():
    allowed = {PACK / "trainer" / "pictures" / "images.py"}
    openers = re.compile(r"\bImage\.open\(|\bImageFile\.Parser|\bimread\(|\bopen_image_file\(|from PIL\.Image import")
    found = [str(path.relative_to(PACK)) for room in ("trainer", "host", "nodes", "sandbox")
             for path in (PACK / room).rglob("*.py") if path not in allowed and openers.search(path.read_text("utf-8"))]
    assert not found, f"use open_image of trainer/pictures/images.py in {found}"
