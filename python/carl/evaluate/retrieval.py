"""Retrieval: how far up each image ranks the others of its label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import _arrays
from .._c_api import LIB, call
from ..errors import InvalidArgumentError
from ._checks import check_labels, class_labels, cutoffs
from .result import Result


@dataclass(frozen=True, repr=False, eq=False)
class RetrievalResult(Result):
    """Means over the queries that have a relevant reference, all figures from 0 to 1.

    map: mean average precision over the whole ranking. Average precision of a query is the mean, over all references of
        its label, of the precision at the rank of each.
    map_at: for each k, mAP@k: only ranks up to k count, and the sum of precisions is divided by min(k, relevant
        references).
    precision_at: for each k, share of the first k that are relevant.
    recall_at: for each k, share of queries with a relevant reference among the first k, Recall@k of the literature on
        metric learning.
    average_precision: float64 (M,), of each query over the whole ranking; NaN where no reference is relevant.
    references, queries: how many there were. unmatched: queries without a relevant reference, which no mean includes.
    leave_one_out: whether the queries were the references themselves, each without itself.
    """

    protocol: ClassVar[str] = "retrieval"

    map: float
    map_at: dict[int, float]
    precision_at: dict[int, float]
    recall_at: dict[int, float]
    average_precision: np.ndarray
    references: int
    queries: int
    unmatched: int
    leave_one_out: bool


def retrieval(
    train_x: Any,
    train_y: Any,
    test_x: Any = None,
    test_y: Any = None,
    k: int | Sequence[int] | None = None,
    *,
    threads: int | None = None,
) -> RetrievalResult:
    """Ranks all of train_x for each row of test_x by cosine similarity, exactly, and scores where those of its label
    stand.

    Without test_x every sample of train_x is a query to all the others (leave one out). Equal similarities rank in
    order of index. Memory beside the result is bounded by a tile of queries: about 16 MB and 24 bytes a reference for
    each thread.

    train_x: numbers (N, D); train_y: integers of 0 or more, text or booleans (N,), of at least two classes, or the path
        of a file of them. test_x: numbers (M, D); test_y: labels (M,).
    k: where to cut the ranking, a number or several, at most N (N - 1 when leaving one out); None for 1 and 10, or for
        what there is.
    """
    references = _arrays.feature_array(train_x, "train_x", ("N", "D"))
    labels = class_labels(train_y, "train_y", len(references))
    if (test_x is None) != (test_y is None):
        missing = "test_y" if test_y is None else "test_x"
        raise InvalidArgumentError(
            f"{missing}: is missing; want both of test_x and test_y, or neither to leave one out"
        )
    alone = test_x is None
    queries = references if alone else _arrays.feature_array(test_x, "test_x", ("M", references.shape[1]))
    truth = labels if alone else class_labels(test_y, "test_y", len(queries))
    check_labels(labels, "train_y", truth, "test_y", "these queries are left out")
    if labels.dtype != np.int64 or truth.dtype != np.int64:  # the library compares numbers
        places = np.unique(np.concatenate([labels, truth]), return_inverse=True)[1].reshape(-1).astype(np.int64)
        count = len(labels)
        labels, truth = places[:count], places[:count] if alone else places[count:]
    counts = cutoffs(k, len(references) - alone, (1, 10))

    wanted = np.asarray(counts, np.int64)
    precision = np.empty((len(queries), 1 + len(counts)))
    relevant = np.empty(precision.shape, np.int64)
    call(
        LIB.carl_retrieval,
        references,
        labels,
        len(references),
        queries,
        truth,
        len(queries),
        references.shape[1],
        wanted,
        len(wanted),
        int(alone),
        _arrays.thread_count(threads),
        precision,
        relevant,
    )
    matched = relevant[:, 0] > 0
    if not matched.any():
        raise InvalidArgumentError("train_y: no two samples share a label, so that nothing is to be found")
    means = precision[matched].mean(axis=0)
    hits = relevant[matched, 1:]
    return RetrievalResult(
        map=float(means[0]),
        map_at=dict(zip(counts, means[1:].tolist())),
        precision_at=dict(zip(counts, (hits / wanted).mean(axis=0).tolist())),
        recall_at=dict(zip(counts, (hits > 0).mean(axis=0).tolist())),
        average_precision=np.where(matched, precision[:, 0], np.nan),
        references=len(references),
        queries=len(queries),
        unmatched=int(np.count_nonzero(~matched)),
        leave_one_out=alone,
    )
