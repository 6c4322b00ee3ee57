"""Images that a set has twice: exact copies by their pixels, near ones by the similarity of their features."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
#: Neighbours looked at first, and at most of all images at once; those of one with more copies are looked at by itself.
_FIRST, _MOST = 32, 1024
#: From how many images on most of their mean is taken off the features.
_FEW = 4


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
    threshold: similarity to the first image of a group from which an image belongs to it, above 0, at most 1. Chains do
        not form: every image of a group is that similar to its first. None looks for exact copies alone. The default is
        one to adjust: the pairs that ``near_misses`` gives say to what.
    """
    values = _arrays.feature_array(features, "features", ("N", "D"))
    _check_threshold(threshold)
    marks = _marks(fingerprints, len(values))
    copies: dict[str, list[int]] = {}
    for place, mark in enumerate(marks):
        copies.setdefault(mark, []).append(place)
    firsts = np.array([places[0] for places in copies.values()])
    rows = _centred(values)[firsts]
    near, similarities = _similar(rows, threshold, threads)
    least, unit = 2.0 if threshold is None else threshold, np.empty(0)
    taken = np.zeros(len(firsts), bool)
    groups = []
    for row, first in enumerate(firsts):
        if taken[row]:
            continue
        others, alike = near[row], similarities[row]
        if len(others) and alike[-1] >= least:  # there may be more of them
            if not len(unit):
                unit = unit_rows(rows)
            others, alike = _all_similar(unit, row)
        found = [(row, 1.0)] + [
            (int(other), float(similarity))
            for other, similarity in zip(others, alike)
            if similarity >= least and other > row and not taken[other]
        ]
        taken[[other for other, _ in found]] = True
        places = [place for other, _ in found for place in copies[marks[firsts[other]]]]
        if len(places) > 1:
            close = [similarity for other, similarity in found for _ in copies[marks[firsts[other]]]]
            same = [marks[place] == marks[first] for place in places]
            groups.append(DuplicateGroup(np.array(places, np.int64), np.array(close, np.float32), np.array(same)))
    return groups


def near_misses(
    features: Any,
    fingerprints: Sequence[str] | None = None,
    threshold: float = THRESHOLD,
    count: int = 5,
    *,
    threads: int | None = None,
) -> list[tuple[int, int, float]]:
    """The pairs that are just too unlike for ``duplicates``, by which a threshold is chosen: at most `count` pairs of
    places with their similarities, the most similar first, each image once. Arguments as of ``duplicates``."""
    values = _arrays.feature_array(features, "features", ("N", "D"))
    count = _arrays.integer(count, "count", 1, 2**31 - 1)
    _check_threshold(threshold)
    marks = _marks(fingerprints, len(values))
    firsts = np.array(sorted({mark: place for place, mark in reversed(list(enumerate(marks)))}.values()))
    near, similarities = _similar(_centred(values)[firsts], threshold, threads)
    rows, columns = np.nonzero((similarities < threshold) & (near > np.arange(len(near))[:, None]))
    found: list[tuple[int, int, float]] = []
    seen: set[int] = set()
    for place in np.argsort(-similarities[rows, columns], kind="stable").tolist():
        row, other = int(rows[place]), int(near[rows[place], columns[place]])
        if not {row, other} & seen:
            seen |= {row, other}
            found.append((int(firsts[row]), int(firsts[other]), float(similarities[row, columns[place]])))
        if len(found) == count:
            break
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


def _similar(rows: np.ndarray, threshold: float | None, threads: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The nearest rows of each, as many as are needed to see all of `threshold`, but `_MOST` at most."""
    most = min(len(rows) - 1, _MOST)
    if most < 1 or threshold is None:
        return np.empty((len(rows), 0), np.int64), np.empty((len(rows), 0), np.float32)
    k = min(_FIRST, most)
    while True:
        near, similarities = nearest_neighbours(rows, None, k, exclude_self=True, threads=threads)
        if k == most or not (similarities[:, -1] >= threshold).any():
            return near, similarities
        k = min(4 * k, most)


def _all_similar(unit: np.ndarray, row: int) -> tuple[np.ndarray, np.ndarray]:
    """All other rows by falling similarity to one of them."""
    similarities = unit @ unit[row]
    order = np.argsort(-similarities, kind="stable")
    order = order[order != row]
    return order, similarities[order]
