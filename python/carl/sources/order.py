"""Which images of a data set, and in which order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

#: Indices in a chunk of an order, about; and chunks of an order at most, since each costs a pass over all keys.
_STRETCH, _MOST_STRETCHES = 1 << 14, 64
#: Keys drawn at a time.
_DRAWN = 1 << 14


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A random permutation of 0 .. count - 1 that depends on (count, seed, epoch) alone: the places in the order of
    random keys.

    Philox is a counter-based generator whose raw stream NumPy promises never to change, unlike that of ``permutation``.
    Sorting 64-bit keys gives every order the same probability except for ties, which are negligible.
    """
    return np.concatenate([np.empty(0, np.int64), *epoch_stretches(count, seed, epoch)])


def epoch_stretches(count: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """``epoch_order`` in chunks, so that a large set's first images are known at once and its order is never held in
    memory: each chunk draws the keys again and sorts those within a range of its own."""
    stretches = max(1, min(_MOST_STRETCHES, count // _STRETCH))
    for stretch in range(stretches):
        low, high = (2**64 * bound // stretches for bound in (stretch, stretch + 1))
        keys, places = [], []
        generator = np.random.Philox(key=np.array([seed % 2**64, epoch], np.uint64))
        for start in range(0, count, _DRAWN):
            drawn = generator.random_raw(min(_DRAWN, count - start))
            chosen = np.flatnonzero((drawn >= np.uint64(low)) & (drawn <= np.uint64(high - 1)))
            keys.append(drawn[chosen])
            places.append(chosen + start)
        if keys:
            yield np.concatenate(places)[np.argsort(np.concatenate(keys), kind="stable")]


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """At most `most` of 0 .. count - 1, from the first to the last, in order."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))
