"""Sweeps keep every cell with its settings, make none twice, and go on behind one that fails."""

import contextlib
import json

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.models.families import get_family
from lora_bootstrap.trainer.models.sampler import Sampler
from lora_bootstrap.trainer.sweeps.cells import prompt_axis
from lora_bootstrap.trainer.sweeps.draw import lora_sweep, run_sweep


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

    def generate(self, prompts, *, seeds, width, height, steps, cfg, at_step=None):
        self.made += len(prompts)
        return torch.full((len(prompts), 3, height, width), self.strength)


def lora_file(path, values=1.0, **metadata):
    """A LoRA file of a single number."""
    save_file({"x": torch.tensor([values])}, path, metadata={name: str(text) for name, text in metadata.items()})
    return path


@pytest.fixture
def lora(tmp_path):
    return lora_file(tmp_path / "a.safetensors")


PROMPTS, SEEDS = ("zqx, smile", "zqx, from behind"), (5,)


def run(base, lora, strengths, folder, prompts=PROMPTS, seeds=SEEDS, **more):
    """(the sweep, its events), run to its end."""
    sampler = Sampler.of(base)
    sweep = lora_sweep(folder, base, sampler, [lora], strengths=strengths, prompts=prompt_axis(prompts), seeds=seeds,
                       **more)
    return sweep, list(run_sweep(base, sweep, [lora], sampler))


def grey(sweep, cell):
    return numpy.array(Image.open(sweep.picture(cell))).mean() / 255


def test_each_cell_is_made_at_its_strength(tmp_path, lora):
    sweep, _ = run(GreyBase(), lora, (0.2, 1.0), tmp_path / "g")
    assert [grey(sweep, cell) for cell in sweep.cells] == [pytest.approx(cell.facts["strength"], abs=0.01)
                                                           for cell in sweep.cells]


def test_an_image_names_its_lora_without_where_that_lies(tmp_path, lora):
    run_folder = tmp_path / "loras" / "akane"
    run_folder.mkdir(parents=True)
    (run_folder / "run.json").write_text("{}")
    of_a_run = lora_file(run_folder / "akane-step000050.safetensors")
    for file, name in ((lora, "a.safetensors"), (of_a_run, "akane/akane-step000050.safetensors")):
        sweep, _ = run(GreyBase(), file, (1.0,), tmp_path / file.stem)
        told = Image.open(sweep.picture(sweep.cells[0])).text["lora_bootstrap"]
        assert json.loads(told)["lora"] == name
        written = [path.read_bytes() for path in sweep.folder.rglob("*") if path.is_file()]
        assert written and not any(str(tmp_path).encode() in data for data in written)


def test_cells_without_the_lora_are_made_once_for_all_strengths(tmp_path, lora):
    base = GreyBase()
    sweep, _ = run(base, lora, (0.2, 1.0), tmp_path / "g", without=True)
    assert [grey(sweep, cell) for cell in sweep.references] == [0, 0] and base.made == 4 + 2


def test_a_cell_that_is_there_is_not_made_again(tmp_path, lora):
    base = GreyBase()
    sweep, _ = run(base, lora, (0.2, 1.0), tmp_path / "g")
    sweep.picture(sweep.cells[1]).unlink()
    run(base, lora, (0.2, 0.6, 1.0), tmp_path / "g")
    assert base.made == 4 + 1 + 2


def test_another_lora_at_the_same_path_makes_new_cells(tmp_path, lora):
    first, _ = run(GreyBase(), lora, (1.0,), tmp_path / "g")
    lora_file(lora, 2.0)
    second, _ = run(GreyBase(), lora, (1.0,), tmp_path / "g")
    assert not {cell.key for cell in first.cells} & {cell.key for cell in second.cells}


