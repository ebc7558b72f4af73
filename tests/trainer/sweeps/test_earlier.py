"""What an earlier version drew stays: its plan, its images, and the marks on those that are drawn again the same."""

import json

import pytest
from PIL import Image

from lora_bootstrap.trainer.sweeps.cells import EARLIER, Sweep, cell_key, prompt_axis, seed_axis
from lora_bootstrap.trainer.sweeps.earlier import take_over_marks
from lora_bootstrap.trainer.sweeps.marks import Marks

AXES = (prompt_axis(["a", "b"]), seed_axis([1, 2]))


def draw(sweep, shades):
    for cell, shade in zip(sweep.cells, shades, strict=True):
        sweep.save(cell, Image.new("RGB", (4, 4), (shade, 0, 0)))


@pytest.fixture
def earlier(tmp_path):
    """A sweep as an earlier version left it, with its first cell marked as the best, and two hidden."""
    sweep = Sweep(tmp_path, "a title", AXES, {"base": "old"})
    sweep.write()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["keys"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    draw(sweep, (10, 20, 30, 40))
    marks = Marks().changed(sweep.cells[0].key, [sweep.cells[1].key, sweep.cells[2].key])
    marks.save(tmp_path / "marks.json")
    return sweep


def test_a_sweep_of_an_earlier_version_is_read_with_its_images(earlier):
    loaded = Sweep.load(earlier.folder)
    assert set(loaded.states().values()) == {"done"} and [cell.key for cell in loaded.cells] == [
        cell_key(cell.facts) for cell in earlier.cells]


def test_its_plan_and_images_stay_when_it_is_drawn_again(earlier):
    for _ in range(2):
        Sweep(earlier.folder, "a title", AXES, {"base": "new"}).write()
    assert [cell.key for cell in Sweep.load(earlier.folder, EARLIER).cells] == [cell.key for cell in earlier.cells]
    assert all(earlier.picture(cell).is_file() for cell in earlier.cells)
    assert set(Sweep.load(earlier.folder).states().values()) == {"missing"}


def test_marks_go_over_to_the_cells_that_are_the_same_images(earlier):
    new = Sweep(earlier.folder, "a title", AXES, {"base": "new"})
    new.write()
    draw(new, (10, 20, 99, 40))
    for _ in range(2):
        take_over_marks(new)
        marks = Marks.load(earlier.folder / "marks.json")
        assert marks.best == new.cells[0].key and marks.revision == 2
        assert marks.hidden == (new.cells[1].key, earlier.cells[2].key)


def test_without_an_earlier_plan_marks_stay_as_they_are(tmp_path):
    sweep = Sweep(tmp_path, "a title", AXES)
    sweep.write()
    sweep.write()
    Marks().changed("0" * 16, []).save(tmp_path / "marks.json")
    take_over_marks(sweep)
    assert not (tmp_path / EARLIER).exists() and Marks.load(tmp_path / "marks.json").revision == 1
