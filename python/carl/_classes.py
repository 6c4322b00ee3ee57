"""Labels as the places of classes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._array_like import MOST_EXACT, is_array_like, label_values
from ._arrays import c_integer
from ._notes import as_utf8
from .errors import InvalidArgumentError


def places_among(labels: Any, classes: np.ndarray, name: str, count: int | None = None) -> tuple[np.ndarray, list[Any]]:
    """int64 (N,): the place of each label among all classes, and those: `classes`, which are in order, then the labels
    that are none of them. These are a UserWarning that names them, since no classifier of `classes` can be right there;
    InvalidArgumentError if no label is a class."""
    negative = classes.dtype.kind == "i" and int(classes.min(initial=0)) < 0
    values = checked_labels(labels, name, count, negative)
    if (values.dtype.kind in "US") != (classes.dtype.kind in "US"):
        raise InvalidArgumentError(
            f"{name}: got labels such as {values[0].item()!r}, the training set has such as {classes[0].item()!r}"
        )
    found, places = np.unique(values, return_inverse=True)
    # As Python's numbers, which are exact: NumPy compares the integers of two types as floats.
    number = {each: place for place, each in enumerate(classes.tolist())}
    strange = [each for each in found.tolist() if each not in number]
    if len(strange) == len(found):
        raise InvalidArgumentError(
            f"{name}: no label of it is a class of the training set (it has {shown(found)}, the training set has "
            f"{shown(classes)}): are they of the same data set?"
        )
    if len(strange):
        warnings.warn(
            f"{name}: {shown(strange)} not in the training set, so these images count as wrong",
            UserWarning,
            stacklevel=3,
        )
    number.update({each: len(classes) + place for place, each in enumerate(strange)})
    return np.array([number[each] for each in found.tolist()], np.int64)[places.reshape(-1)], list(number)


def checked_labels(labels: Any, name: str, count: int | None, negative: bool = False) -> np.ndarray:
    """Whole numbers of at least 0, bools or text (N,), not empty. negative: lower numbers too."""
    if labels is None:
        raise InvalidArgumentError(f"{name}: got None, and the images bring no labels")
    values = label_values(labels, name)
    if values.ndim != 1:
        raise InvalidArgumentError(f"{name}: got shape {values.shape}, want one label an image")
    if count is not None and len(values) != count:
        raise InvalidArgumentError(f"{name}: got {len(values)} labels for {count} images")
    if len(values) == 0:
        raise InvalidArgumentError(f"{name}: is empty")
    if values.dtype.kind not in "iubUS":
        raise InvalidArgumentError(f"{name}: got dtype {values.dtype}, want integers or text")
    if values.dtype.kind == "i" and int(values.min()) < 0 and not negative:
        place = int(np.flatnonzero(values < 0)[0])
        raise InvalidArgumentError(
            f"{name}[{place}]: got {values[place]}, want labels of at least 0: leave images without a label out"
        )
    return values


def encode_labels(labels: Any, name: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The different labels in order, and int64 (N,) the place of each image's label among them.

    labels: integers of at least 0, or text, (N,). Numbers need not be consecutive. Negative ones are refused: they
    are the usual mark of images without a label.
    """
    values = checked_labels(labels, name, count)
    classes, places = np.unique(values, return_inverse=True)
    return classes, places.reshape(-1).astype(np.int64)


def kept_classes(
    classes: np.ndarray, targets: np.ndarray, places: np.ndarray | None, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """The classes and targets of the images at `places` (None: all), which could be read: a class none of whose images
    could is no class. InvalidArgumentError if fewer than two are left."""
    if places is not None:
        own, targets = np.unique(targets[places], return_inverse=True)
        classes, targets = classes[own], targets.reshape(-1).astype(np.int64)
    check_classes(classes, name)
    return classes, targets


def are_several(classes: Any) -> bool:
    """Whether these are labels that stand for classes, and not a number of classes."""
    if is_array_like(classes):
        return len(getattr(classes, "shape", (0,))) > 0
    return isinstance(classes, Sequence) and not isinstance(classes, (str, bytes))


def fit_targets(labels: Any, classes: Any, count: int) -> tuple[np.ndarray, np.ndarray | int]:
    """int64 (N,): the place of each label among the classes, and those. InvalidArgumentError for labels that are no
    class.

    classes: their number, or the labels that stand for them, negative ones too, which are put in order; None takes the
        labels' own, of which there must be two.
    """
    if classes is None:
        found, places = encode_labels(labels, "labels", count)
        check_classes(found, "labels")
        return places, found
    if are_several(classes):
        classes = names = np.sort(label_values(classes, "classes"), axis=None)  # as scikit-learn has classes_
    else:
        names = np.arange(c_integer(classes, "classes", 1))
    found, places = np.unique(checked_labels(labels, "labels", count, negative=True), return_inverse=True)
    number = {name: place for place, name in enumerate(names.tolist())}
    strange = np.array([label for label in found.tolist() if label not in number])
    if len(strange):
        raise InvalidArgumentError(f"labels: {shown(strange)} not in classes, {shown(names)}")
    return np.array([number[label] for label in found.tolist()], np.int64)[places.reshape(-1)], classes


def noted_classes(classes: np.ndarray) -> dict[str, Any]:
    """What a classifier's file says of its classes, for ``read_classes``. Names that are not UTF-8 are kept with
    escapes; whole numbers that no double holds, which the file's numbers are, as text."""
    values = classes.tolist()
    if classes.dtype.kind in "iu" and max(map(abs, values)) > MOST_EXACT:
        return {"classes": [str(each) for each in values], "class_type": "int64"}
    return {"classes": [as_utf8(each) if isinstance(each, str) else each for each in values]}


def read_classes(notes: Any, count: int) -> np.ndarray:
    """The classes that a classifier's file notes; 0 .. count - 1 where it does not name so many."""
    notes = notes if isinstance(notes, Mapping) else {}
    values = notes.get("classes", [])
    try:
        whole = notes.get("class_type") == "int64"
        classes = np.array([int(each) for each in values], np.int64) if whole else np.asarray(values)
    except (TypeError, ValueError, OverflowError):  # lists of several lengths: not what save writes
        classes = np.empty(0)
    return classes if classes.shape == (count,) else np.arange(count)


def check_classes(labels: np.ndarray, name: str) -> np.ndarray:
    """The classes of labels, of which there must be at least two."""
    classes = np.unique(labels)
    if len(classes) < 2:
        raise InvalidArgumentError(f"{name}: all are the same, want labels of at least 2 classes to tell apart")
    return classes


def shown(classes: Sequence[Any] | np.ndarray) -> str:
    """Some classes as text, the first few of many."""
    text = ", ".join(str(each) for each in classes[:6])
    return text + (f", ... ({len(classes)} in all)" if len(classes) > 6 else "")
