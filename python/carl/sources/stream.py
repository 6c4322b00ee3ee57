"""Iterables of batches, or of single images that are put together to batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _images
from .._array_like import is_tensor
from .._decode import Header
from .._layout import batch_channels_last
from .._values import Values
from ..errors import FileError, InvalidArgumentError
from .base import LOOKED_AT, decoding_workers, tried, whole
from .items import header_of_item, image_of, is_batch, to_pixels

if TYPE_CHECKING:
    from .base import Images
    from .broken import BrokenImages


class BatchStream:
    """An iterable, gone through from its beginning in every epoch, in its own order. Its items are batches, or single
    images, of which as many as a batch wants are put together. Labels that come along, in a tuple or a dict, are left
    out.

    channels: 1 or 3 makes images of Pillow and encoded ones gray or RGB, and repeats gray arrays where 3 are wanted;
        None takes the most that any of the first 16 images has, unless these are arrays of several.
    """

    labels: np.ndarray | None = None
    class_names: list[str] | None = None

    def __init__(self, batches: Any, channels: int | None = None, value_range: Any = None) -> None:
        self.batches, self._values = batches, Values(value_range)
        self._channels = channels
        self._begun: tuple[list[Any], Iterator[Any]] | None = None
        #: Of the first item: whether it is one image, the dimensions of an array, and how many images it has.
        self._single: bool | None = None
        self._dimensions: int | None = None
        self._first_size = 1
        self._found: tuple[int, int] | None = None
        self._workers = decoding_workers(None)

    @property
    def once(self) -> bool:
        """Whether it can be gone through only once, like a generator."""
        return hasattr(self.batches, "__next__")

    @property
    def batch_size(self) -> int | None:
        """Images of its batches: what a loader of torch's kind says, else those of the first batch; None for single
        images, which are put together to batches of any size."""
        if self._gives_single_images():
            return None
        size, images, _ = self._loader()
        found = self._first_size if size is None else size if images is None else min(size, images)
        return max(2, found)  # a batch of one image is left out

    def steps(self, batch_size: int) -> int | None:
        """Number of batches, None if not known."""
        try:
            count = len(self.batches)
        except TypeError:
            return None
        if not self._gives_single_images():
            size, images, drops_last = self._loader()
            # A last batch of one image is left out.
            return count - (size is not None and images is not None and not drops_last and images % size == 1)
        return count // batch_size or (1 if count >= 2 else 0)

    def _loader(self) -> tuple[int | None, int | None, bool]:
        """Of a loader of torch's kind: the images of a batch and of an epoch, and whether a last incomplete batch is
        dropped. None for what is not known, or is 1 image a batch, which need not be a batch."""
        if not hasattr(self.batches, "dataset"):
            return None, None, False
        own = isinstance(getattr(self.batches, "batch_size", None), int)
        batches = self.batches if own else getattr(self.batches, "batch_sampler", None)
        size = getattr(batches, "batch_size", None)
        if not isinstance(size, int) or size < 2:
            return None, None, False
        # A sampler may draw fewer images than the set has, or more; that of a set that is only iterated has no length.
        drawn: Any = getattr(batches, "sampler", None)
        if own and not hasattr(drawn, "__len__"):
            drawn = self.batches.dataset
        try:
            return size, len(drawn), bool(getattr(batches, "drop_last", False))
        except TypeError:
            return size, None, False

    @property
    def channels(self) -> int:
        """Channels of the images, as the first ones say."""
        return self._look()[0]

    @property
    def side(self) -> int:
        """Typical shorter side in pixels: the median over the first batch, or up to 16 single images."""
        return self._look()[1]

    def _look(self) -> tuple[int, int]:
        if self._found is None:
            first = _images.pack_images(self.probe(1), "images")
            if self._gives_single_images():
                sides = [min(header.height, header.width) for header in self._headers()]
            else:
                records = _images.pack_images(self.probe(), "images").records
                sides = np.minimum(records["height"], records["width"]).tolist()
            self._found = first.channels, int(np.median(sides))
        return self._found

    def __iter__(self) -> Iterator[Any]:
        if self._begun is None:
            yield from self.batches
            return
        # The first items were taken to learn what they are: they are given back, and their iterator goes on.
        (items, iterator), self._begun, self._found = self._begun, None, None
        yield from items
        yield from iterator

    def probe(self, count: int | None = None, least_side: int | None = None) -> Images:
        """Images, without losing them: `count` or all of the first item where that is a batch, else of up to 16 single
        ones, without those that cannot be read. FileError if none can be."""
        images = image_of(self.first_item(), "images")
        self._choose_channels()
        if not self._is_single(images):
            return self._converted(self._as_batch(images), "images", least_side)[:count]
        waiting = self._first_images()
        wanted = len(waiting) if count is None else count
        good: list[np.ndarray] = []
        errors: list[FileError] = []
        while waiting and len(good) < wanted:
            some = wanted - len(good)
            part, waiting = waiting[:some], waiting[some:]
            for result in self._tried(part, least_side):
                (errors if isinstance(result, FileError) else good).append(result)
        if not good:
            raise errors[0]
        return good

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
        self._choose_channels()
        for number, item in enumerate(self):
            images = image_of(item, f"images: item {number}")
            if self._is_several(item, images):
                given += 1
                yield self._converted(self._as_batch(images), f"images: item {number}", least_side)
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
        items = self._first_items(1)
        if not items:
            raise InvalidArgumentError("images: the iterable gives no batches")
        return items[0]

    def _first_items(self, count: int) -> list[Any]:
        """At least `count` items, if there are so many, without losing them."""
        if self._begun is None:
            self._begun = [], iter(self.batches)
        items, iterator = self._begun
        try:
            while len(items) < count:
                items.append(next(iterator))
        except StopIteration:
            pass
        except BaseException:
            if not self.once:
                self._begun = None  # an iterator that failed has ended
            raise
        if not items:
            self._begun = None
        return items

    def _first_images(self) -> list[tuple[str, Any]]:
        """Names and images, not decoded, of the first items: 16 images, or what there is before an array of several."""
        found: list[tuple[str, Any]] = []
        number = 0
        while len(found) < LOOKED_AT and len(items := self._first_items(number + 1)) > number:
            name = f"images: item {number}"
            images = image_of(items[number], name)
            if not self._is_several(items[number], images):
                found.append((_name(items[number], number), images))
            elif isinstance(batch := self._as_batch(images), (list, tuple)):
                found += [(f"{name}[{place}]", image) for place, image in enumerate(batch)]
            else:
                break
            number += 1
        return found

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
            self._dimensions = _dimensions(images)
            # Three gray tensors, (3, H, W), look like one image: a loader says that they are a batch.
            loaded = is_tensor(images) and self._dimensions == 3 and self._loader()[0] is not None
            self._single = not (is_batch(images) or loaded)
            if not self._single:
                self._first_size = int(images.shape[0]) if hasattr(images, "shape") else len(images)
        return self._single

    def _is_several(self, item: Any, images: Any) -> bool:
        """Whether an item, whose images these are, is a batch."""
        single = self._is_single(images)
        # A last batch may look like one image: of one or three gray tensors, (B, H, W), or a list of one.
        alike = _dimensions(images) == self._dimensions is not None or isinstance(item, list)
        return is_batch(images) or (not single and alike)

    def _as_batch(self, images: Any) -> Any:
        """What ``_converted`` takes: a batch that looks like one image is an array, or a list's only one."""
        array = _dimensions(images) == self._dimensions is not None
        return images if is_batch(images) or array else [images]

    def _converted(self, images: Any, name: str, least_side: int | None) -> Images:
        """A batch as the library takes it."""
        if not isinstance(images, (list, tuple)):
            array = _arrays.as_array(batch_channels_last(images, name), name)
            self._values.check(array.dtype, name)
            return self._values.batch(array, lambda place: f"{name}[{place}]")
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
        good = []
        for (name, _), result in zip(items, self._tried(items, least_side)):
            if not isinstance(result, FileError):
                good.append(result)
            elif broken is None:
                raise result
            else:
                broken.add(None, name, result)
        if broken is not None:
            broken.count_tried(len(items))
        return good

    def _tried(self, items: list[tuple[str, Any]], least_side: int | None) -> list[Any]:
        """Single images as arrays, with errors in the places of broken ones."""
        return list(
            self._workers.map(
                lambda item: tried(
                    lambda: to_pixels(item[1], item[0], self._channels, least_side, self._values), item[0]
                ),
                items,
            )
        )

    def _headers(self) -> list[Header]:
        """Of the first images, without those of broken ones."""
        headers = (tried(lambda: header_of_item(image), name) for name, image in self._first_images())
        return [header for header in headers if isinstance(header, Header)]

    def _choose_channels(self) -> None:
        """The most that any of the first images has: gray among coloured ones are made RGB."""
        if self._channels is None and self._first_images():
            self._channels = max((header.channels for header in self._headers()), default=3)


def _dimensions(images: Any) -> int | None:
    """Of an array or tensor; None for anything else."""
    return len(images.shape) if hasattr(images, "shape") else None


def _name(item: Any, number: int) -> str:
    """How to name one item: by its key in a WebDataset, or its number."""
    key = item.get("__key__") if isinstance(item, dict) else None
    return key if isinstance(key, str) else f"image {number} of the stream"
