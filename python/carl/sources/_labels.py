"""Labels that come with images, as whole numbers and the classes' names."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._array_like import label_values
from .._arrays import check_mapping
from ..errors import InvalidArgumentError

#: Labels, and the name of each class where they were text or the source knows names.
Labels = tuple[np.ndarray, list[str] | None]


def numbered(values: Any, name: str, count: int) -> Labels:
    """Labels int64 (N,) from whole numbers, bools or text, (N,) or (N, 1). Text and bools become the places of their
    values in order, which are the class names. InvalidArgumentError for anything else: labels that are there but cannot
    be used are not left out without a word."""
    array = label_values(values, name)
    check_mapping(array, name)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = ": of one-hot labels take argmax(axis=1)" if array.ndim == 2 else ""
        raise InvalidArgumentError(f"{name}: got labels of shape {array.shape}, want ({count},) or ({count}, 1){hint}")
    if len(array) != count:
        raise InvalidArgumentError(f"{name}: got {len(array)} labels, want {count}, one an image")
    if array.dtype.kind in "Ub":
        classes, places = np.unique(array, return_inverse=True)
        return places.reshape(-1).astype(np.int64), [str(each) for each in classes.tolist()]
    if array.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{name}: got labels of dtype {array.dtype}, want whole numbers, bools or text")
    return np.ascontiguousarray(array, np.int64), None
