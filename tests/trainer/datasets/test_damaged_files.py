"""Thirty files that datasets from the internet hold: none of them crashes an audit or a preparation, and none of those
that cannot be used goes without a reason."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms

from lora_bootstrap.trainer.audits.audit import AuditConfig
from lora_bootstrap.trainer.datasets.dataset import load_folder
from lora_bootstrap.trainer.datasets.prepare import PrepareFinished, prepare
from lora_bootstrap.trainer.datasets.prepared_folder import PrepareConfig

from ...helpers.audits import run_audit

SIDE = 72


def _image(mode="RGB", seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(values).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert(mode)


def _bytes(format="PNG", image=None, seed=0, **options):
    buffer = io.BytesIO()
    (image or _image(seed=seed)).save(buffer, format, **options)
    return buffer.getvalue()


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width, height, bits, colour, rows, extra=b""):
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return _bytes("JPEG", exif=exif, quality=95, seed=1)


def _transparent_palette():
    image = _image("P", seed=2)
    image.info["transparency"] = 3
    return _bytes(image=image, transparency=3)


def _flipped_bit():
    data = bytearray(_bytes(seed=3))
    data[len(data) // 2] ^= 0xFF
    return bytes(data)


def _sixteen_bit():
    ramp = np.linspace(0, 65535, SIDE, dtype=">u2").tobytes()
    return _png(SIDE, SIDE, 16, 0, (b"\0" + ramp) * SIDE)


SMALL = _bytes(image=_image().resize((4, 4)))
UNUSABLE = {
    "empty.png": b"",
    "one_byte.jpg": b"\xff",
    "text.png": b"This is not a picture.\n",
    "page.jpg": b"<!doctype html><html><body>404 Not Found</body></html>",
    "signature_only.png": b"\x89PNG\r\n\x1a\n",
    "half.png": _bytes()[: len(_bytes()) // 2],
    "half.jpg": _bytes("JPEG")[: len(_bytes("JPEG")) // 2],
    "half.webp": _bytes("WEBP")[: len(_bytes("WEBP")) // 2],
    "half.bmp": _bytes("BMP")[: len(_bytes("BMP")) // 2],
    "bomb.png": _png(30_000, 30_000, 8, 2, b"\0" * 1000),
    "long_bomb.png": _png(2**31 - 1, 1, 8, 2, b"\0" * 100),
    "no_width.png": _png(0, 10, 8, 2, b""),
    "odd_bits.png": _png(10, 10, 3, 2, b"\0" * 310),
    "zeros.png": bytes(5000),
    "zeros_inside.jpg": _bytes("JPEG")[:200] + bytes(2000),
    "partial_download.png.crdownload.png": _bytes()[:64],
    "zip.png": b"PK\x03\x04" + bytes(100),
    "animation.gif": _bytes("GIF"),
    "scan.tiff": _bytes("TIFF"),
}
USABLE = {
    "wrong_suffix.png": _bytes("JPEG", seed=4, quality=95),
    "wrong_suffix.jpg": _bytes("WEBP", seed=5, lossless=True),
    "sixteen_bit.png": _sixteen_bit(),
    "cmyk.jpg": _bytes("JPEG", _image("CMYK", seed=6), quality=95),
    "rotated.jpg": _rotated(),
    "palette.png": _transparent_palette(),
    "one_bit.png": _bytes(image=_image("1", seed=7)),
    "grey_alpha.png": _bytes(image=_image("LA", seed=8)),
    "animated.webp": _bytes("WEBP", _image(seed=9), save_all=True, append_images=[_image(seed=10)], lossless=True),
    "animated.png": _bytes("PNG", _image(seed=11), save_all=True, append_images=[_image(seed=12)]),
    "bad_profile.png": _bytes(seed=13, icc_profile=b"not a profile"),
    "other_profile.png": _bytes(seed=14, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()),
    "progressive.jpg": _bytes("JPEG", seed=15, progressive=True, quality=95),
    "trailing.jpg": _bytes("JPEG", seed=16, quality=95) + b"a film that a phone appended",
    "bad_exif.jpg": _bytes("JPEG", seed=17, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(20), quality=95),
    "tiny.png": SMALL,
    "SHOUTING.JPG": _bytes("JPEG", seed=18, quality=95),
    "ünï cödé 狐.png": _bytes(seed=19),
}


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "set"
    home.mkdir()
    for name, data in {**UNUSABLE, **USABLE, "corrupt.png": _flipped_bit()}.items():
        (home / name).write_bytes(data)
    (home / "folder.png").mkdir()
    os.symlink(home / "itself.png", home / "itself.png")
    os.symlink(home / "nowhere", home / "nowhere.jpg")
    os.symlink(home, home / "loop")
    os.symlink(home / "ring", home / "ring")
    return home


LINKS = ("folder.png", "itself.png", "nowhere.jpg")


def test_there_are_at_least_thirty_of_them():
    assert len(UNUSABLE) + len(USABLE) + len(LINKS) + 2 >= 30


def test_every_file_that_cannot_be_used_is_named_with_its_reason(folder):
    dataset = load_folder(folder)
    skipped = {note.split(": ")[0].removeprefix("skipped ").removeprefix("folder "): note for note in dataset.notes
               if note.startswith("skipped")}
    read = {sample.path.name for sample in dataset}
    assert set(UNUSABLE) | set(LINKS) | {"loop"} <= set(skipped)
    assert all(len(note.split(": ", 1)[1]) > 10 and "\n" not in note for note in skipped.values())
    assert set(USABLE) <= read
    assert not read & set(UNUSABLE)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_audit_lists_them_all_and_does_not_crash(folder, tmp_path, workers):
    found = run_audit(load_folder(folder), AuditConfig(family="sandbox", workers=workers), tmp_path / "cache")
    by_name = {picture.name: picture for picture in found.pictures}
    assert set(by_name) == {*USABLE, "corrupt.png"}
    assert len(found.left_out) >= len(UNUSABLE) + len(LINKS)
    # Its header is whole, so only decoding tells.
    assert by_name["corrupt.png"].figures is None
    assert [f.code for f in by_name["corrupt.png"].findings if f.severity == "fault"] == ["unreadable"]
    assert all(picture.figures is not None for name, picture in by_name.items() if name != "corrupt.png")
    assert by_name["tiny.png"].findings[0].code == "small"
    kept, reasons = found.without("fault")
    assert len(kept) + len(reasons) == len(found.pictures)
    assert any("corrupt.png" in reason and "cannot read" in reason for reason in reasons)


def test_a_preparation_leaves_out_what_it_cannot_use_and_says_so(folder, tmp_path):
    *_, last = prepare(load_folder(folder), PrepareConfig(family="sandbox", crop="none"), tmp_path / "out")
    assert isinstance(last, PrepareFinished)
    left_out = {picture.source.name for picture in last.pictures if picture.path is None}
    assert left_out == {"corrupt.png", "tiny.png"}
    assert len(last.dataset) == len(USABLE) - 1
    assert all(any(name in note for note in last.dataset.notes) for name in left_out)
    assert {sample.size for sample in last.dataset} == {(64, 64)}
