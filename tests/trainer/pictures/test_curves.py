"""Losses made readable, and the pictures of them."""

import math
import re

import pytest

from lora_bootstrap.trainer.pictures.curves import Axes, Smoother, averaged, loss_curve, loss_plot, thinned, ticks


def test_the_running_mean_starts_at_the_first_loss_and_forgets_slowly():
    smoother = Smoother(steps=400)
    assert smoother.add(4.0) == pytest.approx(4.0)
    assert smoother.decay == pytest.approx(0.95)
    for _ in range(200):
        value = smoother.add(1.0)
    assert value == pytest.approx(1.0, abs=1e-3)
    assert Smoother(10).decay == 0.9 and Smoother(100_000).decay == pytest.approx(0.995)


def test_losses_that_come_in_two_parts_are_smoothed_as_in_one():
    losses = [(step, 1 / step) for step in range(1, 41)]
    smoother = Smoother(40)
    assert smoother.smooth(losses[:15]) + smoother.smooth(losses[15:]) == Smoother(40).smooth(losses)


def test_points_are_thinned_evenly_to_their_ends():
    assert thinned([1, 2, 3], 3) == [1, 2, 3] and thinned(list(range(10)), 2) == [0, 9]


def test_the_axes_put_the_first_step_left_and_the_highest_value_on_top_and_keep_wild_values_inside():
    axes = Axes((10, 20, 110, 70), steps=50, low=1.0, high=2.0, scale=2)
    assert axes.place(0, 1.0) == (20, 140) and axes.place(50, 2.0) == (220, 40) and axes.place(25, 1.5) == (120, 90)
    assert axes.place(50, 99.0) == axes.place(50, 2.0)


# -- a picture for a graph ---------------------------------------------------------------------------------------------


def count(image, colour):
    return sum(n for n, pixel in image.getcolors(1 << 20) if all(abs(a - b) < 24 for a, b in zip(pixel, colour,
                                                                                                 strict=True)))


def test_the_plot_draws_the_mean_strong_the_steps_faint_and_validation_in_its_own_colour():
    losses = [(step, 0.5 + 0.4 * math.cos(step)) for step in range(1, 101)]
    bare, drawn, validated = (loss_plot("girl", 100, *curves) for curves in (
        ((),), (losses,), (losses, [(50, 0.5), (100, 0.4)])))
    blue, faint, orange = (31, 95, 191), (185, 205, 234), (217, 115, 26)
    assert drawn.size == (768, 432)
    assert count(drawn, blue) > count(bare, blue) + 500 and count(drawn, faint) > count(bare, faint) + 500
    assert count(drawn, orange) == 0 and count(validated, orange) > 100


def test_one_wild_step_does_not_flatten_the_curve():
    losses = [(step, 1 - step / 200) for step in range(1, 101)]
    calm, wild = loss_plot("a", 100, losses), loss_plot("a", 100, [*losses[:50], (51, 1e4), *losses[51:]])
    blue = (31, 95, 191)
    rows = [[y for y in range(60, 380) if any(all(abs(a - b) < 24 for a, b in zip(image.getpixel((x, y)), blue,
            strict=True)) for x in (120, 300))] for image in (calm, wild)]
    assert rows[0] and rows[1], "the curve is within the picture before the wild step"


def test_a_flat_or_short_run_can_be_drawn():
    for losses in ([], [(1, 0.5)], [(1, 0.0), (2, 0.0)], [(1, -1.0), (2, -1.0)]):
        assert loss_plot("x", 2, losses).size == (768, 432)


def test_ticks_are_few_and_round():
    assert ticks(0, 350, 8) == [0, 50, 100, 150, 200, 250, 300, 350]
    assert ticks(0.013, 0.094, 6) == pytest.approx([0.02, 0.04, 0.06, 0.08])
    assert ticks(0, 1, 8) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])


# -- a picture for a page ----------------------------------------------------------------------------------------------


def test_a_long_curve_is_averaged_into_few_points():
    points = [(step, float(step % 2)) for step in range(1, 601)]
    assert len(averaged(points)) == 60
    assert {value for _, value in averaged(points)} == {0.5}


def test_a_curve_starts_high_and_ends_low_when_the_loss_falls():
    svg = loss_curve([(step, 1 / step) for step in range(1, 51)], "loss <1>")
    ys = [float(pair.split(",")[1]) for pair in re.search('points="([^"]+)"', svg)[1].split()]
    assert ys == sorted(ys) and ys[-1] - ys[0] > 100
    assert "loss &lt;1&gt;" in svg
    assert loss_curve([(1, 0.5)], "one") == ""
