"""Any picture file → upright sRGB pixels, or one clear line."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.pictures.images import image_size, open_image, to_image, to_tensor


def _noise(size, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values, "RGB")


def _grey16_png(values: np.ndarray) -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, 0, 0, 0, 0)),
              (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_exif_orientation_is_undone_and_the_size_agrees(tmp_path, orientation, suffix):
    upright = _noise((6, 4))
    stored = {1: upright, 2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
              3: upright.transpose(Image.Transpose.ROTATE_180), 4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
              5: upright.transpose(Image.Transpose.TRANSPOSE), 6: upright.transpose(Image.Transpose.ROTATE_90),
              7: upright.transpose(Image.Transpose.TRANSVERSE), 8: upright.transpose(Image.Transpose.ROTATE_270)}
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored[orientation].save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    assert np.array_equal(np.asarray(open_image(path)), np.asarray(upright))
    assert image_size(path) == (6, 4)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_the_chosen_background(tmp_path, mode):
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 2, 4))
    image.convert(mode).save(tmp_path / "a.png")
    pixels = np.asarray(open_image(tmp_path / "a.png", "#00ff80"))
    assert (pixels[:, :2] == 0).all()
    assert (pixels[:, 2:] == (0, 255, 128)).all()


def test_half_transparent_white_on_black_is_middle_grey(tmp_path):
    Image.new("RGBA", (2, 2), (255, 255, 255, 128)).save(tmp_path / "a.png")
    assert (np.asarray(open_image(tmp_path / "a.png", "black")) == 128).all()


def test_a_transparent_colour_of_a_png_without_alpha_is_transparent(tmp_path):
    Image.new("RGB", (2, 2), (10, 20, 30)).save(tmp_path / "a.png", transparency=(10, 20, 30))
    assert (np.asarray(open_image(tmp_path / "a.png")) == 255).all()


def test_sixteen_bit_greys_are_scaled_not_clipped(tmp_path):
    (tmp_path / "a.png").write_bytes(_grey16_png(np.array([[0, 257, 32896, 65535]])))
    assert np.asarray(open_image(tmp_path / "a.png"))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb_of_nearly_the_same_colour(tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode in ("CMYK", "YCbCr") else "a.png")
    Image.new("RGB", (16, 16), "white").convert(mode).save(path)
    image = open_image(path)
    assert image.mode == "RGB"
    assert np.asarray(image).min() >= 250


def test_colours_come_from_their_profile_to_srgb(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (2, 2), (90, 90, 90)).save(path, icc_profile=_linear_grey_profile())
    grey = np.asarray(open_image(path))[0, 0]
    assert abs(int(grey[0]) - 159) <= 2  # linear 90/255 = 0.353 → sRGB 0.629
    assert grey.tolist() == [grey[0]] * 3


def _linear_grey_profile() -> bytes:
    """An sRGB profile whose tone curves are made linear: same primaries, gamma 1."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    for entry in range(count):
        name, offset, size = struct.unpack(">4sII", data[132 + 12 * entry:144 + 12 * entry])
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            curve = b"curv" + bytes(8)  # no entries: the identity
            data[offset:offset + 12] = curve
            data[132 + 12 * entry + 8:144 + 12 * entry] = struct.pack(">I", 12)
        if name == b"desc":  # so that it does not pass for sRGB
            data[offset:offset + size] = bytes(data[offset:offset + size]).replace(b"s\0R\0G\0B", b"l\0i\0n\0r")
    return bytes(data)


def test_a_damaged_profile_leaves_the_pixels_as_they_are(tmp_path):
    Image.new("RGB", (2, 2), (90, 91, 92)).save(tmp_path / "a.png", icc_profile=b"no profile")
    assert np.asarray(open_image(tmp_path / "a.png"))[0, 0].tolist() == [90, 91, 92]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_a_truncated_file_is_one_clear_line(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    _noise((64, 64)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) * 2 // 3])
    for read in (open_image, image_size):
        with pytest.raises(UserError, match=r"cannot read .*a\.") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_jpeg_with_bytes_after_its_end_is_whole(tmp_path):
    _noise((64, 32)).save(tmp_path / "a.jpg")
    with (tmp_path / "a.jpg").open("ab") as file:
        file.write(b"a short film, as phones append it")
    assert image_size(tmp_path / "a.jpg") == (64, 32)


@pytest.mark.parametrize("content", [b"", b"not a picture at all", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_is_one_clear_line(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    for read in (open_image, image_size):
        with pytest.raises(UserError, match="cannot read"):
            read(tmp_path / "a.png")


def test_a_gigantic_picture_is_refused_before_its_pixels_are_read(tmp_path):
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
    data += struct.pack(">I", zlib.crc32(b"IHDR" + header)) + struct.pack(">I", 0) + b"IDAT" + bytes(4)
    (tmp_path / "a.png").write_bytes(data)
    limit = Image.MAX_IMAGE_PIXELS
    for read in (open_image, image_size):
        with pytest.raises(UserError, match="20000 x 20000 pixels; at most 250 million"):
            read(tmp_path / "a.png")
    assert Image.MAX_IMAGE_PIXELS == limit


def test_an_unknown_background_names_what_is_valid(tmp_path):
    _noise((4, 4)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="'whitish' is not a colour; use a name"):
        open_image(tmp_path / "a.png", "whitish")


def test_damaged_files_never_raise_anything_but_a_user_error(tmp_path):
    rng = np.random.default_rng(0)
    whole = {}
    for suffix in ("png", "jpg", "webp", "bmp"):
        buffer = io.BytesIO()
        _noise((24, 24)).save(buffer, format="JPEG" if suffix == "jpg" else suffix.upper())
        whole[suffix] = buffer.getvalue()
    refused = 0
    for suffix, data in whole.items():
        for _ in range(40):
            broken = bytearray(data)
            for place in rng.integers(0, len(data), 8):
                broken[place] = rng.integers(0, 256)
            (tmp_path / f"a.{suffix}").write_bytes(broken)
            for read in (open_image, image_size):
                try:
                    read(tmp_path / f"a.{suffix}")
                except UserError:
                    refused += 1
    assert refused > 40


def test_tensors_and_pictures_are_the_same_pixels():
    image = _noise((5, 3))
    tensor = to_tensor(image)
    assert tensor.shape == (3, 3, 5) and tensor.dtype == torch.float32
    assert float(tensor.max()) <= 1.0
    assert np.array_equal(np.asarray(to_image(tensor)), np.asarray(image))
    assert np.array_equal(np.asarray(to_image(tensor[None] + 0.001)), np.asarray(image))
    assert np.asarray(to_image(torch.full((3, 1, 1), 7.0))).tolist() == [[[255, 255, 255]]]
    with pytest.raises(ValueError):
        to_image(torch.zeros(2, 3, 4, 4))
