"""Shares of a plan are alike in views, and together they are the plan."""

import pytest

from lora_bootstrap.trainer.bootstrap.planning.shares import Share
from lora_bootstrap.trainer.common.errors import UserError


@pytest.mark.parametrize("count", [1, 3, 4, 12, 20])
def test_the_shares_of_a_plan_are_the_plan_and_nothing_is_in_two(count):
    plan = list(range(12))
    parts = [Share(number, count).choose(plan) for number in range(1, count + 1)]
    assert sorted(view for part in parts for view in part) == plan
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_share_is_read_as_it_is_written():
    assert Share.read("") == Share() and Share.read(" 2 / 3 ") == Share(2, 3) and Share.read("1/1").whole
    assert [Share.read(text).text for text in ("2/3", "plan", "", "1/1")] == ["2/3", "plan", "", ""]
    assert Share.read("2/3").choose("abcdefg") == "be" and list(Share.read("Plan").choose("abc")) == []
    assert [Share.read(text).draws_wishes for text in ("", "1/3", "2/3", "plan")] == [True, True, False, False]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "2", "2/3/4", "-1/2", "1/10001", "all", "1/2\n3/4", "²/3"])
def test_any_other_text_is_refused_with_the_remedy(text):
    with pytest.raises(UserError, match="it must be such as 2/3 .the second of three, .* Leave it empty to draw all"):
        Share.read(text)
