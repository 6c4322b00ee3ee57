"""Images stored in a file as consecutive raw bytes, read a batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arrays, _images
from .._reading import DataFile
from .base import Images, ImageSource


class StoredSource(ImageSource):
    """uint8 images of one size in a file, at equal distances.

    start: where the first record begins. skip: bytes of a record in front of its pixels, such as labels.
    shape: (N, H, W) or (N, H, W, C). planes: the pixels lie as (C, H, W).

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
    ) -> None:
        self._file, self._start, self._skip, self._planes = file, start, skip, planes
        self._shape = _images.image_shape(np.dtype(np.uint8), shape, name or file.path)
        count, height, width, channels = self._shape
        self._record = skip + height * width * channels
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
        if self._planes:
            return pixels.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
        return pixels.reshape(-1, height, width, channels)

    def describe(self) -> str:
        count, height, width, channels = self._shape
        return f"{count} images of {height} x {width} x {channels}"

    def close(self) -> None:
        self._file.close()
