"""The smallest share of recomputed blocks that fits, from few counts."""

import pytest

from lora_bootstrap.trainer.memory.counter import TookTooLong
from lora_bootstrap.trainer.memory.fit import smallest_share


@pytest.fixture
def counted():
    """needed(share) of a step that takes 100 without recomputing and 20 with all blocks; what was asked."""
    asked = []

    def make(curve=lambda share: 100 - 80 * share):
        def needed(share):
            asked.append(share)
            return round(curve(share))
        return needed

    make.asked = asked
    return make


@pytest.mark.parametrize(("room", "share", "needed", "fits", "counts"), [
    (100, 0.0, 100, True, 1), (99, 0.05, 96, True, 3), (60, 0.5, 60, True, 3), (59, 0.55, 56, True, 3),
    (20, 1.0, 20, True, 2), (19, 1.0, 20, False, 2)])
def test_the_share_is_the_smallest_that_fits(room, share, needed, fits, counts, counted):
    found = smallest_share(counted(), room)
    assert (found.share, found.needed, found.fits) == (pytest.approx(share), needed, fits)
    assert len(counted.asked) == counts


def test_a_share_that_turns_out_too_small_is_raised(counted):
    found = smallest_share(counted(lambda share: 100 - 80 * share**1.5), 60)
    assert (found.share, found.needed, found.fits) == (pytest.approx(0.65), 58, True)
    assert len(counted.asked) == 4


def test_all_blocks_are_taken_where_two_guesses_were_too_small(counted):
    found = smallest_share(counted(lambda share: 20 if share == 1 else 100), 60)
    assert (found.share, found.needed, found.fits) == (1.0, 20, True) and len(counted.asked) == 4


def test_what_follows_from_both_ends_stands_where_counting_takes_too_long(counted):
    def needed(share):
        if 0 < share < 1:
            raise TookTooLong
        return counted()(share)

    found = smallest_share(needed, 60)
    assert (found.share, found.needed, found.fits) == (0.5, 60, True)


def test_no_less_is_recomputed_than_is_already(counted):
    assert smallest_share(counted(), 100, 0.5).share == 0.5
    assert smallest_share(counted(), 40, 0.5).share == pytest.approx(0.75)
    assert smallest_share(counted(), 1, 1.0) == smallest_share(counted(), 1, 1.0)
