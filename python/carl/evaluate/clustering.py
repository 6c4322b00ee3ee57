"""How well an assignment to prototypes, or k-means on features, fits labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import _arrays
from .._array_like import is_array_like
from .._classes import check_classes
from .._unit_rows import unit_rows
from ..errors import InvalidArgumentError, missing_package
from ._checks import class_labels
from .result import Result


@dataclass(frozen=True, repr=False, eq=False)
class ClusterResult(Result):
    """nmi, ami, ari: normalised and adjusted mutual information, adjusted Rand index (scikit-learn's).

    accuracy: share of samples that are right when each cluster is given at most one label and each label at most one
        cluster, in the best way (Hungarian method). With many more clusters than labels it is low by construction.
    purity: share of samples that are right when each cluster takes its most frequent label. It grows with the number of
        clusters.
    clusters: clusters that have samples.
    method: "assignments" for given ones, such as ``CARL.predict``'s, or "k-means"; seed: of k-means.
    assignments: int64 (N,), the cluster of each sample.
    """

    protocol: ClassVar[str] = "cluster"
    packages: ClassVar[tuple[str, ...]] = ("scikit-learn", "scipy")

    nmi: float
    ami: float
    ari: float
    accuracy: float
    purity: float
    clusters: int
    labels: int
    samples: int
    method: str
    seed: int | None
    assignments: np.ndarray


def confusion(assignments: Any, labels: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts (clusters, labels) of samples, with the cluster numbers and labels of its rows and columns."""
    found = _arrays.label_array(assignments, "assignments")
    truth = class_labels(labels, "labels", len(found))
    if len(found) == 0:
        raise InvalidArgumentError("assignments: is empty")
    clusters, rows = np.unique(found, return_inverse=True)
    classes, columns = np.unique(truth, return_inverse=True)
    table = np.bincount(rows.reshape(-1) * len(classes) + columns.reshape(-1), minlength=len(clusters) * len(classes))
    return table.reshape(len(clusters), len(classes)), clusters, classes


def cluster(
    assignments: Any, labels: Any, clusters: int | None = None, *, seed: int = 0, runs: int = 10
) -> ClusterResult:
    """Compares clusters with labels, integers, text or booleans (N,) of at least two classes, or the path of a file of
    them. Needs scikit-learn and SciPy.

    assignments: integers (N,), the cluster of each sample, such as ``CARL.predict`` gives; or numbers (N, D),
        features, whose rows are then divided by their l2 norm and clustered by k-means (the best of `runs` runs,
        k-means++).
    clusters, seed, runs: of k-means. clusters: by default the number of classes.
    """
    features = _features(assignments)
    if features is None:
        if clusters is not None:
            raise InvalidArgumentError(
                "clusters: is for features, which are clustered by k-means; assignments have their clusters"
            )
        found = _arrays.label_array(assignments, "assignments")
        return _compare(found, labels, "assignments", None)
    truth = class_labels(labels, "labels", len(features))
    classes = check_classes(truth, "labels")
    wanted = _arrays.integer(len(classes) if clusters is None else clusters, "clusters", 1, len(features))
    return _compare(k_means(features, wanted, seed=seed, runs=runs), truth, "k-means", seed)


def k_means(features: Any, clusters: int, *, seed: int = 0, runs: int = 10) -> np.ndarray:
    """int64 (N,): the cluster of each row of features (N, D), which are divided by their l2 norm first. Needs
    scikit-learn.

    clusters: 1 .. N. seed, runs: the best of so many runs from k-means++ counts.
    """
    array = _arrays.feature_array(features, "features", ("N", "D"))
    clusters = _arrays.integer(clusters, "clusters", 1, len(array))
    seed = _arrays.integer(seed, "seed", 0, 2**32 - 1)
    return _k_means(array, clusters, seed, _arrays.integer(runs, "runs", 1, 10_000))


def _features(value: Any) -> np.ndarray | None:
    """Checked features, or None for what must be assignments."""
    array = _arrays.as_array(value, "features") if is_array_like(value) else np.asarray(value)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        return None
    if array.shape[1] == 1 and array.dtype.kind != "f":
        raise InvalidArgumentError(
            f"assignments: got {array.dtype} of shape {array.shape}, want (N,), such as assignments.ravel()"
        )
    return _arrays.feature_array(value, "features", ("N", "D"))


def _k_means(features: np.ndarray, clusters: int, seed: int, runs: int) -> np.ndarray:
    try:
        from sklearn.cluster import KMeans
    except ImportError:
        raise missing_package("k-means", "scikit-learn") from None
    unit = unit_rows(features)
    return np.asarray(KMeans(clusters, n_init=runs, random_state=seed).fit_predict(unit), np.int64)


def _compare(found: np.ndarray, labels: Any, method: str, seed: int | None) -> ClusterResult:
    truth = class_labels(labels, "labels", len(found))
    table, clusters, classes = confusion(found, truth)
    check_classes(truth, "labels")
    try:
        from scipy.optimize import linear_sum_assignment
        from sklearn import metrics
    except ImportError:
        raise missing_package("cluster()", "scikit-learn") from None
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
        method=method,
        seed=seed,
        assignments=found,
    )
