"""Nearest neighbours by cosine similarity, and classification by their weighted vote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import _arrays
from .._c_api import LIB, call
from ._checks import check_labels, class_array, cutoffs
from .result import Result


@dataclass(frozen=True)
class KNNResult(Result):
    """predictions: labels (M,) for the first k; accuracy: its share of right ones, None without test labels.

    accuracies: accuracy of every k asked for. references, queries: how many there were.
    """

    protocol: ClassVar[str] = "knn"

    predictions: np.ndarray
    accuracy: float | None
    accuracies: dict[int, float]
    k: int
    temperature: float
    references: int
    queries: int


def nearest_neighbours(
    references: Any, queries: Any, k: int, *, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k most similar references of each query by cosine similarity, exact, the most similar first.

    references: float32 (N, D). queries: float32 (M, D). Returns indices int64 (M, k) and similarities float32 (M, k).
    """
    base = _arrays.float_array(references, "references", ("N", "D"))
    rows = _arrays.float_array(queries, "queries", ("M", base.shape[1]))
    k = _arrays.integer(k, "k", 1, len(base))
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


def knn(
    train_x: Any,
    train_y: Any,
    test_x: Any,
    test_y: Any = None,
    k: int | Sequence[int] = 20,
    temperature: float = 0.07,
    *,
    threads: int | None = None,
) -> KNNResult:
    """k-NN classification by cosine similarity, the protocol of Wu et al., CVPR 2018.

    Each test sample takes the label with the largest vote among its k nearest training samples; a vote weighs
    exp(similarity / temperature), or 1 when temperature is 0.

    train_x: float32 (N, D); train_y: integers of 0 or more, text or bools, (N,), of at least two classes. test_x:
        float32 (M, D); test_y: the same (M,), or None. Test labels that no training sample has can only be wrong: some
        are a warning, none in common an error.
    k: a number, or several, which share one search.
    """
    references = _arrays.float_array(train_x, "train_x", ("N", "D"))
    queries = _arrays.float_array(test_x, "test_x", ("M", references.shape[1]))
    labels = class_array(train_y, "train_y", len(references))
    truth = None if test_y is None else class_array(test_y, "test_y", len(queries))
    check_labels(labels, "train_y", truth, "test_y")
    temperature = _arrays.real(temperature, "temperature", 0.0)
    counts = cutoffs(k, len(references))
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
    accuracies = {}
    if truth is not None:
        accuracies = {each: float(np.mean(names[row] == truth)) for each, row in zip(counts, predicted)}
    return KNNResult(
        names[predicted[0]],
        accuracies.get(counts[0]),
        accuracies,
        counts[0],
        temperature,
        len(references),
        len(queries),
    )
