"""Images that cannot be read: left out of training, counted, and an error when they are too many."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..errors import BrokenImagesError, InvalidArgumentError
from .base import Images, ImageSource

#: Share of a set that may be broken where nothing else is said.
MAX_BROKEN = 0.05
#: Images after which a set is refused early, when more than half of those tried cannot be read.
_EARLY = 64
#: Broken images that an error names.
_NAMED = 5


class BrokenImages:
    """The broken images of one fit.

    count: images of the set, None for a stream, where the share is that of the images gone through so far.
    on_error: "skip" collects, "raise" raises the first one's error.
    max_broken: largest share, 0 .. 1, that "skip" tolerates. limit: what an error calls it; "" for the parameter's
    name.
    """

    def __init__(
        self, count: int | None, on_error: str = "skip", max_broken: float = MAX_BROKEN, limit: str = ""
    ) -> None:
        if on_error not in ("skip", "raise"):
            raise InvalidArgumentError(f'on_error: got {on_error!r}, want "skip" or "raise"')
        if isinstance(max_broken, (str, bool)) or not 0 <= max_broken <= 1:
            raise InvalidArgumentError(f"max_broken: got {max_broken!r}, want a share from 0 to 1")
        self._count, self._on_error, self._max = count, on_error, float(max_broken)
        self._limit = limit or f"max_broken = {self._max:.3g} allows"
        self._places: set[int] = set()
        #: What is broken, and why, in the order in which it was met.
        self.reasons: dict[str, str] = {}
        self._untold: list[tuple[str, str]] = []
        self._tried = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.reasons)

    def __contains__(self, place: int) -> bool:
        return place in self._places

    def add(self, place: int | None, name: str, error: BaseException) -> None:
        """Records one; raises its error, or BrokenImagesError if it is one too many."""
        if self._on_error == "raise":
            raise error
        with self._lock:
            if place is not None:
                self._places.add(place)
            if name not in self.reasons:
                self.reasons[name] = str(error.__cause__ or error)
                self._untold.append((name, self.reasons[name]))
        number = len(self.reasons)
        if self._count is not None and number > self._max * self._count:
            raise self._too_many(f"{number} of {self._count} images cannot be read, more than {self._limit}")

    def count_tried(self, images: int) -> None:
        """So many more were read or found broken."""
        self._tried += images
        number = len(self.reasons)
        if self._tried < _EARLY:
            return
        if self._count is None and number > self._max * self._tried:
            raise self._too_many(f"{number} of the first {self._tried} images cannot be read, more than {self._limit}")
        if number > self._tried / 2 and self._max < 0.5:
            raise self._too_many(f"{number} of the first {self._tried} images cannot be read")

    def take_untold(self) -> list[tuple[str, str]]:
        """Names and reasons that were not taken yet."""
        with self._lock:
            untold, self._untold = self._untold, []
        return untold

    def _too_many(self, what: str) -> BrokenImagesError:
        named = [f"{name} ({reason})" for name, reason in list(self.reasons.items())[:_NAMED]]
        more = f"; and {len(self.reasons) - _NAMED} more" if len(self.reasons) > _NAMED else ""
        return BrokenImagesError(f"images: {what}: {'; '.join(named)}{more}")


def read_batch(source: ImageSource, places: np.ndarray, broken: BrokenImages, least_side: int | None = None) -> Images:
    """The images at these indices. A broken one is replaced by the next one of the set that can be read, the first
    following the last. So what a batch holds depends on the files alone, not on what was read before."""
    count = len(source)

    def good(place: int) -> int:
        for step in range(count):
            if (place + step) % count not in broken:
                return (place + step) % count
        raise broken._too_many("none can be read")

    wanted = places if len(broken) == 0 else np.array([good(int(place)) for place in places])
    images: Any = source.read_each(wanted, least_side)
    broken.count_tried(len(wanted))
    if isinstance(images, np.ndarray):
        return images
    for slot, place in enumerate(map(int, wanted)):
        while isinstance(images[slot], BaseException):
            if place not in broken:
                broken.add(place, source.identity(place), images[slot])
            place = good(place)
            images[slot] = source.read_each(np.array([place]), least_side)[0]
            broken.count_tried(1)
    return list(images)
