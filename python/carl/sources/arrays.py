"""Images in memory, or mapped from a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _arrays
from ..errors import InvalidArgumentError
from .base import ImageSource, Images


class ArraySource(ImageSource):
    """uint8 (N, H, W) or (N, H, W, C) of any strides; a memory-mapped array is read a batch at a time."""

    def __init__(self, array: Any, name: str = "images", labels: Any = None) -> None:
        self._array = _arrays.image_batch(array, name)
        self.labels = None if labels is None else _arrays.label_array(labels, "labels", len(self._array))

    def __len__(self) -> int:
        return len(self._array)

    def read(self, indices: np.ndarray) -> Images:
        return np.asarray(self._array[indices])

    def describe(self) -> str:
        count, height, width, channels = self._array.shape
        return f"{count} images of {height} x {width} x {channels}"


class ListSource(ImageSource):
    """A list of images (H, W) or (H, W, C), uint8 arrays or Pillow images, of any sizes."""

    def __init__(self, images: Sequence[Any], name: str = "images") -> None:
        self._images = [_arrays.one_image(image, f"{name}[{place}]") for place, image in enumerate(images)]
        channels = self._images[0].shape[2]
        for place, image in enumerate(self._images):
            if image.shape[2] != channels:
                raise InvalidArgumentError(
                    f"{name}[{place}]: got {image.shape[2]} channel(s), want {channels} as in {name}[0]"
                )

    def __len__(self) -> int:
        return len(self._images)

    def read(self, indices: np.ndarray) -> Images:
        return [self._images[int(place)] for place in indices]

    def describe(self) -> str:
        return f"{len(self)} images"
