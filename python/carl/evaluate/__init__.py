"""How good representations and prototypes are, against labels that training never saw."""

from __future__ import annotations

from .clustering import ClusterResult, cluster, confusion
from .knn import KNNResult, knn, nearest_neighbours
from .online import OnlineEvaluation
from .retrieval import RetrievalResult, retrieval

__all__ = [
    "ClusterResult", "KNNResult", "OnlineEvaluation", "RetrievalResult", "cluster", "confusion", "knn", "nearest_neighbours",
    "retrieval",
]
