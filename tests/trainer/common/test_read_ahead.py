"""Work done ahead of its consumer."""

import threading
import time

import pytest

from lora_bootstrap.trainer.common.read_ahead import in_order


def test_results_come_in_the_order_of_the_items_though_later_ones_end_first():
    def work(item):
        time.sleep(0.01 * (3 - item))
        return item * item

    assert list(in_order(work, range(4), threads=3, ahead=4)) == [0, 1, 4, 9]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_is_raised_where_its_result_would_have_come(threads):
    found = in_order(lambda item: 6 // (2 - item), range(5), threads, ahead=6)
    assert [next(found), next(found)] == [3, 6]
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_no_more_than_so_many_are_begun_ahead_and_closing_ends_the_threads():
    begun, before = [], threading.active_count()
    found = in_order(begun.append, range(100), threads=2, ahead=4)
    next(found)
    next(found)
    assert len(begun) <= 2 + 4 and threading.active_count() > before
    found.close()
    assert threading.active_count() == before and len(begun) <= 2 + 4
