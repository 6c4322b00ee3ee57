"""How unlike all others an image is."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arrays
from ..errors import InvalidArgumentError
from .knn import nearest_neighbours


def outliers(features: Any, k: int | None = None, *, threads: int | None = None) -> np.ndarray:
    """float32 (N,): mean cosine similarity of each image to its `k` nearest others. The lowest are the outliers:
    ``scores.argsort()`` has them first.

    features: numbers (N, D), N at least 2. k: at most N - 1; None for 10, or N - 1 where that is less.
    """
    values = _arrays.feature_array(features, "features", ("N", "D"))
    if len(values) < 2:
        raise InvalidArgumentError("features: got 1 row, want at least 2: an image is judged by others")
    k = min(10, len(values) - 1) if k is None else k
    similarities = nearest_neighbours(values, None, k, exclude_self=True, threads=threads)[1]
    return np.asarray(similarities.mean(axis=1), np.float32)
