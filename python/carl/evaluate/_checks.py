"""Checks that several protocols make of labels and numbers of neighbours."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import _arrays
from .._array_like import label_values
from .._classes import check_classes, shown
from ..errors import InvalidArgumentError
from ..sources.label_files import read_labels_in_order
from ..sources.labelled import named


def class_labels(value: Any, name: str, count: int | None = None) -> np.ndarray:
    """(count,) labels of samples: integers of at least 0 as int64, text, or booleans. value: these, or the path of a
    file of them, which wants `count`."""
    value = value if count is None else labels_in_file(value, count)
    array = label_values(value, name)
    if array.dtype.kind not in "Ub" or array.ndim != 1:
        array = _arrays.label_array(array, name, count)
        _check_not_negative(array, name)
    if count is not None and len(array) != count:
        raise InvalidArgumentError(f"{name}: got {len(array)} labels, want {count}, one a sample")
    return array


def labels_in_file(value: Any, count: int) -> Any:
    """The labels of `count` rows in the order of the file at the path `value`; what is no path stays as it is."""
    return named(*read_labels_in_order(value, count)) if isinstance(value, (str, os.PathLike)) else value


def _check_not_negative(labels: np.ndarray, name: str) -> None:
    wrong = np.flatnonzero(labels < 0)[:1] if labels.dtype.kind == "i" else np.empty(0, np.int64)
    if len(wrong):
        raise InvalidArgumentError(
            f"{name}[{wrong[0]}]: got {labels[wrong[0]]}, want labels of at least 0: leave samples without a label out"
        )


def check_labels(
    labels: np.ndarray,
    name: str,
    truth: np.ndarray | None = None,
    truth_name: str = "",
    so: str = "these samples count as wrong",
) -> None:
    """Labels of at least two classes, some of which `truth` shares. A UserWarning names what `truth` has beyond them,
    and `so` what becomes of it; "" warns of nothing."""
    _check_not_negative(labels, name)
    classes = check_classes(labels, name)
    if truth is None:
        return
    if (labels.dtype.kind in "US") != (truth.dtype.kind in "US"):
        raise InvalidArgumentError(
            f"{truth_name}: got labels such as {truth[0].item()!r}, {name} has such as {labels[0].item()!r}"
        )
    _check_not_negative(truth, truth_name)
    found = np.unique(truth)
    strange = np.setdiff1d(found, classes)
    if len(strange) == len(found):
        raise InvalidArgumentError(
            f"{truth_name}: no label of it is in {name} (it has {shown(found)}, {name} has {shown(classes)}): are they "
            "of the same data set?"
        )
    if len(strange) and so:
        warnings.warn(f"{truth_name}: {shown(strange)} not in {name}, so {so}", UserWarning, stacklevel=3)


def cutoffs(k: Any, most: int, standard: Sequence[int]) -> list[int]:
    """`k`, a number or several, each from 1 to `most`, without repetitions; None for `standard`, or fewer where there
    are no more."""
    if k is None:
        return list(dict.fromkeys(min(each, max(1, most)) for each in standard))
    counts = [_arrays.integer(each, "k", 1, most) for each in _arrays.one_or_several(k)]
    if not counts:
        raise InvalidArgumentError("k: is empty")
    if len(counts) > 1024:
        raise InvalidArgumentError(f"k: got {len(counts)} numbers, want at most 1024")
    return list(dict.fromkeys(counts))
