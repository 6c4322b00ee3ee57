"""How well an assignment to prototypes, or any clustering, fits labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import _arrays
from ..errors import CARLError, InvalidArgumentError
from .result import Result


@dataclass(frozen=True)
class ClusterResult(Result):
    """nmi, ami, ari: normalised and adjusted mutual information, adjusted Rand index (scikit-learn's).

    accuracy: share of samples that are right when each cluster is given at most one label and each label at most one
        cluster, in the best way (Hungarian method). With many more clusters than labels it is low by construction.
    purity: share of samples that are right when each cluster takes its most frequent label.
    clusters: clusters that have samples.
    """

    protocol: ClassVar[str] = "cluster"

    nmi: float
    ami: float
    ari: float
    accuracy: float
    purity: float
    clusters: int
    labels: int
    samples: int


def confusion(assignments: Any, labels: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts (clusters, labels) of samples, with the cluster numbers and label numbers of its rows and columns."""
    found = _arrays.label_array(assignments, "assignments")
    truth = _arrays.label_array(labels, "labels", len(found))
    if len(found) == 0:
        raise InvalidArgumentError("assignments: is empty")
    clusters, rows = np.unique(found, return_inverse=True)
    classes, columns = np.unique(truth, return_inverse=True)
    table = np.bincount(rows.reshape(-1) * len(classes) + columns.reshape(-1), minlength=len(clusters) * len(classes))
    return table.reshape(len(clusters), len(classes)), clusters, classes


def cluster(assignments: Any, labels: Any) -> ClusterResult:
    """Compares assignments, integers (N,), with labels, integers (N,). Needs scikit-learn and SciPy."""
    table, clusters, classes = confusion(assignments, labels)
    try:
        from scipy.optimize import linear_sum_assignment
        from sklearn import metrics
    except ImportError:
        raise CARLError("cluster() needs scikit-learn and SciPy: pip install 'carl[demo]'") from None
    truth, found = np.asarray(labels), np.asarray(assignments)
    rows, columns = linear_sum_assignment(table, maximize=True)
    total = int(table.sum())
    return ClusterResult(
        nmi=float(metrics.normalized_mutual_info_score(truth, found)),
        ami=float(metrics.adjusted_mutual_info_score(truth, found)),
        ari=float(metrics.adjusted_rand_score(truth, found)),
        accuracy=float(table[rows, columns].sum() / total),
        purity=float(table.max(axis=1).sum() / total),
        clusters=len(clusters),
        labels=len(classes),
        samples=total,
    )
