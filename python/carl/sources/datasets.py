"""Data sets of other packages, recognised by their methods: Hugging Face ``datasets`` and map-style sets of torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._values import Values
from ..errors import FileError, InvalidArgumentError
from .base import DecodedSource
from .items import IMAGE_COLUMNS, LABEL_COLUMNS, channels_of, image_column, image_of, is_image, to_pixels


def is_table(images: Any) -> bool:
    """Whether this is a Hugging Face data set that can be read in any order."""
    return all(hasattr(images, name) for name in ("features", "column_names", "__getitem__", "__len__"))


def is_map_style(images: Any) -> bool:
    """Whether this is a data set of single images in the manner of torch's: of a length, read by number."""
    if not (hasattr(images, "__getitem__") and hasattr(images, "__len__")) or isinstance(images, (Mapping, str, bytes)):
        return False
    if len(images) == 0:
        raise InvalidArgumentError(f"images: the {type(images).__name__} is empty")
    try:
        item = images[0]
    except Exception:
        return not hasattr(images, "__iter__")  # the first image is broken, or it is read by names
    if isinstance(item, Mapping) and not any(is_image(value) for value in item.values()):
        return False
    return is_image(image_of(item, "images: item 0"))


class TableSource(DecodedSource):
    """A ``datasets.Dataset``: a column of images, of Pillow images, encoded files or arrays. Rows are read by several
    threads.

    column: its name; None takes one of image type, one with a usual name, or the only one that holds images.
    """

    def __init__(
        self,
        table: Any,
        channels: int | None = None,
        column: str | None = None,
        workers: int | None = None,
        value_range: Any = None,
    ) -> None:
        super().__init__(workers)
        self._values = Values(value_range)
        if len(table) == 0:
            raise InvalidArgumentError("images: the data set has no rows")
        self._column = column or _column(table)
        if self._column not in table.column_names:
            raise InvalidArgumentError(
                f"column: got {self._column!r}, the data set has {', '.join(table.column_names)}"
            )
        self.labels, self.class_names = _table_labels(table)
        # Other columns, which may be large, are not read.
        self._table = table.select_columns([self._column]) if hasattr(table, "select_columns") else table
        self._print = getattr(table, "_fingerprint", None)
        self._choose_channels(channels)

    def __len__(self) -> int:
        return len(self._table)

    def load(self, place: int, least_side: int | None) -> np.ndarray:
        return to_pixels(self._value(place), self.identity(place), self._channels, least_side, self._values)

    def channels_at(self, place: int) -> int:
        return channels_of(self._value(place))

    def identity(self, place: int) -> str:
        return f"row {place} of the data set"

    def fingerprint(self) -> str | None:
        return (
            None if self._print is None else f"{self._print}, {self._column}, channels {self._channels}{self._values}"
        )

    def describe(self) -> str:
        return f"{len(self)} images of the column {self._column!r}"

    def _value(self, place: int) -> Any:
        value = self._table[place][self._column]
        if value is None:
            raise FileError("the row has no image")
        return value


class MapStyleSource(DecodedSource):
    """A data set of torch's kind: ``dataset[i]`` gives an image, a tuple with one in front, or a dict with one.

    Images are of Pillow, encoded, or uint8: arrays (H, W) or (H, W, C), tensors (C, H, W). Random transforms of the
    set's own belong left out: the views are made here, and what is random in the set is not resumed exactly.

    workers: threads that read it. Such sets are written for processes and may not bear more than one, the default.
    """

    def __init__(self, dataset: Any, channels: int | None = None, workers: int = 1, value_range: Any = None) -> None:
        super().__init__(workers)
        self._values = Values(value_range)
        self._dataset = dataset
        self._choose_channels(channels)
        self.labels, self.class_names = _targets(dataset)

    def __len__(self) -> int:
        return len(self._dataset)

    def load(self, place: int, least_side: int | None) -> np.ndarray:
        return to_pixels(self._value(place), f"images[{place}]", self._channels, least_side, self._values)

    def channels_at(self, place: int) -> int:
        return channels_of(self._value(place))

    def identity(self, place: int) -> str:
        samples = getattr(self._dataset, "samples", None)  # (path, class) of torchvision's folders
        if isinstance(samples, list) and place < len(samples) and isinstance(samples[place], tuple):
            return str(samples[place][0])
        return f"image {place} of {type(self._dataset).__name__}"

    def describe(self) -> str:
        return f"{len(self)} images from {type(self._dataset).__name__}"

    def _value(self, place: int) -> Any:
        return image_of(self._dataset[place], f"images[{place}]")


def _column(table: Any) -> str:
    typed = [name for name, feature in dict(table.features or {}).items() if type(feature).__name__ == "Image"]
    if len(typed) == 1:
        return str(typed[0])
    for name in IMAGE_COLUMNS:
        if name in (typed or table.column_names):
            return name
    if len(typed) > 1:
        raise InvalidArgumentError(
            f"images: the data set has several columns of images, {', '.join(typed)}: keep one by "
            f"select_columns(['{typed[0]}'])"
        )
    return image_column(table[0], "images")


def _table_labels(table: Any) -> tuple[np.ndarray | None, list[str] | None]:
    """The first column with a usual name for labels that holds a whole number in each row."""
    for name in LABEL_COLUMNS:
        if name in table.column_names:
            labels = np.asarray(table[name][:])
            if labels.ndim == 1 and labels.dtype.kind in "iu":
                names = getattr(dict(table.features or {}).get(name), "names", None)
                return labels.astype(np.int64), list(names) if names else None
    return None, None


def _targets(dataset: Any) -> tuple[np.ndarray | None, list[str] | None]:
    """torchvision's ``targets`` and ``classes``."""
    try:
        labels = np.asarray(dataset.targets)
    except Exception:
        return None, None
    if labels.shape != (len(dataset),) or labels.dtype.kind not in "iu":
        return None, None
    names = getattr(dataset, "classes", None)
    return labels.astype(np.int64), [str(name) for name in names] if names else None
