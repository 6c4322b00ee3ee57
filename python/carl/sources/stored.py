"""Images stored in a file as consecutive raw bytes, read a batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arrays, _images
from .._reading import DataFile
from .._values import Values
from .base import Images, ImageSource


class StoredSource(ImageSource):
    """Images of one size in a file, at equal distances.

    start: where the first record begins. skip: bytes of a record in front of its pixels, such as labels.
    shape: (N, H, W) or (N, H, W, C). planes: the pixels lie as (C, H, W). dtype, value_range: of the pixels, and the
        values that become 0 and 255.

    Nothing is memory-mapped: reading past the end of a truncated file is a FileError that names it.
    """

    def __init__(
        self,
        file: DataFile,
        start: int,
        shape: tuple[int, ...],
        labels: Any = None,
        *,
        skip: int = 0,
        planes: bool = False,
        name: str | None = None,
        dtype: np.dtype[Any] = np.dtype(np.uint8),
        value_range: Any = None,
    ) -> None:
        self._file, self._start, self._skip, self._planes = file, start, skip, planes
        self._name, self._dtype, self._values = name or file.path, dtype, Values(value_range)
        self._values.check(dtype, self._name)
        self._shape = _images.image_shape(np.dtype(np.uint8), shape, self._name)
        count, height, width, channels = self._shape
        self._record = skip + height * width * channels * dtype.itemsize
        self.labels = None if labels is None else _arrays.label_array(labels, "labels", count)

    def __len__(self) -> int:
        return self._shape[0]

    def read(self, indices: np.ndarray) -> Images:
        count, height, width, channels = self._shape
        places = np.asarray(indices, np.int64)
        if len(places) and not (-count <= places.min() and places.max() < count):
            raise IndexError(f"images: got place {int(places.max())}, want places below {count}")
        places = np.where(places < 0, places + count, places)
        data = self._file.read_spans(self._start + places * self._record, np.full(len(places), self._record, np.int64))
        pixels = data.reshape(len(places), self._record)[:, self._skip :]
        if self._dtype.itemsize > 1:
            pixels = np.ascontiguousarray(pixels)
        pixels = self._values.batch(pixels.view(self._dtype), lambda place: f"{self._name}[{places[place]}]")
        if self._planes:
            return pixels.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        return pixels.reshape(-1, height, width, channels)

    def describe(self) -> str:
        count, height, width, channels = self._shape
        return f"{count} images of {height} x {width} x {channels}"

    def close(self) -> None:
        self._file.close()
