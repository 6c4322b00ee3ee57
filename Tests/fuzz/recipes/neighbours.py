"""Nearest neighbours, their votes, retrieval."""

from __future__ import annotations

import numpy as np

from ..scenario import Scenario
from . import recipe


def _shape(s: Scenario) -> tuple[int, int, int]:
    """References, queries and dimension, none of them so large that the search would take minutes."""
    n, m, dimension = (
        s.choose([1, 2, 7, 8, 9, 40, 200, 1000]),
        s.choose([1, 2, 7, 33, 130]),
        s.choose([1, 2, 3, 8, 13, 64]),
    )
    if s.odd(0.03):
        n, m, dimension = 100_000, s.choose([1, 3]), 1
    n, m, dimension = s.int64(n, 0.06), s.int64(m, 0.06), s.int64(dimension, 0.06)
    if (
        n > 0
        and m > 0
        and 0 < dimension <= 1 << 24
        and max(n, m) * dimension <= 1 << 40
        and n * m * dimension > 1 << 28
    ):
        return 9, 5, 3
    return n, m, dimension


def _neighbours(s: Scenario, n: int, m: int) -> int:
    k = s.int64(s.choose([1, min(5, n), min(20, n), n]), 0.08)
    return min(n, 3) if 0 < k <= n and m > 0 and k * m > 1 << 22 and k != n else k


def _labels(s: Scenario, count: int, classes: int) -> int:
    def make() -> np.ndarray:
        drawn = np.random.default_rng(s.random.getrandbits(32)).integers(0, max(min(classes, 1000), 1), count)
        if count and s.odd(0.1):
            drawn[s.random.randrange(count)] = s.choose([-1, classes % 2**63, 2**63 - 1, -(2**63)])
        return drawn

    return s.claimed_input(8 * count, make)


@recipe("carl_nearest_neighbours", 6)
def nearest(s: Scenario) -> None:
    n, m, dimension = _shape(s)
    k = _neighbours(s, n, m)
    s.call(
        "carl_nearest_neighbours",
        {
            "references": s.floats(n * dimension),
            "n": n,
            "queries": s.floats(m * dimension),
            "m": m,
            "dimension": dimension,
            "k": k,
            "threads": s.threads(),
            "neighbours": s.claimed_output(8 * m * k) if s.random.random() < 0.8 else 0,
            "similarities": s.claimed_output(4 * m * k) if s.random.random() < 0.8 else 0,
        },
    )


def _vote(s: Scenario) -> dict[str, int | float]:
    n, m, dimension = _shape(s)
    classes = s.int64(s.choose([1, 2, 7, 10, 100, 2**24]), 0.06)
    return {
        "references": s.floats(n * dimension),
        "labels": _labels(s, n, classes),
        "n": n,
        "queries": s.floats(m * dimension),
        "m": m,
        "dimension": dimension,
        "classes": classes,
        "temperature": s.real(s.choose([0, 0.07, 1])),
        "threads": s.threads(),
    }


@recipe("carl_knn_classify", 5)
def classify(s: Scenario) -> None:
    vote = _vote(s)
    s.call(
        "carl_knn_classify",
        {**vote, "k": _neighbours(s, vote["n"], vote["m"]), "predicted": s.claimed_output(8 * vote["m"])},
    )


@recipe("carl_knn_classify_several", 5)
def classify_several(s: Scenario) -> None:
    vote = _vote(s)
    count = s.size_t(s.choose([1, 2, 5]), 0.06)
    ks = s.claimed_input(
        8 * count, lambda: np.array([_neighbours(s, vote["n"], vote["m"]) for _ in range(count)], np.int64)
    )
    s.call(
        "carl_knn_classify_several",
        {**vote, "k": ks, "k_count": count, "predicted": s.claimed_output(8 * vote["m"] * count)},
    )


@recipe("carl_retrieval", 5)
def retrieval(s: Scenario) -> None:
    n, m, dimension = _shape(s)
    if s.random.random() < 0.4:
        m = n if n <= 1000 else m
    classes = s.choose([1, 2, 10])
    count = s.size_t(s.choose([0, 1, 3]), 0.06)
    cutoffs = s.claimed_input(
        8 * count, lambda: np.array([s.int64(s.random.randint(1, max(n, 1))) for _ in range(count)], np.int64)
    )
    s.call(
        "carl_retrieval",
        {
            "references": s.floats(n * dimension),
            "labels": _labels(s, n, classes),
            "n": n,
            "queries": s.floats(m * dimension),
            "query_labels": _labels(s, m, classes),
            "m": m,
            "dimension": dimension,
            "cutoffs": cutoffs,
            "cutoff_count": count,
            "leave_one_out": s.int32(s.choose([0, 1])),
            "threads": s.threads(),
            "precision": s.claimed_output(8 * m * (1 + count)),
            "relevant": s.claimed_output(8 * m * (1 + count)),
        },
    )
