"""Memory an image takes while it is opened, measured in a process of its own: Pillow's buffers are not Python's."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.pictures import room
from lora_bootstrap.trainer.pictures.images import image_size, open_image
from lora_bootstrap.trainer.pictures.room import check_room, room_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure the peak")

SIDE = 3000
STRIPS = 24 * 2**20
"""Bytes that do not grow with the image: strips of it in several modes."""

_PROBE = """
import sys
from lora_bootstrap.trainer.pictures.images import open_image

def status(name):
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith(name))

for path, shown_at in zip(sys.argv[1::2], sys.argv[2::2]):
    before = status("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
    image = open_image(path, shown_at=int(shown_at) or None)
    print(status("VmHWM") - before)
    del image
"""


def _grey16(path):
    Image.new("I;16", (SIDE, SIDE), 21845).save(path)


MODES = {
    # name: (how it is made, most bytes a pixel while it is opened)
    "grey16.png": (_grey16, 2 + 4),
    "rgba.png": (lambda path: Image.new("RGBA", (SIDE, SIDE), (1, 2, 3, 90)).save(path), 4 + 4),
    "la.png": (lambda path: Image.new("LA", (SIDE, SIDE), (9, 90)).save(path), 4 + 4),
    "palette.png": (lambda path: Image.new("P", (SIDE, SIDE), 3).save(path, transparency=3), 1 + 4),
    "cmyk.jpg": (lambda path: Image.new("CMYK", (SIDE, SIDE), (9, 9, 9, 9)).save(path), 4 + 4),
    "rgb.png": (lambda path: Image.new("RGB", (SIDE, SIDE), (9, 9, 9)).save(path), 4),
    "rgb.webp": (lambda path: Image.new("RGB", (SIDE, SIDE), (9, 9, 9)).save(path, method=0), 13 + 4),
}


def _peaks(*asked: tuple[Path, int]) -> list[int]:
    words = [str(word) for pair in asked for word in pair]
    done = subprocess.run([sys.executable, "-c", _PROBE, *words], capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


def test_opening_an_image_holds_its_pixels_and_the_result_once(tmp_path):
    for name, (make, _) in MODES.items():
        make(tmp_path / name)
    peaks = _peaks(*((tmp_path / name, 0) for name in MODES))
    for (name, (_, most)), peak in zip(MODES.items(), peaks, strict=True):
        assert peak <= most * SIDE**2 + STRIPS, f"{name}: {peak / SIDE**2:.1f} bytes a pixel"


def test_a_thumbnail_of_a_large_photograph_is_decoded_small(tmp_path):
    Image.new("RGB", (SIDE, SIDE), "red").save(tmp_path / "a.jpg")
    (peak,) = _peaks((tmp_path / "a.jpg", 256))
    assert peak < 1.5 * SIDE**2
    assert open_image(tmp_path / "a.jpg", shown_at=256).size == (750, 750)


@pytest.mark.parametrize("name", ["grey16.png", "rgba.png", "palette.png", "rgb.png", "cmyk.jpg"])
def test_what_is_only_shown_may_come_back_smaller_but_not_below_twice_that(tmp_path, name):
    MODES[name][0](tmp_path / name)
    small = open_image(tmp_path / name, shown_at=200)
    assert 400 <= max(small.size) <= 800
    assert small.getpixel((50, 50)) == open_image(tmp_path / name).getpixel((50, 50))
    assert open_image(tmp_path / name, shown_at=SIDE).size == (SIDE, SIDE)


@pytest.mark.parametrize(("mode", "file_format", "side", "gigabytes"), [
    ("RGB", "JPEG", 15_000, None), ("RGBA", "PNG", 15_000, None), ("I;16", "PNG", 15_800, None),
    ("RGBA", "WEBP", 12_000, "2.4"), ("RGB", "WEBP", 9_000, None)])
def test_the_limit_is_on_bytes_and_a_format_that_needs_more_may_have_fewer_pixels(mode, file_format, side, gigabytes):
    if gigabytes is None:
        assert check_room("a.png", (side, side), mode, file_format) <= room.MAX_BYTES
        return
    with pytest.raises(UserError, match=rf"^a.png is a WEBP of 12000 x 12000 pixels, which takes {gigabytes} GB to "
                       "open; at most 2 GB are allowed. Make it smaller.$"):
        check_room("a.png", (side, side), mode, file_format)


def test_images_that_do_not_fit_together_are_opened_one_after_the_other():
    inside, most = [], []

    def work():
        with room_for(room.MAX_BYTES * 2 // 5), room_for(room.MAX_BYTES):  # the second is the same thread's
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert len(most) == 8
    assert max(most) == 2
    with room_for(room.MAX_BYTES + 1):  # alone it gets in
        pass


def test_room_is_given_back_when_an_image_is_damaged(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    for _ in range(3):
        with pytest.raises(UserError, match="cannot read"):
            image_size(tmp_path / "a.png")
    with room_for(room.MAX_BYTES):
        pass
