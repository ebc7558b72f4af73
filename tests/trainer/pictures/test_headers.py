"""The quick look at a header: right where it answers, silent where it is not sure."""

import io

import numpy as np
import pytest
from PIL import Image

from lora_bootstrap.trainer.pictures.headers import HEAD_BYTES, plain_size


def _encoded(mode="RGB", size=(70, 50), kind="PNG", **options):
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).convert(mode).save(buffer, format=kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("mode", "kind", "options"), [
    ("RGB", "PNG", {}), ("RGBA", "PNG", {}), ("L", "PNG", {"dpi": (72, 72)}), ("P", "PNG", {}), ("1", "PNG", {}),
    ("RGB", "JPEG", {}), ("L", "JPEG", {}), ("CMYK", "JPEG", {}), ("RGB", "JPEG", {"progressive": True}),
    ("RGB", "JPEG", {"comment": "hello"})])
def test_plain_headers_give_their_size(mode, kind, options):
    assert plain_size(_encoded(mode, (70, 50), kind, **options)[:HEAD_BYTES]) == (70, 50)


def test_what_could_be_turned_or_is_another_format_is_left_to_pillow():
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ("PNG", "JPEG"):
        assert plain_size(_encoded(kind=kind, exif=exif)) is None
    assert plain_size(_encoded(kind="JPEG", xmp=b"<x/>")) is None
    for other in (_encoded(kind="WEBP"), _encoded(kind="BMP"), b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        assert plain_size(other) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_whatever_the_bytes_an_answer_is_what_pillow_says_or_the_file_is_damaged(kind):
    rng = np.random.default_rng(0)
    whole = _encoded(kind=kind)
    for length in range(0, 200):
        assert plain_size(whole[:length]) in (None, (70, 50))
    answers = set()
    for _ in range(300):
        broken = bytearray(whole[:HEAD_BYTES])
        broken[rng.integers(0, 40)] = rng.integers(0, 256)
        answers.add(plain_size(bytes(broken)))
    assert answers == {None, (70, 50)}
