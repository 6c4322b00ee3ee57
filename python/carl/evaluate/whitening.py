"""Whitening: directions of features that vary alike in all images count less."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arrays
from .._shown import line
from ..errors import InvalidArgumentError, NotFittedError

#: Rows that are multiplied at a time.
ROWS = 1 << 16


class Whitening:
    """Centres features, and scales their principal components to equal variance: (x - mean) (C + e I)^(-1/2), C the
    covariance of the features it was fitted to and e `shrinkage` times their mean variance.

    Nothing but features is needed, no labels. A linear read-out such as a logistic regression gains nothing from it;
    similarities do, since no few directions dominate them any more. It takes a good estimate of the covariance: with
    fewer than about fifty samples for each of the D features, plain features are better.

    shrinkage: above 0; larger values change the features less.
    """

    def __init__(self, shrinkage: float = 0.03) -> None:
        self.shrinkage = _arrays.real(shrinkage, "shrinkage", 0.0, above=True)
        self.mean_: np.ndarray | None = None
        self.matrix_: np.ndarray | None = None

    def __repr__(self) -> str:
        fitted = {} if self.mean_ is None else {"features": len(self.mean_)}
        return line(type(self).__name__, {"shrinkage": self.shrinkage, **fitted})

    def fit(self, features: Any, y: Any = None) -> Whitening:
        """features: numbers (N, D), N at least 2. y is ignored."""
        return self._fit(_arrays.feature_array(features, "features", ("N", "D")), "features")

    def _fit(self, rows: np.ndarray, name: str) -> Whitening:
        if len(rows) < 2:
            raise InvalidArgumentError(f"{name}: got {len(rows)} row, want at least 2 to tell how they vary")
        mean = rows.mean(axis=0, dtype=np.float64)
        covariance = np.zeros((rows.shape[1], rows.shape[1]))
        for first in range(0, len(rows), ROWS):
            part = rows[first : first + ROWS] - mean
            covariance += part.T @ part
        covariance /= len(rows) - 1
        variances, directions = np.linalg.eigh(covariance)
        variances = np.maximum(variances, 0)
        floor = self.shrinkage * float(variances.mean())
        if not floor > 0 or np.array_equal(rows.min(axis=0), rows.max(axis=0)):
            raise InvalidArgumentError(f"{name}: all {len(rows)} rows are alike: there is nothing to scale")
        # In the features' own directions (ZCA), so that whitened features stay near what they were.
        matrix = directions * (variances + floor) ** -0.5 @ directions.T
        if np.abs(matrix).max() > np.finfo(np.float32).max:
            raise InvalidArgumentError(
                f"{name}: vary by {variances.mean() ** 0.5:.1e} alone, too little for float32: scale them"
            )
        self.matrix_ = matrix.astype(np.float32)
        self.mean_ = mean
        return self

    def transform(self, features: Any) -> np.ndarray:
        """float32 (M, D)."""
        if self.matrix_ is None or self.mean_ is None:
            raise NotFittedError("this Whitening is not fitted yet: call fit with features first")
        return self._whitened(_arrays.feature_array(features, "features", ("M", len(self.mean_))), "features")

    def _whitened(self, rows: np.ndarray, name: str) -> np.ndarray:
        assert self.matrix_ is not None
        whitened = np.empty(rows.shape, np.float32)
        for first in range(0, len(rows), ROWS):
            with np.errstate(over="ignore", invalid="ignore"):
                centred = (rows[first : first + ROWS] - self.mean_).astype(np.float32)
                part = np.matmul(centred, self.matrix_, out=whitened[first : first + ROWS])
            if not np.isfinite(part).all():
                row = first + int(np.flatnonzero(~np.isfinite(part).all(axis=1))[0])
                raise InvalidArgumentError(
                    f"{name}: row {row} is beyond float32 when whitened: it is that far from the features fitted to"
                )
        return whitened

    def fit_transform(self, features: Any, y: Any = None) -> np.ndarray:
        return self.fit(features).transform(features)
