"""Images that a set has twice: exact copies by their pixels, near ones by the similarity of their features."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import _arrays, _images
from .._shown import ShownFields
from .._unit_rows import unit_rows
from ..errors import InvalidArgumentError
from .knn import nearest_neighbours

#: Similarity from which images count as near copies. A default from one set: what it should be depends on the images
#: and on how long the model was trained, which ``near_misses`` shows.
THRESHOLD = 0.97
#: Pairs below it that are shown.
PAIRS = 5
#: What counts as a similarity of 1: the product of equal rows of length 1 is it but for rounding.
_ONE = 1 - 1e-6
#: Neighbours of each image that are looked at; those of one with more copies are looked at by itself.
_NEIGHBOURS = 32
#: Products of rows that are in memory at once.
_PRODUCTS = 1 << 22
#: From how many images on most of their mean is taken off the features.
_FEW = 4


#: Rows, others, and the similarities of the two.
_Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, repr=False, eq=False)
class DuplicateGroup(ShownFields):
    """The first image of a group, in the set's order, and those that are copies of it.

    places: int64 (n,), the first image's, then by falling similarity. similarities: float32 (n,), to the first image, 1
        for its exact copies.
    exact: bool (n,), whether the pixels are those of the first image.
    """

    places: np.ndarray
    similarities: np.ndarray
    exact: np.ndarray

    @property
    def kind(self) -> str:
        """ "exact" where all images have the same pixels, else "near"."""
        return "exact" if self.exact.all() else "near"


def fingerprint(image: Any) -> str:
    """Text that is the same for images of the same pixels, however their files are written. image: uint8 (H, W) or
    (H, W, C), (H, W) being the same as (H, W, 1), or a Pillow image."""
    array = np.ascontiguousarray(_images.one_image(image, "image"))
    return hashlib.sha256(repr(array.shape).encode() + array.tobytes()).hexdigest()


def duplicates(
    features: Any,
    fingerprints: Sequence[str] | None = None,
    threshold: float | None = THRESHOLD,
    *,
    threads: int | None = None,
) -> list[DuplicateGroup]:
    """Groups of images that are copies of one another, in the order of their first images; no image is in two.

    features: numbers (N, D). Similarity is the cosine of the angle between two images' features after the mean of all
        is taken off: what all images share says nothing about two of them. Of few images less is taken off,
        1 - 4/N of it, since their mean is mostly themselves.
    fingerprints: N texts of ``fingerprint``, by which exact copies are known; None looks for near ones alone.
    threshold: similarity to the first image of a group from which an image belongs to it, above 0, at most 1, which
        equal features have whatever rounding makes of it. Chains do not form: every image of a group is that similar to
        its first. None looks for exact copies alone. The default is one to adjust: the pairs that ``near_misses`` gives
        say to what.
    """
    return Copies(features, fingerprints, threshold, threads).groups


def near_misses(
    features: Any,
    fingerprints: Sequence[str] | None = None,
    threshold: float = THRESHOLD,
    count: int = PAIRS,
    *,
    threads: int | None = None,
) -> list[tuple[int, int, float]]:
    """The pairs that are just too unlike for ``duplicates``, by which a threshold is chosen: at most `count` pairs of
    places with their similarities, the most similar first, each image once, and none of two images of one group.
    Arguments as of ``duplicates``."""
    count = _arrays.integer(count, "count", 1, 2**31 - 1)
    return Copies(features, fingerprints, threshold, threads).misses(count)


class Copies:
    """One search for copies, and what ``duplicates`` and ``near_misses`` take from it. Arguments as of ``duplicates``.

    All rows here are of images that differ: of exact copies the first stands for all.
    """

    def __init__(
        self, features: Any, fingerprints: Sequence[str] | None, threshold: float | None, threads: int | None = None
    ) -> None:
        values = _arrays.feature_array(features, "features", ("N", "D"))
        _check_threshold(threshold)
        self._marks = _marks(fingerprints, len(values))
        self._copies: dict[str, list[int]] = {}
        for place, mark in enumerate(self._marks):
            self._copies.setdefault(mark, []).append(place)
        self._firsts = np.array([places[0] for places in self._copies.values()])
        self._least: float = np.inf if threshold is None else min(threshold, _ONE)
        rows = _centred(values)[self._firsts]
        k = 0 if threshold is None else min(_NEIGHBOURS, len(rows) - 1)
        self._near, self._similarities = np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0), np.float32)
        if k:
            self._near, self._similarities = nearest_neighbours(rows, None, k, exclude_self=True, threads=threads)
        # Rows that may have more copies than neighbours were looked at; all others are looked at for them alone.
        self._crowded = np.asarray((self._similarities[:, k - 1 :] >= self._least).any(axis=1))
        self._unit = unit_rows(rows) if self._crowded.any() else np.empty((0, 0), np.float32)

    @cached_property
    def _grouped(self) -> tuple[list[DuplicateGroup], np.ndarray]:
        """The groups, and for each row the first row of its group, which may be itself."""
        groups = []
        first_of = np.arange(len(self._firsts))
        taken = np.zeros(len(first_of), bool)
        several = np.array([len(places) > 1 for places in self._copies.values()])
        for row in np.flatnonzero(several | (self._similarities >= self._least).any(axis=1)).tolist():
            if taken[row]:
                continue
            others, alike = self._alike(row)
            new = (others > row) & ~taken[others]
            others, alike = others[new], alike[new]
            taken[others], first_of[others] = True, row
            copies = [self._copies[self._marks[self._firsts[each]]] for each in (row, *others.tolist())]
            places = [place for each in copies for place in each]
            if len(places) > 1:
                close = np.repeat(np.array([1, *alike], np.float32), [len(each) for each in copies])
                groups.append(
                    DuplicateGroup(np.array(places, np.int64), close, np.arange(len(places)) < len(copies[0]))
                )
        return groups, first_of

    @property
    def groups(self) -> list[DuplicateGroup]:
        """What ``duplicates`` gives."""
        return self._grouped[0]

    def _alike(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """All rows that are copies of one, by falling similarity, and their similarities."""
        others, alike = self._near[row], self._similarities[row]
        if self._crowded[row]:
            alike = self._unit @ self._unit[row]
            alike[row] = -np.inf
            others = np.flatnonzero(alike >= self._least)
            others = others[np.argsort(-alike[others], kind="stable")]
            return others, alike[others]
        return others[alike >= self._least], alike[alike >= self._least]

    def misses(self, count: int) -> list[tuple[int, int, float]]:
        """What ``near_misses`` gives."""
        first_of = self._grouped[1]
        rows, columns = np.nonzero((self._similarities < self._least) & (first_of[self._near] != first_of[:, None]))
        pairs = _ranked((rows, self._near[rows, columns], self._similarities[rows, columns]))
        crowded, size = np.flatnonzero(self._crowded), max(1, _PRODUCTS // len(first_of))
        for first in range(0, len(crowded), size):
            # The count-th pair of all is no less alike than the 2 count-th of some: one that is taken excludes two.
            best, least = _apart(pairs, 2 * count), -np.inf
            if len(best) == 2 * count:
                pairs, least = _part(pairs, slice(best[-1] + 1)), pairs[2][best[-1]]
            pairs = _ranked(pairs, self._next(crowded[first : first + size], least, 2 * count))
        rows, others, similarities = _part(pairs, _apart(pairs, count))
        return [
            (int(self._firsts[min(pair)]), int(self._firsts[max(pair)]), float(similarity))
            for *pair, similarity in zip(rows, others, similarities)
        ]

    def _next(self, rows: np.ndarray, least: float, most: int) -> _Pairs:
        """The pairs of some rows with those of other groups, each row's `most` best, of rows with one above `least`."""
        first_of = self._grouped[1]
        products = self._unit[rows] @ self._unit.T
        products[(products >= self._least) | (first_of[rows, None] == first_of)] = -np.inf
        some = products.max(axis=1) > least
        rows, products = rows[some], products[some]
        others = np.argpartition(-products, min(most, len(first_of)) - 1, axis=1)[:, :most]
        similarities = np.take_along_axis(products, others, axis=1)
        places, columns = np.nonzero(similarities > least)
        return rows[places], others[places, columns], similarities[places, columns]


