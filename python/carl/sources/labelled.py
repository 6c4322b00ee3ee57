"""Opening images, and images with labels, from whatever a caller or a command line gives."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from .._array_like import label_values
from .._arrays import label_array
from .._classes import shown
from .._shown import line
from ..errors import InvalidArgumentError
from . import as_source
from ._labels import numbered
from .base import ImageSource
from .label_files import read_labels
from .stream import BatchStream


class Labelled(NamedTuple):
    """Images with labels int64 (N,), None where there are none, and the name of each label where names are known."""

    source: ImageSource
    labels: np.ndarray | None
    class_names: list[str] | None

    def __repr__(self) -> str:
        return line(type(self).__name__, self._asdict())


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


def open_source(
    images: Any,
    channels: int | None = None,
    name: str = "images",
    value_range: Any = None,
    image_key: str | None = None,
    label_key: str | None = None,
) -> ImageSource:
    """The source of images that can be read in any order; InvalidArgumentError for a stream of batches.

    channels: those of a model. Image files are read as gray or RGB where it takes 1 or 3. value_range, image_key,
        label_key: as of ``carl.as_source``.
    """
    return random_access(_any_source(images, channels, value_range, image_key, label_key), name)


def open_labelled(
    images: Any,
    labels: Any = None,
    channels: int | None = None,
    *,
    name: str | None = None,
    labels_name: str | None = None,
    value_range: Any = None,
    image_key: str | None = None,
    label_key: str | None = None,
) -> Labelled:
    """A source and its labels.

    images: whatever ``carl.as_source`` takes but streams of batches. labels: whole numbers, text or bools (N,); the
        path of a file, as of ``read_labels``; None for the source's own (class folders, labelled archives, an IDX file
        with its labels beside it), which may be None too.
    name, labels_name: of the arguments, for errors; by default the paths.
    """
    path = os.fspath(images) if isinstance(images, (str, os.PathLike)) else "images"
    source = open_source(images, channels, name or path, value_range, image_key, label_key)
    if labels is None:
        own = None if source.labels is None else label_array(source.labels, path, len(source))
        return Labelled(source, own, source.class_names)
    if isinstance(labels, (str, os.PathLike)):
        return Labelled(source, *read_labels(labels, source))
    values = label_values(labels, labels_name or "labels")
    if values.dtype.kind in "USOb":
        return Labelled(source, *numbered(values, labels_name or "labels", len(source)))
    return Labelled(source, label_array(values, labels_name or "labels", len(source)), None)


def random_access(source: ImageSource | BatchStream, name: str) -> ImageSource:
    """The source, if its images can be read in any order; InvalidArgumentError for a stream of batches."""
    if isinstance(source, BatchStream):
        raise InvalidArgumentError(
            f"{name}: got an iterable of {source.describe()}, want images that can be read in any order"
        )
    return source


def labels_of(source: ImageSource, labels: Any = None) -> Any:
    """Labels of a source's images: those that are given, an array or the path of a file; None for the source's own.
    Where names of classes are known, these."""
    if isinstance(labels, (str, os.PathLike)):
        return named(*read_labels(labels, source))
    if labels is not None or source.labels is None:
        return labels
    return named(source.labels, source.class_names)


def named(labels: np.ndarray, names: list[str] | None) -> np.ndarray:
    """The classes' names instead of their numbers, where there are names. InvalidArgumentError for a number that is no
    class, such as -1 for images without a label."""
    if names is None:
        return labels
    wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(wrong):
        raise InvalidArgumentError(
            f"labels[{wrong[0]}]: got {labels[wrong[0]]}, want 0 to {len(names) - 1}, the places of the {len(names)} "
            "class names: leave images without a label out"
        )
    found: np.ndarray = np.asarray(names)[labels]
    return found


def aligned(
    known: list[str] | None, other: list[str] | None, labels: np.ndarray, names: str
) -> tuple[np.ndarray, list[str] | None]:
    """The second set's labels by the numbers that the first one's classes have, and the names of all classes: two sets
    of class folders need not have the same ones. Classes that one of them lacks are a UserWarning that names them;
    InvalidArgumentError if they have none in common.

    known, other: the class names of the two. Where one has none, its labels are numbers, and the other's names have to
        be numbers too: places in a list of names are no names. names: of the sets.
    """
    if known == other:
        return labels, known
    wrong = labels[(labels < 0) | (labels >= len(other))] if other else labels[labels < 0]
    if len(wrong):
        raise InvalidArgumentError(f"{names}: got the label {wrong[0]}: leave images without a label out")
    if not known or not other:
        numbers = _whole_numbers(known or other)
        if not numbers:
            raise InvalidArgumentError(
                f"{names} have different labels: names, {shown(known or other or [])}, and numbers: both want the same"
            )
        if not known:
            return np.array(numbers, np.int64)[labels], None
        named_by = dict(zip(numbers, known))
        different, places = np.unique(labels, return_inverse=True)
        other, labels = [named_by.get(each, str(each)) for each in different.tolist()], places.reshape(-1)
    places_of = {name: place for place, name in enumerate(known)}
    there = set(other)
    missing = [name for name in known if name not in there]
    if len(missing) == len(known):
        raise InvalidArgumentError(f"{names} have different classes: {shown(known)}; and {shown(other)}")
    more = [name for name in other if name not in places_of]
    places_of.update({name: len(known) + place for place, name in enumerate(more)})
    lacks = [f"the first has no {shown(more)}"] if more else []
    lacks += [f"the second has no {shown(missing)}"] if missing else []
    if lacks:
        warnings.warn(f"{names} have different classes: {'; '.join(lacks)}", UserWarning, stacklevel=3)
    return np.array([places_of[name] for name in other], np.int64)[labels], [*known, *more]


def _whole_numbers(names: list[str] | None) -> list[int] | None:
    """What the names of all classes are as numbers, if they are different whole numbers, or truth values."""
    truths = {"False": 0, "True": 1}
    try:
        numbers = [truths[name] if name in truths else int(name) for name in names or []]
    except ValueError:
        return None
    fits = all(abs(number) < 2**63 for number in numbers)
    return numbers if fits and len(set(numbers)) == len(numbers) else None


def _any_source(
    images: Any, channels: int | None, value_range: Any, image_key: str | None = None, label_key: str | None = None
) -> ImageSource | BatchStream:
    channels = channels if channels in (1, 3) else None
    return as_source(images, channels, value_range=value_range, image_key=image_key, label_key=label_key)
