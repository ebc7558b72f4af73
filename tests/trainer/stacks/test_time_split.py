"""A LoRA's strength over the sampling steps."""

import pytest

from lora_bootstrap.trainer.stacks.time_split import (
    CUSTOM,
    PRESETS,
    WEAK_EARLY,
    Curve,
    curves_of,
    describe_curves,
)


def test_a_sudden_curve_changes_once_at_its_share_of_the_steps():
    assert WEAK_EARLY.stairs == [(0.0, 0.7), (0.4, 2.3)]
    assert [WEAK_EARLY.at(step / 10) for step in range(10)] == [0.7] * 4 + [2.3] * 6


def test_a_gradual_curve_has_at_each_share_the_last_factor_before_it():
    curve = Curve(1.0, 0.5, until=0.5)
    assert [curve.at(share) for share in (0, 0.09, 0.1, 0.5, 1)] == pytest.approx([1, 1, 0.9, 0.5, 0.5])


def test_what_is_recorded_of_a_split_says_every_number_of_the_curves_that_count():
    numbers = (1.0, 0.7, 0.25, 1.5, 0.3)
    custom = curves_of(CUSTOM, *numbers)
    assert describe_curves(custom, alone=True) == "x 0.25 until 0, x 1.5 from 0.3 of the steps"
    assert describe_curves(custom, alone=False) == (
        "character x 1 until 0, x 0.7 from 0.3 of the steps; style x 0.25 until 0, x 1.5 from 0.3 of the steps")
    assert curves_of("weak early, strong late", *numbers) == PRESETS["weak early, strong late"]
