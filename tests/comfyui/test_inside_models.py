"""Those tests in inside/ that go through the families of models, in a process of their own beside test_inside.py's."""

import pytest

from ..helpers.inside import MODELS, count_tests


@pytest.mark.stands_for(count_tests(MODELS))
def test_every_family_works_inside_the_host(inside):
    inside(MODELS)
