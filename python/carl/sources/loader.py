"""Batches for training: the next one is read while the present one trains."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import BatchStream, ImageSource
from .order import epoch_order

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

#: Batches read ahead. Two cover a source whose batches take unequal time; more would only cost memory.
AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """images, their places in the data set, and the seconds that were spent waiting for them."""

    images: Any
    indices: np.ndarray
    waited: float


def epoch_batches(
    source: ImageSource | BatchStream, batch_size: int, seed: int, epoch: int, skip: int = 0
) -> Iterator[Batch]:
    """The batches of one epoch, the first `skip` left out. A last incomplete batch is dropped.

    Use as a context through ``contextlib.closing``: closing ends the thread that reads ahead.
    """
    if isinstance(source, BatchStream):
        return _stream_batches(source, skip)
    return _source_batches(source, batch_size, seed, epoch, skip)


def _source_batches(source: ImageSource, batch_size: int, seed: int, epoch: int, skip: int) -> Iterator[Batch]:
    order = epoch_order(len(source), seed, epoch)
    starts = range(skip * batch_size, len(order) - batch_size + 1, batch_size)
    parts = (order[start : start + batch_size] for start in starts)

    def prepare(indices: np.ndarray) -> tuple[Any, np.ndarray]:
        return source.read(indices), indices

    with _ReadAhead() as reader:
        pending = [reader.submit(prepare, part) for part in itertools.islice(parts, AHEAD)]
        while pending:
            (images, indices), waited = _wait(pending.pop(0))
            pending += [reader.submit(prepare, part) for part in itertools.islice(parts, 1)]
            yield Batch(images, indices, waited)


def _stream_batches(stream: BatchStream, skip: int) -> Iterator[Batch]:
    iterator = iter(stream)
    place = 0
    done = object()

    def following() -> Any:
        return next(iterator, done)

    with _ReadAhead() as reader:
        for _ in range(skip):
            batch = reader.submit(following).result()
            if batch is done:
                return
            place += len(batch)
        pending = reader.submit(following)
        while True:
            batch, waited = _wait(pending)
            if batch is done:
                return
            pending = reader.submit(following)
            count = len(batch)
            indices = np.arange(place, place + count)
            place += count
            yield Batch(batch, indices, waited)


class _ReadAhead:
    """One thread that reads; what it has not begun when the loop ends is cancelled."""

    def __enter__(self) -> ThreadPoolExecutor:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(1, thread_name_prefix="carl-read")
        return self._pool

    def __exit__(self, kind: object, *rest: object) -> None:
        # After an error or Ctrl-C a read that takes for ever must not keep the caller waiting.
        self._pool.shutdown(wait=kind is None, cancel_futures=True)


def _wait(future: Future[Any]) -> tuple[Any, float]:
    if future.done():
        return future.result(), 0.0
    start = time.perf_counter()
    result = future.result()
    return result, time.perf_counter() - start
