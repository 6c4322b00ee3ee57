"""Some of the images of a source, and labelled sets without the images that cannot be read."""

from __future__ import annotations

from logging import getLogger
from typing import Any

import numpy as np

from .arrays import ArraySource, ListSource
from .base import DecodedSource, Images, ImageSource, JoinedSource
from .broken import MAX_BROKEN, BrokenImages
from .loader import images_at_once
from .stored import StoredSource

#: Images looked at at a time, and to which shorter side they may be halved: whether a file is whole shows at any size.
_READ, _SIDE = 64, 16


class SubsetSource(ImageSource):
    """The images of a source at `places`, in this order."""

    def __init__(self, source: ImageSource, places: np.ndarray) -> None:
        self._source, self._places = source, np.asarray(places, np.int64)
        self.labels = None if source.labels is None else np.asarray(source.labels)[self._places]
        self.class_names, self.decodes = source.class_names, source.decodes

    def __len__(self) -> int:
        return len(self._places)

    def read(self, indices: np.ndarray) -> Images:
        return self._source.read(self._places[indices])

    def read_each(self, indices: np.ndarray, least_side: int | None = None) -> Images | list[Any]:
        return self._source.read_each(self._places[indices], least_side)

    def shapes(self, places: np.ndarray) -> list[Any]:
        return self._source.shapes(self._places[places])

    def decoding_bytes(self, least_side: int | None) -> int:
        return self._source.decoding_bytes(least_side)

    def identity(self, place: int) -> str:
        return self._source.identity(int(self._places[place]))

    def describe(self) -> str:
        return f"{len(self)} of {self._source.describe()}"

    def close(self) -> None:
        self._source.close()


def readable(
    source: ImageSource, name: str, on_error: str = "skip", max_broken: float = MAX_BROKEN
) -> tuple[ImageSource, np.ndarray | None]:
    """A labelled set without the images that cannot be read, which are warned of, and the places of those that are
    left; None for all.

    Every image of a source that may hold broken ones is read once for it, at a small size where it can be. on_error
    "raise": the first one's error. More than `max_broken` is a BrokenImagesError. `name`: the argument's, for the
    warning.
    """
    limit = f"the {max_broken:.0%} of a labelled set that may be left out: mend or remove them"
    broken = BrokenImages(len(source), on_error, max_broken, limit)
    if _never_broken(source):
        return source, None
    good = np.ones(len(source), bool)
    at_once = _READ if isinstance(source, (DecodedSource, JoinedSource)) else min(_READ, images_at_once(source))
    for start in range(0, len(source), at_once):
        places = np.arange(start, min(start + at_once, len(source)))
        for place, image in zip(places.tolist(), source.read_each(places, _SIDE)):
            if isinstance(image, BaseException):
                broken.add(place, source.identity(place), image)
                good[place] = False
        broken.count_tried(len(places))
    if good.all():
        return source, None
    told = [f"{image} ({reason})" for image, reason in broken.take_untold()]
    more = f"; and {len(told) - 3} more" if len(told) > 3 else ""
    getLogger("carl").warning(
        "%s: left out %d of %d images, which cannot be read: %s%s",
        name,
        len(told),
        len(source),
        "; ".join(told[:3]),
        more,
    )
    places = np.flatnonzero(good)
    return SubsetSource(source, places), places


def _never_broken(source: ImageSource) -> bool:
    """Whether a source was checked when it was made, and has nothing to decode."""
    if isinstance(source, SubsetSource):
        return _never_broken(source._source)
    return isinstance(source, (ArraySource, ListSource, StoredSource))
