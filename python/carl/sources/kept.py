"""Decoded images that stay in memory, so that later epochs need not decode them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .._memory import available_memory
from ..budget import memory_text
from .base import Images, ImageSource
from .stream import BatchStream

#: Of the memory that is free at the beginning, one part in so many may be filled with images; and nothing is added any
#: more once less than one part in so many is free, whoever took it.
_ROOM, _LEFT = 4, 2
#: What `available_memory` says where the system does not: then nothing is kept.
_UNKNOWN = 2**62


def room_for_images(spare: float | None = None) -> int:
    """Bytes that decoded images may fill. spare: what a limit of memory leaves for them."""
    free = available_memory()
    if free >= _UNKNOWN:
        return 0
    return max(0, int(free // _ROOM if spare is None else min(free // _ROOM, spare)))


Source = TypeVar("Source", ImageSource, "ImageSource | BatchStream")


def kept(source: Source, least_side: int, spare: float | None = None) -> Source | KeptSource:
    """The source, its images kept in memory as they are read for training; itself where they need no decoding, or
    cannot be told from each other.

    least_side: of these reads, as of ``ImageSource.read_each``. spare: as of ``room_for_images``.
    """
    if not (isinstance(source, ImageSource) and source.decodes):
        return source
    room = room_for_images(spare)
    return KeptSource(source, least_side, room) if room else source


def first_pass(
    source: ImageSource | BatchStream, batch_size: int, step: int, epoch_start: int
) -> tuple[int | None, Callable[[], float]]:
    """The step after which a run that goes on from `step` of an epoch which began at `epoch_start` has read every image
    once, and what gives the share of them that is kept; None where nothing is."""
    if not isinstance(source, KeptSource):
        return None, lambda: 0.0
    # Of an epoch that is gone on with, the first batches are read in the next one.
    passes = 1 if step == epoch_start else 2
    return epoch_start + passes * (len(source) // batch_size), source.share


class KeptSource(ImageSource):
    """The images of `source`, of which those that are read with `least_side` are kept, `room` bytes of them: the same
    pixels as without, since a source that decodes gives the same ones each time. Other reads pass through.

    Broken images are not kept: they are tried again.
    """

    def __init__(self, source: ImageSource, least_side: int, room: int) -> None:
        self._source, self._side, self._room = source, least_side, room
        self._floor = available_memory() // _LEFT
        self._images: dict[int, np.ndarray] = {}
        self._bytes = self._read_once = self._told = 0
        self.labels, self.class_names, self.given = source.labels, source.class_names, source.given

    def __len__(self) -> int:
        return len(self._source)

    def read(self, indices: np.ndarray) -> Images:
        return self._source.read(indices)

    def read_each(self, indices: np.ndarray, least_side: int | None = None) -> Images | list[Any]:
        if least_side != self._side:
            return self._source.read_each(indices, least_side)
        places = [int(place) for place in indices]
        missing = [place for place in places if place not in self._images]
        read = self._read(missing) if missing else {}
        return [self._images[place] if place in self._images else read[place] for place in places]

    def _read(self, places: list[int]) -> dict[int, Any]:
        """Reads images, and keeps what there is room for."""
        if available_memory() < self._floor:
            self._room = 0
        read = dict(zip(places, self._source.read_each(np.array(places, np.int64), self._side)))
        self._read_once += len(places)
        for place, image in read.items():
            if not isinstance(image, BaseException) and self._bytes + image.nbytes <= self._room:
                self._images[place] = image
                self._bytes += image.nbytes
        return read

    def news(self) -> str | None:
        """What is kept, if more than when this was last asked for."""
        if len(self._images) == self._told:
            return None
        self._told = len(self._images)
        return f"kept in memory: {self._told} of {len(self)} images, {memory_text(self._bytes)}"

    def share(self) -> float:
        """Of the images that were read, how many are kept, 0 .. 1."""
        return len(self._images) / self._read_once if self._read_once else 1.0

    def identity(self, place: int) -> str:
        return self._source.identity(place)

    def fingerprint(self) -> str | None:
        return self._source.fingerprint()

    def describe(self) -> str:
        return self._source.describe()

    def close(self) -> None:
        self._images.clear()
        self._bytes = 0
        self._source.close()

    def shapes(self, places: np.ndarray) -> list[Any]:
        return self._source.shapes(places)

    def decoding_bytes(self, least_side: int | None) -> int:
        return self._source.decoding_bytes(least_side)
