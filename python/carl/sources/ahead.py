"""Prefetching: the next items are read in a thread while the present one is used."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from .threads import Workers

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")


def reading_thread() -> Workers:
    """The one thread that a reader reads in."""
    return Workers(1, "carl-read")


class ReadAhead(Generic[Item]):
    """Results of a function that gives the next item, and None when there is none.

    The function is called in the thread of `workers`, `count` calls before its results are asked for, one call after
    the other.
    """

    def __init__(self, workers: Workers, following: Callable[[], Item | None], count: int = 1) -> None:
        self._workers, self._following = workers, following
        self._pending: deque[Future[Item | None]] = deque(workers.submit(following) for _ in range(count))

    def next(self) -> tuple[Item | None, float]:
        """The next item, None after the last one, and the seconds that were spent waiting for it. Raises what the
        function raised."""
        item, waited = _wait(self._pending.popleft())
        self._pending.append(self._workers.submit(self._following))
        return item, waited


def read_ahead(following: Callable[[], Item | None], count: int = 1) -> Iterator[Item]:
    """The items of a ``ReadAhead`` with a thread of its own, which ends with the iteration."""
    workers = reading_thread()
    try:
        ahead = ReadAhead(workers, following, count)
        while (item := ahead.next()[0]) is not None:
            yield item
    finally:
        workers.close()


def _wait(future: Future[Item | None]) -> tuple[Item | None, float]:
    if future.done():
        return future.result(), 0.0
    start = time.perf_counter()
    result = future.result()
    return result, time.perf_counter() - start
