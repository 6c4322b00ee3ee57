"""Raw pixels in place of features: what a protocol gives without any learning, to compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _images
from ..sources import ImageSource

#: Pixels of a side, at most.
SIDE = 32
#: Bytes that the pixels of all images may take.
_MOST_BYTES = 1 << 28


def pixel_side(source: ImageSource, count: int | None = None) -> int:
    """The side for images of a source: their own or ``SIDE``, less where `count` of them (None: all) would take more
    than 256 MB."""
    bytes_each = _MOST_BYTES / (4 * source.channels * max(1, len(source) if count is None else count))
    return max(1, min(SIDE, source.side, int(bytes_each**0.5)))


def pixel_features(images: Any, side: int = SIDE) -> np.ndarray:
    """float32 (N, side * side * C): the pixels of each image, averaged over areas to side x side; smaller images are
    repeated to it.

    images: uint8 (N, H, W) or (N, H, W, C), or a list of images of any sizes.
    """
    if not isinstance(images, (list, tuple)):
        array = _images.image_batch(images)
        return _shrunk(array, side, 1).reshape(len(array), -1)
    rows = [_shrunk(_images.one_image(image, "images"), side, 0).reshape(-1) for image in images]
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)


def _shrunk(values: np.ndarray, side: int, first: int) -> np.ndarray:
    """Means over areas, of dimension number `first` and the next one."""
    for axis in (first, first + 1):
        length = values.shape[axis]
        if length == side:
            values = values.astype(np.float32)
            continue
        starts = np.arange(side) * length // side
        counts = np.maximum(np.diff(np.append(starts, length)), 1)
        shape = [1] * values.ndim
        shape[axis] = side
        sums = np.add.reduceat(values, starts, axis=axis, dtype=np.float32)
        values = sums / counts.reshape(shape).astype(np.float32)
    return np.ascontiguousarray(values, np.float32)
