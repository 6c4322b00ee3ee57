"""Opening images, and images with labels, from whatever a caller or a command line gives."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .._arrays import label_array
from ..errors import FileError, InvalidArgumentError
from . import as_source
from .base import ImageSource
from .formats import read_npy
from .idx import read_idx
from .stream import BatchStream


@contextmanager
def opened(images: Any, channels: int | None = None, value_range: Any = None) -> Iterator[ImageSource | BatchStream]:
    """A source for the time of a ``with`` block; closed after it only if it was made here. channels: as of
    ``open_source``."""
    source = _any_source(images, channels, value_range)
    try:
        yield source
    finally:
        if source is not images:
            source.close()


def open_source(images: Any, channels: int | None = None, name: str = "images", value_range: Any = None) -> ImageSource:
    """The source of images that can be read in any order; InvalidArgumentError for a stream of batches.

    channels: those of a model. Image files are read as gray or RGB where it takes 1 or 3. value_range: as of
        ``carl.as_source``.
    """
    return random_access(_any_source(images, channels, value_range), name)


def open_labelled(
    images: Any,
    labels: Any = None,
    channels: int | None = None,
    *,
    name: str | None = None,
    labels_name: str | None = None,
    value_range: Any = None,
) -> tuple[ImageSource, np.ndarray | None]:
    """A source and its labels, int64 (N,).

    images: whatever ``carl.as_source`` takes but streams of batches. labels: integers (N,); the path of an .npy or IDX
        file; None for the source's own (class folders, labelled archives, an IDX file with its labels beside it), which
        may be None too.
    name, labels_name: of the arguments, for errors; by default the paths.
    """
    path = os.fspath(images) if isinstance(images, (str, os.PathLike)) else "images"
    source = open_source(images, channels, name or path, value_range)
    if labels is None:
        return source, None if source.labels is None else label_array(source.labels, path, len(source))
    if not isinstance(labels, (str, os.PathLike)):
        return source, label_array(labels, labels_name or "labels", len(source))
    file = os.fspath(labels)
    if not os.path.exists(file):
        raise FileError(f"{file}: no such file of labels")
    values = read_npy(file) if file.endswith(".npy") else read_idx(file)
    return source, label_array(values, file, len(source))


def random_access(source: ImageSource | BatchStream, name: str) -> ImageSource:
    """The source, if its images can be read in any order; InvalidArgumentError for a stream of batches."""
    if isinstance(source, BatchStream):
        raise InvalidArgumentError(
            f"{name}: got an iterable of {source.describe()}, want images that can be read in any order"
        )
    return source


def named_labels(source: ImageSource) -> np.ndarray | None:
    """A source's own labels, by their classes' names where it knows names."""
    return None if source.labels is None else names_of(source, source.labels)


def names_of(source: ImageSource, labels: np.ndarray) -> np.ndarray:
    """The classes' names instead of their numbers, where the source knows names."""
    named: np.ndarray = labels if source.class_names is None else np.asarray(source.class_names)[labels]
    return named


def aligned(
    first: ImageSource, second: ImageSource, labels: np.ndarray, names: str
) -> tuple[np.ndarray, list[str] | None]:
    """The second set's labels by the numbers that the first one's classes have, and the names of all classes: two sets
    of class folders need not have the same ones. Classes that one of them lacks are a UserWarning that names them;
    InvalidArgumentError if they have none in common."""
    known, other = first.class_names, second.class_names
    if not known or not other or known == other:
        return labels, known
    if not set(known) & set(other):
        raise InvalidArgumentError(
            f"{names} have different classes (names of sub-folders): {shown(known)}; and {shown(other)}"
        )
    joint = [*known, *(name for name in other if name not in known)]
    lacks = [f"the first has no {shown(joint[len(known) :])}"] if len(joint) > len(known) else []
    missing = [name for name in known if name not in other]
    lacks += [f"the second has no {shown(missing)}"] if missing else []
    warnings.warn(f"{names} have different classes: {'; '.join(lacks)}", UserWarning, stacklevel=3)
    numbers = np.array([joint.index(name) for name in other], np.int64)
    return numbers[labels], joint


def shown(names: list[str]) -> str:
    """Some names as text, the first few of many."""
    text = ", ".join(names[:6])
    return text + (f", ... ({len(names)} in all)" if len(names) > 6 else "")


def _any_source(images: Any, channels: int | None, value_range: Any) -> ImageSource | BatchStream:
    return as_source(images, channels if channels in (1, 3) else None, value_range=value_range)
