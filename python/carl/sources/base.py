"""What training needs of a data set."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Union

import numpy as np

from ..errors import InvalidArgumentError

#: A batch of images: uint8 (B, H, W) or (B, H, W, C), or a list of images of any sizes.
Images = Union[np.ndarray, list[np.ndarray]]


class ImageSource(ABC):
    """Images that can be read in any order. Subclasses are read by one background thread at a time.

    labels: int64 (N,) where the source knows them (class folders, labelled archives), used in evaluation only.
    class_names: the names behind the labels.
    """

    labels: np.ndarray | None = None
    class_names: list[str] | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def read(self, indices: np.ndarray) -> Images:
        """The images of these places, in this order."""

    @abstractmethod
    def describe(self) -> str:
        """A few words for messages and logs."""

    def identity(self, place: int) -> str:
        """How to name one image to the user: a path, or its number."""
        return f"image {place}"

    def close(self) -> None:
        """Ends threads and closes files, if any."""

    @property
    def channels(self) -> int:
        """Channels of the images; the first one decides."""
        return self._probe()[0]

    @property
    def side(self) -> int:
        """Typical shorter side in pixels: the median over a few images."""
        return self._probe()[1]

    def _probe(self) -> tuple[int, int]:
        found: tuple[int, int] | None = getattr(self, "_probed", None)
        if found is None:
            count = len(self)
            places = np.unique(np.linspace(0, count - 1, num=min(count, 9)).astype(np.int64))
            images = self.read(places)
            first = images[0]
            channels = 1 if first.ndim == 2 else int(first.shape[2])
            found = channels, int(np.median([min(image.shape[:2]) for image in images]))
            self._probed = found
        return found


class BatchStream:
    """An iterable of batches, gone through from its beginning in every epoch, in its own order and batch size."""

    labels: np.ndarray | None = None
    class_names: list[str] | None = None

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self._first: list[Any] | None = None

    @property
    def once(self) -> bool:
        """Whether it can be gone through only once, like a generator."""
        return iter(self.batches) is self.batches

    @property
    def steps(self) -> int | None:
        """Number of batches, None if not known."""
        try:
            return len(self.batches)
        except TypeError:
            return None

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self.batches)
        if self.once and self._first is not None:
            # A generator's first batch was taken to learn its shape: it is given back once.
            first, self._first = self._first, None
            yield from first
        yield from iterator

    def probe(self) -> Any:
        """The first batch, without losing it."""
        iterator = iter(self.batches)
        for batch in iterator:
            if self.once:
                self._first = [batch]
            return batch
        raise InvalidArgumentError("images: the iterable gives no batches")

    def describe(self) -> str:
        return f"batches from {type(self.batches).__name__}"

    def close(self) -> None:
        pass
