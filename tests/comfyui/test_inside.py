"""The tests in inside/ but for those of test_inside_models.py, each run by the host's own Python within its modules."""

import pytest

from ..helpers.inside import OTHERS, count_tests


@pytest.mark.stands_for(count_tests(OTHERS))
def test_the_trainer_works_inside_the_host(inside):
    inside(OTHERS)