def _ranked(*parts: _Pairs) -> _Pairs:
    """Pairs together, the most similar first."""
    rows, others, similarities = (np.concatenate(each) for each in zip(*parts))
    return _part((rows, others, similarities), np.argsort(-similarities, kind="stable"))


def _part(pairs: _Pairs, places: Any) -> _Pairs:
    rows, others, similarities = pairs
    return rows[places], others[places], similarities[places]


def _apart(pairs: _Pairs, count: int) -> list[int]:
    """Places of the first pairs, at most `count`, so that each row is in one."""
    found: list[int] = []
    seen: set[int] = set()
    for place, pair in enumerate(zip(pairs[0].tolist(), pairs[1].tolist())):
        if len(found) == count:
            break
        if seen.isdisjoint(pair):
            seen.update(pair)
            found.append(place)
    return found


def _check_threshold(threshold: float | None) -> None:
    if threshold is not None and _arrays.real(threshold, "threshold", 0.0, above=True) > 1:
        raise InvalidArgumentError(f"threshold: got {threshold}, want a cosine similarity above 0 and at most 1")


def _marks(fingerprints: Sequence[str] | None, count: int) -> list[str]:
    """What is equal for exact copies; where nothing is known of them, no two are."""
    if fingerprints is None:
        return list(map(str, range(count)))
    if isinstance(fingerprints, str) or not isinstance(fingerprints, Iterable):
        raise InvalidArgumentError(
            f"fingerprints: got {type(fingerprints).__name__}, want a list of texts of fingerprint(), one an image"
        )
    marks = list(fingerprints)
    if len(marks) != count:
        raise InvalidArgumentError(f"fingerprints: got {len(marks)}, features has {count} rows")
    for place, mark in enumerate(marks):
        try:
            hash(mark)
        except TypeError:
            raise InvalidArgumentError(
                f"fingerprints[{place}]: got {type(mark).__name__}, want a text of fingerprint()"
            ) from None
    return marks


def _centred(values: np.ndarray) -> np.ndarray:
    share = max(0.0, 1 - _FEW / len(values))
    return np.asarray(values - values.mean(axis=0, dtype=np.float64) * share, np.float32)
