"""Cells are written beside the drawing, and none is lost: not at the end, nor by Cancel, nor by an error."""

import errno
import threading
import time
from dataclasses import replace

import pytest
from PIL import Image

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.pictures import small_copies
from lora_bootstrap.trainer.pictures.sheet import Layout, SheetStyle
from lora_bootstrap.trainer.sweeps import sheets
from lora_bootstrap.trainer.sweeps.cells import Sweep, prompt_axis, seed_axis
from lora_bootstrap.trainer.sweeps.sheets import write_sheets
from lora_bootstrap.trainer.sweeps.writer import MOST_WAITING, CellWriter

LARGE = Image.new("RGB", (300, 200), "red")
SECONDS = 20
"""After which a thread counts as hung."""


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path / "s", "My sweep", (seed_axis(range(10)),), {"steps": 20})


class Gate:
    """Holds the writing of cells until it is opened."""

    def __init__(self, sweep, monkeypatch):
        self.open, self.threads = threading.Event(), set()
        save = Sweep.save

        def held(*args):
            assert self.open.wait(SECONDS)
            self.threads.add(threading.current_thread())
            return save(*args)

        monkeypatch.setattr(Sweep, "save", held)


def names(sweep):
    return sorted(path.name for path in sweep.cells_folder.rglob("*") if path.is_file())


def test_the_next_cell_is_drawn_while_one_is_written(sweep, monkeypatch):
    gate = Gate(sweep, monkeypatch)
    with CellWriter(sweep) as writer:
        for cell in sweep.cells[:MOST_WAITING]:
            writer.save(cell, LARGE)
        assert writer.written() == [] and sweep.counts()["done"] == 0
        gate.open.set()
        writer.flush()
        assert writer.written() == list(sweep.cells[:MOST_WAITING]) and writer.written() == []
    assert sweep.counts()["done"] == MOST_WAITING
    assert len(gate.threads) == 1 and threading.current_thread() not in gate.threads


def test_no_more_than_a_few_cells_wait(sweep, monkeypatch):
    gate = Gate(sweep, monkeypatch)
    with CellWriter(sweep) as writer:
        for cell in sweep.cells[:MOST_WAITING]:
            writer.save(cell, LARGE)
        last = threading.Thread(target=writer.save, args=(sweep.cells[MOST_WAITING], LARGE))
        last.start()
        last.join(0.05)
        assert last.is_alive()
        gate.open.set()
        last.join(SECONDS)
    assert sweep.counts()["done"] == MOST_WAITING + 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError])
def test_what_was_drawn_is_on_disk_however_the_drawing_ends(sweep, error):
    with pytest.raises(error), CellWriter(sweep) as writer:
        for cell in sweep.cells[:3]:
            writer.save(cell, LARGE)
        raise error("enough")
    assert sweep.counts()["done"] == 3


def test_a_full_disk_ends_the_drawing_with_the_error_of_the_file(sweep, monkeypatch):
    def full(self, temp, **_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match="the disk is full: .*png was not written"), CellWriter(sweep) as writer:
        for cell in sweep.cells:
            writer.save(cell, LARGE)
    with pytest.raises(UserError, match="the disk is full"), CellWriter(sweep) as writer:
        writer.save(sweep.cells[0], LARGE)  # also the last cell's
    assert names(sweep) == []


def test_a_cell_that_cannot_be_written_is_marked_and_the_others_go_on(sweep):
    class Strange:
        def save(self, temp, **_):
            raise RuntimeError("not an image")

    with CellWriter(sweep) as writer:
        for cell, image in zip(sweep.cells, (LARGE, Strange(), LARGE), strict=False):
            writer.save(cell, image)
        writer.fail(sweep.cells[3], "out of memory")
    assert sweep.counts() == {"done": 2, "failed": 2, "total": 10}
    assert sweep.problem(sweep.cells[1]) == "RuntimeError: not an image"


# -- sheets ------------------------------------------------------------------------------------------------------------


def test_sheets_that_wait_to_be_saved_have_together_no_more_pixels_than_one_may(sweep, monkeypatch):
    sweep = replace(sweep, axes=(*sweep.axes, prompt_axis("abcdef")))
    waiting, most, paint, save = [], [], Layout.paint, Image.Image.save

    def painted(self, picture):
        waiting.append(self.width * self.height)
        most.append(sum(waiting))
        return paint(self, picture)

    def saved(self, temp, **more):
        time.sleep(0.02)  # all could be painted meanwhile
        save(self, temp, **more)
        waiting.remove(self.width * self.height)

    monkeypatch.setattr(Layout, "paint", painted)
    monkeypatch.setattr(Image.Image, "save", saved)
    paths = write_sheets(sweep, SheetStyle(cell=64), "seed", "")
    assert len(paths) == len(most) == 6 and waiting == [] and max(most) > most[0]
    monkeypatch.setattr(sheets, "MOST_PIXELS", 2 * most[0])
    most.clear()
    write_sheets(sweep, SheetStyle(cell=64), "seed", "")
    assert max(most) <= 2 * most[0] and len(most) == 6


def test_a_sheet_that_cannot_be_saved_ends_with_its_error(sweep, monkeypatch):
    def full(self, temp, **_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(UserError, match="the disk is full: .*grid.png was not written"):
        write_sheets(sweep)
    assert [path.name for path in sweep.folder.iterdir()] == []


# -- small copies ------------------------------------------------------------------------------------------------------


def test_a_saved_cell_has_a_small_copy_that_goes_with_it(sweep):
    one, two = sweep.cells[:2]
    for cell in (one, two):
        sweep.save(cell, LARGE.copy())
    assert f"{one.key}.jpg" in names(sweep) and sweep.counts() == {"done": 2, "failed": 0, "total": 10}
    assert sweep.count_more() == 0
    sweep.fail(one, "no")
    sweep.save(two, Image.new("RGB", (8, 8)))
    assert names(sweep) == sorted((f"{one.key}.json", f"{two.key}.json", f"{two.key}.png"))


def test_sheets_are_made_from_the_small_copies_and_look_the_same(sweep, monkeypatch):
    for number, cell in enumerate(sweep.cells):
        image = Image.linear_gradient("L").resize((300, 300)).convert("RGB")
        image.paste((250, 20 * number, 40), (40, 40, 200, 120))
        sweep.save(cell, image)
    (path,) = write_sheets(sweep)
    with Image.open(path) as sheet:
        from_copies = sheet.convert("RGB")
    monkeypatch.setattr(small_copies, "small_copy", lambda picture: None)
    write_sheets(sweep)
    with Image.open(path) as sheet:
        from_images = sheet.convert("RGB")
    ours, theirs = (image.tobytes() for image in (from_copies, from_images))
    differences = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    assert from_copies.size == from_images.size and sum(differences) / len(differences) < 1
