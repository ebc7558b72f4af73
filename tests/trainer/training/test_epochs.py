"""The arithmetic of epochs is that of the batches which are trained, and a preset's steps follow the images."""

import pytest

from lora_bootstrap.trainer.common.counts import count_noun
from lora_bootstrap.trainer.common.errors import UserError
from lora_bootstrap.trainer.datasets.dataset import Dataset, Sample
from lora_bootstrap.trainer.models.families import FAMILIES, Preset, get_family
from lora_bootstrap.trainer.training.config import TrainConfig
from lora_bootstrap.trainer.training.epochs import Epoch, describe_steps, set_epochs, steps_for
from lora_bootstrap.trainer.training.presets import kind_preset, plan_training, preset_config

SQUARE, WIDE, TALL = (512, 512), (1024, 512), (512, 1024)


@pytest.fixture
def dataset(tmp_path):
    def make(*groups):
        """(number, size, repeats) of each group of images."""
        return Dataset(tuple(Sample(tmp_path / f"{row}-{place}.png", size, "a girl", repeats=repeats)
                             for row, (number, size, repeats) in enumerate(groups) for place in range(number)))

    return make


def epoch(data, batch_size=1, accumulation=1):
    config = TrainConfig().replace(**{"data.batch_size": batch_size, "accumulation_steps": accumulation})
    return Epoch.of(data, config, 64)


@pytest.mark.parametrize(("groups", "batch", "accumulation", "steps", "text"), [
    (((24, SQUARE, 10),), 2, 1, 2000,
     "24 images × 10 repeats / batch 2 = 120 steps an epoch; 2000 steps = 16.7 epochs"),
    (((24, SQUARE, 1),), 1, 1, 1, "24 images / batch 1 = 24 steps an epoch; 1 step = 0.04 epochs"),
    (((1, SQUARE, 1),), 4, 1, 1, "1 image / batch 4 = 1 step an epoch; 1 step = 1 epoch"),
    (((1, SQUARE, 1),), 1, 1, 50, "1 image / batch 1 = 1 step an epoch; 50 steps = 50 epochs"),
    (((25, SQUARE, 1),), 2, 1, 26, "25 images / batch 2 = 13 steps an epoch; 26 steps = 2 epochs"),
    (((3, SQUARE, 1), (3, WIDE, 1), (3, TALL, 1)), 2, 1, 60,
     "9 images / batch 2 in 3 buckets = 6 steps an epoch; 60 steps = 10 epochs"),
    (((4, SQUARE, 1), (4, WIDE, 1)), 4, 1, 20, "8 images / batch 4 = 2 steps an epoch; 20 steps = 10 epochs"),
    (((5, SQUARE, 1),), 1, 2, 10, "5 images / batch 1 / accumulation 2 = 2.5 steps an epoch; 10 steps = 4 epochs"),
    (((4, SQUARE, 10), (20, SQUARE, 1)), 2, 1, 60,
     "24 images (60 with repeats) / batch 2 = 30 steps an epoch; 60 steps = 2 epochs"),
    (((4, SQUARE, 2), (20, (40, 40), 2)), 1, 1, 8,
     "4 images × 2 repeats / batch 1 = 8 steps an epoch; 8 steps = 1 epoch"),
])
def test_the_arithmetic_is_that_of_the_batches(dataset, groups, batch, accumulation, steps, text):
    assert epoch(dataset(*groups), batch, accumulation).describe(steps) == text


def test_images_that_are_left_out_or_never_repeated_do_not_count(dataset):
    found = epoch(dataset((4, SQUARE, 1), (2, (40, 40), 1), (3, SQUARE, 0)))
    assert found.repeats == [1] * 4 and len(found.left_out) == 2 and found.plan.batches_per_epoch == 4
    with pytest.raises(UserError, match="no image can be trained on"):
        epoch(dataset((2, (40, 40), 1)))


def test_epochs_decide_the_steps_and_are_rounded_up(dataset):
    data = dataset((5, SQUARE, 1), (2, WIDE, 3))
    config = TrainConfig(epochs=3, accumulation_steps=2)
    assert set_epochs(config, data, 64).steps == 17, "33 batches of two a step"
    assert set_epochs(TrainConfig(steps=7), data, 64).steps == 7
    with pytest.raises(UserError, match="epochs is -1; it must be 0"):
        TrainConfig(epochs=-1)


def test_steps_and_epochs_together_are_refused():
    family = get_family("sdxl")
    with pytest.raises(UserError, match="steps is 500 and epochs is 10, but only one of them can decide"):
        preset_config(family, "character", {"steps": 500, "epochs": 10})
    assert preset_config(family, "character", {"epochs": 10}).epochs == 10


@pytest.mark.parametrize(("images", "steps"), [
    (1, 1000), (12, 1000), (13, 1040), (20, 1600), (25, 2000), (30, 2400), (50, 4000), (194, 4000)])
def test_a_presets_steps_follow_the_images_between_half_and_twice(images, steps):
    assert steps_for(Preset(rank=8, alpha=8, learning_rate=1e-4, steps=2000, batch_size=1, images=25), images) == steps


def test_steps_are_within_what_guide_001_asks_for_on_sdxl():
    preset = kind_preset(get_family("sdxl"), "character")
    assert all(1500 <= steps_for(preset, images) <= 3000 for images in range(20, 31))


def test_why_is_told_and_the_sandbox_takes_the_same_for_every_set():
    preset = kind_preset(get_family("sdxl"), "style")
    assert describe_steps(preset, 30) == "the preset's 1000 steps are for 40 images, so 750 for 30"
    assert describe_steps(preset, 4) == "the preset's 1000 steps are for 40 images, so at least 500 for 4"
    assert describe_steps(preset, 100).endswith("so at most 2000 for 100")
    for kind, steps in (("style", 100), ("character", 350), ("real person", 350)):
        sandbox = kind_preset(get_family("sandbox"), kind)
        assert {steps_for(sandbox, images) for images in (1, 4, 16, 40, 200)} == {steps}
        assert describe_steps(sandbox, 4) == ""


def test_a_plan_says_how_its_steps_follow_from_the_images(dataset):
    data, sdxl = dataset((18, SQUARE, 1)), FAMILIES["sdxl"]
    planned = plan_training(sdxl, "character", {}, data)
    assert planned.config.steps == 1440
    assert planned.length == ("18 images / batch 1 = 18 steps an epoch; 1440 steps = 80 epochs (the preset's 2000 "
                              "steps are for 25 images, so 1440 for 18)")
    assert plan_training(sdxl, "character", {"steps": 90}, data).length.endswith("90 steps = 5 epochs")
    assert plan_training(sdxl, "character", {"epochs": 7}, data).config.steps == 7 * 18


def test_numbers_in_sentences_are_singular_and_plural():
    assert [count_noun(number, "step") for number in (0, 1, 1.04, 1.06, 2, 2.5, 120.0)] == [
        "0 steps", "1 step", "1 step", "1.1 steps", "2 steps", "2.5 steps", "120 steps"]


def test_images_that_are_held_back_are_measured_ten_times_unless_the_settings_say_how_often(dataset):
    family, data = get_family("sandbox"), dataset((10, SQUARE, 1))
    held = {"steps": 95, "data.validation_fraction": 0.2}
    for settings, validation, every in ((held, None, 10), ({"steps": 95}, data, 10), ({"steps": 95}, None, 0),
                                        ({**held, "validate_every": 0}, None, 0),
                                        ({**held, "validate_every": 7}, None, 7)):
        assert plan_training(family, "character", settings, data, validation).config.validate_every == every
