"""Rows of features as directions: cosine similarity is the product of two of them."""

from __future__ import annotations

import numpy as np


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """float32 (N, D): rows of real numbers divided by their l2 norms; those without any stay 0. Norms are float64,
    which has room for the squares of every float32."""
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    unit = np.empty(rows.shape, np.float32)
    np.divide(rows, np.maximum(norms, 1e-300)[:, None], out=unit, dtype=np.float64, casting="same_kind")
    return unit
