"""Batches for training: the next ones are read while the present one trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._shown import ShownFields
from .ahead import ReadAhead, read_ahead, reading_thread
from .base import ImageSource
from .broken import BrokenImages, read_batch
from .order import epoch_stretches
from .stream import BatchStream

#: Batches read ahead. Two compensate for batches that take unequal time to read; more would only cost memory.
AHEAD = 2
#: Images that are decoded at full size at a time at most, and bytes of their pixels, wherever a set is gone through.
MOST_IMAGES, MOST_BYTES = 512, 256_000_000


@dataclass(frozen=True, repr=False, eq=False)
class Batch(ShownFields):
    """images, their places in the data set, and the seconds that were spent waiting for them."""

    images: Any
    indices: np.ndarray
    waited: float


class WaitClock:
    """How much of the time of some steps was spent waiting for images."""

    def __init__(self) -> None:
        self._waited = self._all = 0.0

    def add(self, waited: float, seconds: float) -> None:
        """A step of `seconds` and the wait before it."""
        self._waited += waited
        self._all += waited + seconds

    @property
    def share(self) -> float:
        """0 .. 1."""
        return self._waited / self._all if self._all > 0 else 0.0


class BatchReader:
    """Reads batches in a thread of its own, over the end of an epoch into the next one. Use as a context.

    epoch, skip: where it begins: `skip` batches of epoch number `epoch` are left out. epochs: where it ends.
    broken: collects images that cannot be read; None makes them an error.
    least_side: see ``ImageSource.read_each``.

    A last incomplete batch of an epoch is dropped. Streams are read ahead within an epoch only.
    """

    def __init__(
        self,
        source: ImageSource | BatchStream,
        batch_size: int,
        seed: int,
        epoch: int = 0,
        skip: int = 0,
        epochs: int | None = None,
        broken: BrokenImages | None = None,
        least_side: int | None = None,
    ) -> None:
        self._source, self._batch_size, self._seed = source, batch_size, seed
        self._epoch, self._skip, self._epochs = epoch, skip, epoch + 1 if epochs is None else epochs
        count = None if isinstance(source, BatchStream) else len(source)
        self._broken = BrokenImages(count, "raise") if broken is None else broken
        self._least_side = least_side
        self._reader = reading_thread()
        self._ahead: ReadAhead[Any] | None = None

    def __enter__(self) -> BatchReader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.close()

    def epoch(self) -> Iterator[Batch]:
        """The batches of the present epoch; the next call gives those of the next one."""
        epoch, skip = self._epoch, self._skip
        self._epoch, self._skip = epoch + 1, 0
        if isinstance(self._source, BatchStream):
            yield from self._stream_epoch(self._source, skip)
            return
        if self._ahead is None:
            self._ahead = ReadAhead(self._reader, self._following(self._source, epoch, skip), AHEAD)
        for _ in range(skip, len(self._source) // self._batch_size):
            found, waited = self._ahead.next()
            assert found is not None  # there are as many batches as were counted
            yield Batch(found[0], found[1], waited)

    def _following(self, source: ImageSource, epoch: int, skip: int) -> Callable[[], Any]:
        """Gives the next batch. It does not hold this object, which then ends with its last reference, and its thread
        with it."""
        parts = batch_places(len(source), self._batch_size, self._seed, epoch, self._epochs, skip)
        broken, least_side = self._broken, self._least_side

        def following() -> Any:
            indices = next(parts, None)
            return None if indices is None else (read_batch(source, indices, broken, least_side), indices)

        return following

    def _stream_epoch(self, stream: BatchStream, skip: int) -> Iterator[Batch]:
        numbered = self._stream_batches(stream)

        def following() -> Any:
            return next(numbered, None)

        for _ in range(skip):
            if self._reader.submit(following).result() is None:
                return
        ahead = ReadAhead(self._reader, following)
        while True:
            found, waited = ahead.next()
            if found is None:
                return
            yield Batch(found[0], found[1], waited)

    def _stream_batches(self, stream: BatchStream) -> Iterator[tuple[Any, np.ndarray]]:
        """Batches of a stream with the places of their images. Batch-norm statistics and the prior are undefined for
        one image, so batches of one are skipped."""
        place = 0
        for images in stream.batches_of(self._batch_size, self._broken, self._least_side):
            indices = np.arange(place, place + len(images))
            place += len(images)
            if len(images) >= 2:
                yield images, indices


def batch_places(count: int, size: int, seed: int, first: int, end: int, skip: int) -> Iterator[np.ndarray]:
    """The places of each batch of epochs first .. end - 1. The order is drawn lazily, a chunk at a time."""
    for epoch in range(first, end):
        left = np.empty(0, np.int64)
        for stretch in epoch_stretches(count, seed, epoch):
            left = np.concatenate([left, stretch])
            whole = len(left) // size
            for batch in range(min(skip, whole), whole):
                yield left[batch * size : (batch + 1) * size]
            skip -= min(skip, whole)
            left = left[whole * size :].copy()


def bytes_ahead(source: ImageSource | BatchStream, size: float, least_side: int) -> tuple[float, float]:
    """What reading holds for images that have `size` bytes when they are read with `least_side`: in any case, and for
    each image of a batch."""
    if isinstance(source, BatchStream):
        return 0.0, 0.0
    return float(source.decoding_bytes(least_side)), (AHEAD + 1) * size


def images_at_once(source: ImageSource) -> int:
    """How many images to read at a time at full size, by the typical size of the source's. The next ones are read
    beside them, so that each have half of the bytes."""
    if len(source) == 0:
        return 1
    return int(np.clip(MOST_BYTES // (2 * typical_bytes(source)), 1, MOST_IMAGES))


def typical_bytes(source: ImageSource) -> int:
    """Bytes of an image's pixels, by the typical shorter side and sides of 3 : 2."""
    return max(1, source.side**2 * source.channels * 3 // 2)


def read_parts(source: ImageSource, size: int, start: int = 0, least_side: int | None = None) -> Iterator[Any]:
    """All images in order from place `start`, `size` at a time, with errors in the places of broken ones; the next part
    is read ahead."""
    firsts = iter(range(start, len(source), size))

    def following() -> Any:
        first = next(firsts, None)
        return None if first is None else source.read_each(np.arange(first, min(first + size, len(source))), least_side)

    return read_ahead(following)


def read_chosen(
    source: ImageSource, parts: Iterable[tuple[int, np.ndarray]], least_side: int | None = None, ahead: int = AHEAD
) -> Iterator[tuple[int, np.ndarray, Any]]:
    """The images of each part, a number and places in the source; the next ones are read ahead. least_side: as of
    ``ImageSource.read_each``."""
    remaining = iter(parts)

    def following() -> Any:
        part = next(remaining, None)
        if part is None:
            return None
        images: Any = source.read_each(part[1], least_side)
        for image in images if isinstance(images, list) else ():
            if isinstance(image, BaseException):
                raise image
        return (*part, images)

    return read_ahead(following, ahead)
