"""Images whose loss is unlike the others' are named, whatever their times, their detail and the step."""

import random

import pytest

from lora_bootstrap.trainer.training.watched.image_losses import LossDraw, LossFile, LossTable
from lora_bootstrap.trainer.training.watched.outliers import (
    EASY,
    HARD,
    MISFIT,
    describe_outlier,
    find_outliers,
    word_outliers,
)


def drawn(images=16, steps=200, batch=8, seed=0, detail=0.2, factor=lambda image, t: 1.0, often=()):
    """A run's losses: falling over t by two orders and over the run by half, with images of different detail."""
    rng = random.Random(seed)
    details = [rng.gauss(0, detail) for _ in range(images)]
    table = LossTable(tuple(f"{number:02d}.png" for number in range(images)))
    epoch = [*range(images), *often]
    order = [number for _ in range(1 + steps * batch // images) for number in rng.sample(epoch, len(epoch))]
    for step in range(steps):
        draws = []
        for image in order[step * batch : (step + 1) * batch]:
            t = rng.random()
            loss = 10 ** (-2 * t) * (1 - 0.5 * step / steps) * 2.718 ** (details[image] + rng.gauss(0, 0.3))
            draws.append(LossDraw(image, t, loss * factor(image, t)))
        table.add(step + 1, draws)
    return table


def test_images_that_differ_in_detail_alone_are_no_outliers():
    assert all(find_outliers(drawn(images, seed=seed)) == [] for images in (16, 40) for seed in range(5))


@pytest.mark.parametrize("images", [16, 40])
def test_an_image_that_is_hard_at_high_noise_alone_is_a_misfit(images):
    runs = [find_outliers(drawn(images, seed=seed, factor=lambda image, t: 2.5 if image == 3 and t > 0.6 else 1.0))
            for seed in range(4)]
    found = [outlier for run in runs for outlier in run]
    assert [(outlier.name, outlier.why) for outlier in found] == len(found) * [("03.png", MISFIT)] and len(found) >= 3
    assert all(1.3 < outlier.ratio < 3.6 and outlier.deviation > 2.5 for outlier in found)
    assert "Look whether its caption fits" in describe_outlier(found[0])


def test_raw_losses_would_name_another_image():
    table = drawn(factor=lambda image, t: 2.0 if image == 3 and t > 0.6 else 1.0)
    own = [[loss for at, loss in zip(table.images, table.losses, strict=True) if at == image] for image in range(16)]
    means = [sum(losses) / len(losses) for losses in own]
    assert means.index(max(means)) != 3 and [found.image for found in find_outliers(table)] == [3]


@pytest.mark.parametrize(("times", "why"), [(8.0, HARD), (0.1, EASY)])
def test_an_image_far_from_the_others_at_all_times_is_hard_or_easy(times, why):
    (found,) = find_outliers(drawn(factor=lambda image, t: times if image == 5 else 1.0))
    assert (found.name, found.why) == ("05.png", why) and found.ratio == pytest.approx(times, rel=0.4)


def test_images_that_are_repeated_more_than_the_others_are_not_compared_with_them():
    """As in a bootstrap, where a few real crops are repeated beside many generated images."""
    crops = (0, 1, 2)
    for misfits, named in ((crops, []), ((9,), [9])):
        table = drawn(40, often=2 * crops,
                      factor=lambda image, t, odd=misfits: 2.5 if image in odd and t > 0.6 else 1.0)
        assert [found.image for found in find_outliers(table)] == named


def test_a_few_draws_say_nothing():
    assert find_outliers(drawn(steps=10, factor=lambda image, t: 20.0 if image == 3 else 1.0)) == []
    assert find_outliers(drawn(images=7, factor=lambda image, t: 20.0 if image == 3 else 1.0)) == []
    assert find_outliers(LossTable()) == []


def test_a_loss_of_zero_is_left_out_instead_of_failing():
    assert find_outliers(drawn(factor=lambda image, t: 0.0)) == []


def test_of_two_images_of_one_name_only_the_one_set_aside_is_said_to_be(tmp_path):
    table = drawn(factor=lambda image, t: 2.5 if image == 3 else 1.0)
    file = LossFile(tmp_path, ["same.png" if image in (2, 3) else name for image, name in enumerate(table.names)], 0)
    for step, *draw in zip(table.steps, table.images, table.times, table.losses, strict=True):
        file.add(step, [LossDraw(*draw)])
    file.set_aside(200, [2])
    file.close()
    (line,) = word_outliers(tmp_path)
    assert line.startswith("same.png: its loss at ") and "set aside" not in line