def test_a_cells_settings_lie_beside_it_and_in_it(tmp_path, lora):
    sweep, _ = run(GreyBase(), lora, (0.5,), tmp_path / "g")
    facts = json.loads(sweep.record(sweep.cells[1]).read_text())
    assert (facts["prompt"], facts["seed"], facts["strength"], facts["width"]) == ("zqx, from behind", 5, 0.5, 64)
    assert json.loads(Image.open(sweep.picture(sweep.cells[1])).text["lora_bootstrap"]) == facts


def test_progress_counts_batches_and_ends_at_the_number_of_cells(tmp_path, lora):
    _, events = run(GreyBase(), lora, (0.5, 1.0), tmp_path / "g", seeds=range(10))
    assert [event.done for event in events] == [0, 16, 20, 36, 40]


def test_asked_to_stop_it_ends_after_the_batch_and_goes_on_from_there(tmp_path, lora):
    base = GreyBase()
    sampler = Sampler.of(base)
    sweep = lora_sweep(tmp_path / "g", base, sampler, [lora], strengths=(0.5, 1.0), prompts=prompt_axis(PROMPTS),
                       seeds=(5,))
    list(run_sweep(base, sweep, [lora], sampler, should_stop=lambda: True))
    assert base.made == 2
    list(run_sweep(base, sweep, [lora], sampler))
    assert base.made == 4


def test_shares_of_the_cells_are_made_apart_and_are_one_sweep(tmp_path, lora):
    base = GreyBase()
    sampler = Sampler.of(base)
    sweep = lora_sweep(tmp_path / "g", base, sampler, [lora], strengths=(0.5, 1.0), prompts=prompt_axis(PROMPTS),
                       seeds=(5,))
    keys = [cell.key for cell in sweep.cells]
    events = list(run_sweep(base, sweep, [lora], sampler, only=keys[:3]))
    assert base.made == 3 and (events[-1].done, events[-1].total) == (3, 3)
    assert [sweep.states()[key] for key in keys] == ["done"] * 3 + ["missing"]
    list(run_sweep(base, sweep, [lora], sampler, only=keys[3:]))
    assert base.made == 4 and sweep.missing() == []


class OneBad(GreyBase):
    """Fails at one prompt, alone or in a batch."""

    def generate(self, prompts, **rest):
        if "zqx, from behind" in prompts:
            raise RuntimeError("not this one")
        return super().generate(prompts, **rest)


def test_a_failing_cell_is_marked_and_the_rest_goes_on(tmp_path, lora):
    sweep, _ = run(OneBad(), lora, (0.5, 1.0), tmp_path / "g")
    states = sweep.states()
    assert [states[cell.key] for cell in sweep.cells] == ["done", "failed"] * 2
    assert sweep.problem(sweep.cells[1]) == "RuntimeError: not this one"
    base = GreyBase()
    run(base, lora, (0.5, 1.0), tmp_path / "g")
    assert base.made == 2 and set(sweep.states().values()) == {"done"}


def test_a_missing_lora_is_named(tmp_path):
    with pytest.raises(UserError, match="no LoRA file at .*gone.safetensors"):
        run(GreyBase(), tmp_path / "gone.safetensors", (1.0,), tmp_path / "g")


def test_an_axis_without_values_is_named(tmp_path, lora):
    with pytest.raises(UserError, match="the sweep has no strength and no prompt"):
        run(GreyBase(), lora, (), tmp_path / "g", prompts=())


def test_a_sampler_takes_the_familys_defaults_but_for_what_is_given():
    assert Sampler.of(GreyBase(), steps=None, cfg=7.5) == Sampler(64, 64, GreyBase.family.sample_steps, 7.5)


@pytest.mark.parametrize("side, batch, measured", [(64, 16, 64), (512, 4, 512), (1024, 1, 512)])
def test_larger_pictures_are_made_in_smaller_batches_and_compared_at_512(side, batch, measured):
    sampler = Sampler(side, side, 20, 5.0)
    assert (sampler.batch, sampler.measured_size) == (batch, (measured, measured))
