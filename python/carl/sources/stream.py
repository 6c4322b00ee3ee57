"""Iterables of batches, or of single images that are put together to batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays
from .._layout import batch_channels_last
from .._values import Values
from ..errors import FileError, InvalidArgumentError
from .base import decoding_workers, tried, whole
from .items import header_of_item, image_of, is_batch, is_encoded, is_pillow, to_pixels

if TYPE_CHECKING:
    from .base import Images
    from .broken import BrokenImages


class BatchStream:
    """An iterable, gone through from its beginning in every epoch, in its own order. Its items are batches, or single
    images, of which as many as a batch wants are put together. Labels that come along, in a tuple or a dict, are left
    out.

    channels: 1 or 3 makes images of Pillow and encoded ones gray or RGB; None looks at those of the first batch.
    """

    labels: np.ndarray | None = None
    class_names: list[str] | None = None

    def __init__(self, batches: Any, channels: int | None = None, value_range: Any = None) -> None:
        self.batches, self._values = batches, Values(value_range)
        self._channels = channels
        self._begun: tuple[list[Any], Iterator[Any]] | None = None
        #: Of the first item: whether it is one image, and the dimensions of an array.
        self._single: bool | None = None
        self._dimensions: int | None = None
        self._workers = decoding_workers(None)

    @property
    def once(self) -> bool:
        """Whether it can be gone through only once, like a generator."""
        return hasattr(self.batches, "__next__")

    def steps(self, batch_size: int) -> int | None:
        """Number of batches, None if not known."""
        try:
            count = len(self.batches)
        except TypeError:
            return None
        if not self._gives_single_images():
            return count - self._ends_with_one()
        return count // batch_size or (1 if count >= 2 else 0)

    def _ends_with_one(self) -> bool:
        """Whether the last batch, of one image, is left out: as far as a loader of torch's kind tells."""
        size, images = getattr(self.batches, "batch_size", None), getattr(self.batches, "dataset", None)
        if not isinstance(size, int) or size < 2 or getattr(self.batches, "drop_last", False):
            return False
        try:
            return len(images) % size == 1  # type: ignore[arg-type]
        except TypeError:
            return False

    def __iter__(self) -> Iterator[Any]:
        if self._begun is None:
            yield from self.batches
            return
        # The first item was taken to learn its shape: it is given back, and its iterator goes on.
        (items, iterator), self._begun = self._begun, None
        yield from items
        yield from iterator

    def probe(self) -> Images:
        """The images of the first item, without losing it."""
        images = image_of(self.first_item(), "images")
        return self._converted(images if is_batch(images) else [images], "images", None)

    def batches_of(
        self,
        batch_size: int,
        broken: BrokenImages | None = None,
        least_side: int | None = None,
        keep_last: bool = False,
    ) -> Iterator[Images]:
        """The batches of one pass; single images are put together to `batch_size` of them.

        broken: takes single images that cannot be decoded, which are left out; without it they are an error.
        keep_last: give single images that do not fill a last batch too. Else only if there is no other batch.
        """
        ready: list[np.ndarray] = []
        waiting: list[tuple[str, Any]] = []
        given = 0
        for number, item in enumerate(self):
            images = image_of(item, f"images: item {number}")
            single = self._is_single(images)
            # A last batch of one or three gray tensors, (B, H, W), looks like one image.
            if is_batch(images) or (not single and _dimensions(images) == self._dimensions is not None):
                given += 1
                yield self._converted(images, f"images: item {number}", least_side)
                continue
            waiting.append((_name(item, number), images))
            if len(ready) + len(waiting) == batch_size:
                ready += self._decoded(waiting, broken, least_side)
                waiting = []
            if len(ready) == batch_size:
                given += 1
                yield ready
                ready = []
        ready += self._decoded(waiting, broken, least_side)
        if ready and (keep_last or given == 0):
            yield ready

    def describe(self) -> str:
        return f"batches from {type(self.batches).__name__}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def close(self) -> None:
        """Ends its threads; so do leaving a ``with`` block and dropping the last reference."""
        self._workers.close()

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def first_item(self) -> Any:
        """The first item, without losing it."""
        if self._begun is None:
            iterator = iter(self.batches)
            for item in iterator:
                self._begun = [item], iterator
                break
            else:
                raise InvalidArgumentError("images: the iterable gives no batches")
        return self._begun[0][0]

    def gives_paths(self) -> bool:
        """Whether the first item, which is not lost, is a path."""
        with suppress(InvalidArgumentError):  # there is none
            return isinstance(self.first_item(), (str, os.PathLike))
        return False

    def _gives_single_images(self) -> bool:
        return self._single if self._single is not None else self._is_single(image_of(self.first_item(), "images"))

    def _is_single(self, images: Any) -> bool:
        """Whether items are single images, as the first one says, which this is if none was seen."""
        if self._single is None:
            self._single, self._dimensions = not is_batch(images), _dimensions(images)
        return self._single

    def _converted(self, images: Any, name: str, least_side: int | None) -> Images:
        """A batch as the library takes it."""
        if not isinstance(images, (list, tuple)):
            array = _arrays.as_array(batch_channels_last(images, name), name)
            self._values.check(array.dtype, name)
            return self._values.batch(array, lambda place: f"{name}[{place}]")
        if any(is_pillow(image) or is_encoded(image) for image in images):
            self._choose_channels(images)
        return [
            whole(
                lambda: to_pixels(image, f"{name}[{place}]", self._channels, least_side, self._values),
                f"{name}[{place}]",
            )
            for place, image in enumerate(images)
        ]

    def _decoded(
        self, items: list[tuple[str, Any]], broken: BrokenImages | None, least_side: int | None
    ) -> list[np.ndarray]:
        """Single images as arrays of the same number of channels, without the broken ones."""
        if self._channels is None and items and any(is_pillow(image) or is_encoded(image) for _, image in items):
            self._choose_channels([image for _, image in items])
        results = self._workers.map(
            lambda item: tried(lambda: to_pixels(item[1], item[0], self._channels, least_side, self._values), item[0]),
            items,
        )
        good = []
        for (name, _), result in zip(items, results):
            if not isinstance(result, FileError):
                good.append(result)
            elif broken is None:
                raise result
            else:
                broken.add(None, name, result)
        if broken is not None:
            broken.count_tried(len(items))
        return good

    def _choose_channels(self, images: Any) -> None:
        if self._channels is None:
            known = [
                count
                for count in (tried(lambda: header_of_item(image).channels, "") for image in images)
                if isinstance(count, int)
            ]
            self._channels = max(known, default=3)


def _dimensions(images: Any) -> int | None:
    """Of an array or tensor; None for anything else."""
    return len(images.shape) if hasattr(images, "shape") else None


def _name(item: Any, number: int) -> str:
    """How to name one item: by its key in a WebDataset, or its number."""
    key = item.get("__key__") if isinstance(item, dict) else None
    return key if isinstance(key, str) else f"image {number} of the stream"
