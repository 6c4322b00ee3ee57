"""Nearest neighbours by cosine similarity, and classification by their weighted vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, overload

import numpy as np

from .. import _arrays
from .._c_api import LIB, call
from ..errors import InvalidArgumentError
from ._checks import check_labels, class_labels, cutoffs
from .result import Result
from .whitening import Whitening


@dataclass(frozen=True, repr=False, eq=False)
class KNNPredictions(Result):
    """What ``knn`` gives without test labels: predictions, labels (M,) for the first k.

    references, queries: how many there were.
    """

    protocol: ClassVar[str] = "knn"

    predictions: np.ndarray
    k: int
    temperature: float
    references: int
    queries: int


@dataclass(frozen=True, repr=False, eq=False)
class KNNResult(KNNPredictions):
    """accuracy: share of right predictions for the first k. accuracies: that of every k asked for.

    raw_pixels: accuracies of the images' pixels in place of features, where they were computed (`carl knn`): what is
        there without any learning. whitened: of whitened features, likewise.
    """

    accuracy: float
    accuracies: dict[int, float]
    raw_pixels: dict[int, float] | None = None
    whitened: dict[int, float] | None = None


def nearest_neighbours(
    references: Any, queries: Any = None, k: int = 10, *, exclude_self: bool = False, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar references of each query by cosine similarity, exact, the most similar first.

    references: numbers (N, D). queries: numbers (M, D); None for the references themselves. Returns indices int64
    (M, k) and similarities float32 (M, k).

    exclude_self: queries are the references, row for row, and no row is a neighbour of itself. Its exact copies are. k
        is at most N - 1 then.
    """
    base = _arrays.feature_array(references, "references", ("N", "D"))
    rows = base if queries is None else _arrays.feature_array(queries, "queries", ("M", base.shape[1]))
    if exclude_self and len(rows) != len(base):
        raise InvalidArgumentError(
            f"queries: got {len(rows)} rows, want the {len(base)} references themselves with exclude_self"
        )
    k = _arrays.integer(k, "k", 1, len(base) - bool(exclude_self))
    if exclude_self:
        return _others(*nearest_neighbours(base, rows, k + 1, threads=threads))
    indices = np.empty((len(rows), k), np.int64)
    similarities = np.empty((len(rows), k), np.float32)
    call(
        LIB.carl_nearest_neighbours,
        base,
        len(base),
        rows,
        len(rows),
        base.shape[1],
        k,
        _arrays.thread_count(threads),
        indices,
        similarities,
    )
    return indices, similarities


def _others(indices: np.ndarray, similarities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows without themselves: wherever a tie has put them, or without the last where enough copies came before."""
    keep = indices != np.arange(len(indices))[:, None]
    keep[keep.all(axis=1), -1] = False
    shape = len(indices), indices.shape[1] - 1
    return indices[keep].reshape(shape), similarities[keep].reshape(shape)


@overload
def knn(
    train_x: Any,
    train_y: Any,
    test_x: Any,
    test_y: None = None,
    k: int | Sequence[int] | None = ...,
    temperature: float = ...,
    *,
    whiten: bool = ...,
    threads: int | None = ...,
) -> KNNPredictions: ...


@overload
def knn(
    train_x: Any,
    train_y: Any,
    test_x: Any,
    test_y: Any,
    k: int | Sequence[int] | None = ...,
    temperature: float = ...,
    *,
    whiten: bool = ...,
    threads: int | None = ...,
) -> KNNResult: ...


def knn(
    train_x: Any,
    train_y: Any,
    test_x: Any,
    test_y: Any = None,
    k: int | Sequence[int] | None = None,
    temperature: float = 0.07,
    *,
    whiten: bool = False,
    threads: int | None = None,
) -> KNNPredictions:
    """k-NN classification by cosine similarity, the protocol of Wu et al., CVPR 2018.

    Each test sample takes the label with the largest vote among its k nearest training samples; a vote weighs
    exp(similarity / temperature), or 1 when temperature is 0.

    train_x: numbers (N, D); train_y: integers of 0 or more, text or booleans (N,), of at least two classes, or the path
        of a file of them. test_x: numbers (M, D); test_y: labels (M,), without which there are predictions alone. Test
        labels that no training sample has can only be wrong: some are a warning, none in common an error.
    k: a number, or several, which share one search; None for 20, or N where that is less.
    whiten: both sets are whitened first, as `Whitening` says, by the training samples' covariance: with many of them
        for each feature it tells more apart. The protocol has plain features.
    """
    references = _arrays.feature_array(train_x, "train_x", ("N", "D"))
    queries = _arrays.feature_array(test_x, "test_x", ("M", references.shape[1]))
    labels = class_labels(train_y, "train_y", len(references))
    truth = None if test_y is None else class_labels(test_y, "test_y", len(queries))
    check_labels(labels, "train_y", truth, "test_y")
    temperature = _arrays.real(temperature, "temperature", 0.0)
    counts = cutoffs(k, len(references), (20,))
    if whiten:
        whitening = Whitening()._fit(references, "train_x")
        references, queries = whitening._whitened(references, "train_x"), whitening._whitened(queries, "test_x")
    # Labels may be any numbers: the vote needs them to be 0 .. classes - 1.
    names, places = np.unique(labels, return_inverse=True)
    places = np.ascontiguousarray(places.reshape(-1), dtype=np.int64)
    wanted = np.asarray(counts, np.int64)
    predicted = np.empty((len(counts), len(queries)), np.int64)
    call(
        LIB.carl_knn_classify_several,
        references,
        places,
        len(references),
        queries,
        len(queries),
        references.shape[1],
        len(names),
        wanted,
        len(wanted),
        temperature,
        _arrays.thread_count(threads),
        predicted,
    )
    found = KNNPredictions(names[predicted[0]], counts[0], temperature, len(references), len(queries))
    if truth is None:
        return found
    accuracies = {each: float(np.mean(names[row] == truth)) for each, row in zip(counts, predicted)}
    return KNNResult(**vars(found), accuracy=accuracies[counts[0]], accuracies=accuracies)
