"""How good representations and prototypes are, against labels that training never saw."""

from __future__ import annotations

from .clustering import ClusterResult, cluster, confusion
from .knn import KNNResult, knn, nearest_neighbours

__all__ = ["ClusterResult", "KNNResult", "cluster", "confusion", "knn", "nearest_neighbours"]
