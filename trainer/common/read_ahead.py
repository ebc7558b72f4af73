"""Work in a few threads ahead of whoever consumes the results, which come in the order of the items."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int
             ) -> Generator[Result, None, None]:
    """The results of `work` for the items, in their order.

    Closing the iterator ends the threads: what has begun is finished, what waits is dropped. What `work` raises is
    raised where its result would have come.

    Args:
        threads: how many work at once; 1 works in the caller's own thread, and only when asked.
        ahead: how many results are begun or finished at most before they are asked for.
    """
    if threads == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
