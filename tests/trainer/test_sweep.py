"""Sweeps keep every cell with its settings, make none twice, and compose labelled sheets."""

import contextlib
import json

import numpy
import pytest
import torch
from PIL import Image

from lora_bootstrap.trainer.errors import UserError
from lora_bootstrap.trainer.families import get_family
from lora_bootstrap.trainer.sweep import (
    MARGIN,
    Sampler,
    compose_grid,
    contact_sheet,
    load_grid,
    strength_grid,
    sweep_strengths,
)


class GreyBase:
    """Pictures as grey as the LoRA is strong."""

    family = get_family("sandbox")
    fingerprint = "grey"
    strength, made = 0.0, 0

    @contextlib.contextmanager
    def lora(self, path, strength=1.0):
        self.set_strength(strength)
        yield self
        self.strength = 0.0

    def set_strength(self, value):
        self.strength = value

    def generate(self, prompts, *, seeds, width, height, steps, cfg):
        self.made += len(prompts)
        return torch.full((len(prompts), 3, height, width), self.strength)


@pytest.fixture
def lora(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"a lora")
    return path


PROMPTS, SEEDS = ("zqx, smile", "zqx, from behind"), (5, 6)


def test_each_cell_is_made_at_its_columns_strength(tmp_path, lora):
    grid = strength_grid(GreyBase(), lora, PROMPTS, SEEDS, (0.2, 1.0), folder=tmp_path / "g")
    values = [[numpy.array(Image.open(cell)).mean() / 255 for cell in row] for row in grid.cells]
    assert values == [[pytest.approx(0.2, abs=0.01), pytest.approx(1.0)]] * 2


def test_a_cell_that_is_there_is_not_made_again(tmp_path, lora):
    base = GreyBase()
    grid = strength_grid(base, lora, PROMPTS, SEEDS, (0.2, 1.0), folder=tmp_path / "g")
    grid.cells[1][0].unlink()
    strength_grid(base, lora, PROMPTS, SEEDS, (0.2, 0.6, 1.0), folder=tmp_path / "g")
    assert base.made == 4 + 1 + 2


def test_another_lora_at_the_same_path_makes_new_cells(tmp_path, lora):
    first = strength_grid(GreyBase(), lora, PROMPTS, SEEDS, (1.0,), folder=tmp_path / "g")
    lora.write_bytes(b"another")
    assert first.cells != strength_grid(GreyBase(), lora, PROMPTS, SEEDS, (1.0,), folder=tmp_path / "g").cells


def test_a_cells_settings_lie_beside_it_and_the_manifest_finds_it(tmp_path, lora):
    grid = strength_grid(GreyBase(), lora, PROMPTS, SEEDS, (0.5,), folder=tmp_path / "g", title="t")
    facts = json.loads(grid.cells[1][0].with_suffix(".json").read_text())
    assert (facts["prompt"], facts["seed"], facts["strength"], facts["width"]) == ("zqx, from behind", 6, 0.5, 64)
    assert load_grid(tmp_path / "g") == grid


def test_progress_ends_at_the_number_of_cells(tmp_path, lora):
    events = list(sweep_strengths(GreyBase(), lora, PROMPTS * 5, SEEDS * 5, (0.5, 1.0), folder=tmp_path / "g"))
    assert [event.done for event in events] == [10, 20]
    assert {event.total for event in events} == {20}


@pytest.mark.parametrize("prompts, seeds, strengths, words", [
    ((), (), (1.0,), "0 prompts"), (("a",), (1, 2), (1.0,), "2 seeds"), (("a",), (1,), (), "0 strengths")])
def test_an_impossible_grid_says_what_it_got(tmp_path, lora, prompts, seeds, strengths, words):
    with pytest.raises(UserError, match=words):
        strength_grid(GreyBase(), lora, prompts, seeds, strengths, folder=tmp_path)


def test_a_missing_lora_is_named(tmp_path):
    with pytest.raises(UserError, match="no LoRA file at .*gone.safetensors"):
        strength_grid(GreyBase(), tmp_path / "gone.safetensors", ("a",), (1,), (1.0,), folder=tmp_path)


def test_a_sheet_places_every_picture_where_its_row_and_column_are():
    colours = [["red", "lime"], ["blue", "black"]]
    images = [[Image.new("RGB", (64, 64), colour) for colour in row] for row in colours]
    sheet = compose_grid(images, cell=100)
    assert sheet.size == (MARGIN + 2 * 110, MARGIN + 2 * 110)
    centres = [[sheet.getpixel((60 + 110 * column, 60 + 110 * row)) for column in range(2)] for row in range(2)]
    assert centres == [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (0, 0, 0)]]


def test_labels_and_title_take_room_and_are_drawn():
    images = [[Image.new("RGB", (64, 64), "white")]]
    bare, full = compose_grid(images), compose_grid(images, ["a long label " * 9], ["0.5"], "Title")
    assert full.width > bare.width and full.height > bare.height
    assert numpy.array(full).min() < 60 and numpy.array(bare).min() == 255


def test_a_wide_picture_keeps_its_shape():
    sheet = numpy.array(compose_grid([[Image.new("RGB", (200, 50), "black")]], cell=100))
    rows, columns = (numpy.flatnonzero((sheet < 128).any(axis=axis).any(-1)) for axis in (1, 0))
    assert (len(columns), len(rows)) == (100, 25)


def test_a_contact_sheet_breaks_into_rows():
    sheet = contact_sheet([Image.new("RGB", (8, 8), "red")] * 5, columns=3, cell=20)
    assert sheet.size == (MARGIN + 3 * 30, MARGIN + 2 * 30)


def test_a_sampler_takes_the_familys_defaults_but_for_what_is_given():
    assert Sampler.of(GreyBase(), steps=None, cfg=7.5) == Sampler(64, 64, GreyBase.family.sample_steps, 7.5)


@pytest.mark.parametrize("side, batch, measured", [(64, 16, 64), (512, 4, 512), (1024, 1, 512)])
def test_larger_pictures_are_made_in_smaller_batches_and_compared_at_512(side, batch, measured):
    sampler = Sampler(side, side, 20, 5.0)
    assert (sampler.batch, sampler.measured_size) == (batch, (measured, measured))
