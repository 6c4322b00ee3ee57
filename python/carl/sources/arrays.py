"""Images in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _arrays, _images
from .._decode import is_gray, to_array
from .._layout import batch_channels_last, channels_last, refuse_one_image
from .._values import Values
from .base import Images, ImageSource, whole
from .items import is_pillow
from .mapped import prepare_random_reads, read_rows


class ArraySource(ImageSource):
    """An array (N, H, W) or (N, H, W, C) of any strides; a memory-mapped one is read a batch at a time, after a check
    that its file has not been truncated.

    value_range: the values that become 0 and 255 where they are no bytes; see ``carl.as_source``.
    """

    def __init__(self, array: Any, name: str = "images", labels: Any = None, value_range: Any = None) -> None:
        self._values, self._name = Values(value_range), name
        refuse_one_image(array, name)
        array = _arrays.as_array(batch_channels_last(array, name), name)
        self._values.check(array.dtype, name)
        shape = _images.image_shape(np.dtype(np.uint8), array.shape, name)
        self._array = array if array.ndim == len(shape) else array[..., None]
        prepare_random_reads(self._array)
        self.labels = None if labels is None else _arrays.label_array(labels, "labels", len(self._array))

    def __len__(self) -> int:
        return len(self._array)

    def read(self, indices: np.ndarray) -> Images:
        rows = read_rows(self._array, indices, self._name)
        return self._values.batch(rows, lambda place: f"{self._name}[{indices[place]}]")

    def describe(self) -> str:
        count, height, width, channels = self._array.shape
        return f"{count} images of {height} x {width} x {channels}"


class ListSource(ImageSource):
    """A list of images (H, W) or (H, W, C), arrays or Pillow images, of any sizes.

    channels: 1 or 3 makes Pillow images gray or RGB; None makes them gray if all of them are, else RGB. Gray arrays are
        repeated where others have three channels, or 3 are asked for.
    value_range: as of ``ArraySource``.
    """

    def __init__(
        self, images: Sequence[Any], name: str = "images", channels: int | None = None, value_range: Any = None
    ) -> None:
        values = Values(value_range)
        if channels is None and all(is_pillow(image) for image in images):
            channels = 1 if all(is_gray(image) for image in images) else 3
        found = [_one(image, f"{name}[{place}]", channels, values) for place, image in enumerate(images)]
        self._images = _images.alike(found, name, channels)

    def __len__(self) -> int:
        return len(self._images)

    def read(self, indices: np.ndarray) -> Images:
        return [self._images[int(place)] for place in indices]

    def describe(self) -> str:
        return f"{len(self)} images"


def _one(image: Any, name: str, channels: int | None, values: Values) -> np.ndarray:
    """An image of a list as uint8 (H, W, C)."""
    if is_pillow(image):
        return np.asarray(whole(lambda: to_array(image, channels, None, values, name), name))
    array = _arrays.as_array(channels_last(image, name), name)
    return _images.one_image(values.image(array, name), name)
