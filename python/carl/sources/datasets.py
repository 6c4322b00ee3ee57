"""Data sets of other packages, recognised by their methods: Hugging Face ``datasets`` and map-style sets of torch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from .._decode import Header
from .._layout import channels_last
from .._values import Values
from ..errors import FileError, InvalidArgumentError
from ._labels import numbered
from .base import DecodedSource
from .items import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    header_of_item,
    image_column,
    image_of,
    is_batch,
    is_image,
    is_single,
    to_pixels,
)


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
    image = image_of(item, "images: item 0", single=True)
    if is_image(image) or is_single(item):
        return True
    # torch's sets of single images cannot be iterated, but by number; (C, H, W) of many channels looks like a batch.
    if hasattr(images, "__iter__"):
        return False
    if isinstance(image, list) and is_batch(image):
        raise InvalidArgumentError(
            f"images: item 0 of the {type(images).__name__} is a list of {len(image)} images; want one image an item, "
            "with others behind it in a tuple: (image, mask)"
        )
    return len(getattr(image, "shape", ())) == 3


class TableSource(DecodedSource):
    """A ``datasets.Dataset``: a column of images, of Pillow images, encoded files or arrays. Rows are read by several
    threads.

    label_column: the labels' column; None takes one with a usual name, if it holds numbers or text.
    column: its name; None takes one of image type, one with a usual name, or the only one that holds images.
    """

    def __init__(
        self,
        table: Any,
        channels: int | None = None,
        column: str | None = None,
        workers: int | None = None,
        value_range: Any = None,
        label_column: str | None = None,
    ) -> None:
        super().__init__(workers)
        self._values = Values(value_range)
        if len(table) == 0:
            raise InvalidArgumentError("images: the data set has no rows")
        # A transform (with_transform) makes rows of other columns, of all that are there.
        transformed = dict(getattr(table, "format", None) or {}).get("type") == "custom"
        self.decodes = not transformed  # which may be random
        columns = list(table[0]) if transformed else table.column_names
        self._column = column or (image_column(table[0], "images") if transformed else _column(table))
        if self._column not in columns:
            raise InvalidArgumentError(f"column: got {self._column!r}, the data set has {', '.join(columns)}")
        self._dtype = None if transformed else _dtype(dict(table.features or {}).get(self._column))
        self.labels, self.class_names = _table_labels(table, label_column)
        # Other columns, which may be large, are not read.
        select = hasattr(table, "select_columns") and not transformed
        self._table = table.select_columns([self._column]) if select else table
        self._print = getattr(table, "_fingerprint", None)
        self._choose_channels(channels)

    def __len__(self) -> int:
        return len(self._table)

    def load(self, place: int, least_side: int | None) -> np.ndarray:
        return to_pixels(self._value(place), self.identity(place), self._channels, least_side, self._values)

    def header_at(self, place: int) -> Header:
        return header_of_item(self._value(place))

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
        if isinstance(value, (list, tuple)):
            return np.asarray(value, self._dtype)
        found = getattr(channels_last(value), "dtype", None)
        if isinstance(found, np.dtype) and found != self._dtype and self._dtype is not None and found.kind in "iu":
            return channels_last(value).astype(self._dtype)  # the package's formats widen integers
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

    def header_at(self, place: int) -> Header:
        return header_of_item(self._value(place))

    def identity(self, place: int) -> str:
        samples = getattr(self._dataset, "samples", None)  # (path, class) of torchvision's folders
        if isinstance(samples, list) and place < len(samples) and isinstance(samples[place], tuple):
            return str(samples[place][0])
        return f"image {place} of {type(self._dataset).__name__}"

    def describe(self) -> str:
        return f"{len(self)} images from {type(self._dataset).__name__}"

    def _value(self, place: int) -> Any:
        return image_of(self._dataset[place], f"images[{place}]", single=True)


def _column(table: Any) -> str:
    features = dict(table.features or {})
    for kinds in (("Image",), ("Array2D", "Array3D")):
        typed = [name for name, feature in features.items() if type(feature).__name__ in kinds]
        if typed:
            break
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


def _dtype(feature: Any) -> np.dtype[Any] | None:
    """The type of the numbers in a column of arrays or nested lists, whose values are lists."""
    while feature is not None and not isinstance(getattr(feature, "dtype", None), str):
        feature = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    try:
        return None if feature is None else np.dtype(feature.dtype)
    except TypeError:  # text, dict, ...
        return None


def _table_labels(table: Any, wanted: str | None) -> tuple[np.ndarray | None, list[str] | None]:
    """The first column with a usual name for labels that holds a number or text in each row. What a transform makes of
    rows does not matter."""
    plain = table.with_format(None) if hasattr(table, "with_format") else table
    if wanted is not None and wanted not in plain.column_names:
        raise InvalidArgumentError(f"label_key: got {wanted!r}, the data set has {', '.join(plain.column_names)}")
    for name in LABEL_COLUMNS if wanted is None else (wanted,):
        if name in plain.column_names:
            with suppress(*([] if wanted else [ValueError])):
                labels, found = numbered(plain[name][:], name, len(plain))
                names = getattr(dict(plain.features or {}).get(name), "names", None)
                return labels, list(names) if names else found
    return None, None


def _targets(dataset: Any) -> tuple[np.ndarray | None, list[str] | None]:
    """The labels of a set, without reading its images: torchvision's ``targets`` or ``labels``, and ``classes``; the
    second of a TensorDataset's ``tensors``; those of the set behind a Subset, and of the sets of a ConcatDataset."""
    try:
        if isinstance(parts := getattr(dataset, "datasets", None), (list, tuple)):
            found = [_targets(part) for part in parts]
            if any(labels is None or names != found[0][1] for labels, names in found):
                return None, None
            return np.concatenate([labels for labels, _ in found if labels is not None]), found[0][1]
        if hasattr(dataset, "dataset") and hasattr(dataset, "indices"):
            labels, names = _targets(dataset.dataset)
            return None if labels is None else labels[np.asarray(dataset.indices, np.int64)], names
        tensors = getattr(dataset, "tensors", None)
        values = tensors[1] if isinstance(tensors, (list, tuple)) and len(tensors) == 2 else None
        for name in ("targets", "labels"):
            values = getattr(dataset, name, None) if values is None else values
        if values is None or len(values) != len(dataset):
            return None, None
        labels, found_names = numbered(values, "targets", len(values))
    except Exception:  # attributes of these names may be anything
        return None, None
    known = getattr(dataset, "classes", None)
    return labels, [str(name) for name in known] if known else found_names
