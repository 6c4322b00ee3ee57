"""How good representations and prototypes are, against labels that training never saw."""

from __future__ import annotations

from .clustering import ClusterResult, cluster, confusion, k_means
from .duplicates import DuplicateGroup, duplicates, fingerprint, near_misses
from .finetune import FinetuneResult, finetune
from .knn import KNNPredictions, KNNResult, knn, nearest_neighbours
from .linear import LinearProbeResult, linear_probe
from .online import OnlineEvaluation
from .outliers import outliers
from .pixels import pixel_features
from .retrieval import RetrievalResult, retrieval
from .splits import labelled_split
from .transfer import TransferResult, transfer
from .whitening import Whitening

__all__ = [
    "ClusterResult",
    "DuplicateGroup",
    "FinetuneResult",
    "KNNPredictions",
    "KNNResult",
    "LinearProbeResult",
    "OnlineEvaluation",
    "RetrievalResult",
    "TransferResult",
    "Whitening",
    "cluster",
    "confusion",
    "duplicates",
    "fingerprint",
    "finetune",
    "k_means",
    "knn",
    "labelled_split",
    "linear_probe",
    "near_misses",
    "nearest_neighbours",
    "outliers",
    "pixel_features",
    "retrieval",
    "transfer",
]
