"""Which images of a data set, and in which order."""

from __future__ import annotations

import numpy as np


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A random permutation of 0 .. count - 1 that depends on (count, seed, epoch) alone.

    Philox is a counter-based generator whose raw stream NumPy promises never to change, unlike that of ``permutation``.
    Sorting 64-bit keys gives every order the same probability but for ties, which are as good as impossible.
    """
    keys = np.random.Philox(key=np.array([seed % 2**64, epoch], np.uint64)).random_raw(count)
    order = np.argsort(keys, kind="stable")
    return order.astype(np.uint32) if count <= 2**32 else order  # 4 bytes an image are kept for an epoch, not 8


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """At most `most` of 0 .. count - 1, from the first to the last, in order."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
