"""What features are worth: the same figures for every program whose encoder is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from carl import evaluate

from .study_data import Data

#: Points of a run's curve of k-NN over time.
CURVE = 4
#: Shares of the labels that a linear layer gets.
LABELS = {"linear_1_percent": 0.01, "linear_10_percent": 0.1}

Embed = Callable[[np.ndarray], np.ndarray]


class Judge:
    """Judges an encoder by `data`; with `labels` also by small shares of the labels, with `other` by that data set too.

    An encoder is a function of uint8 images that returns features, float32 (N, F), of one view without augmentation.
    """

    def __init__(self, data: Data, labels: bool = False, other: Data | None = None) -> None:
        self.data, self.labels, self.other = data, labels, other

    def __call__(self, embed: Embed, seed: int, assigned: np.ndarray | None = None) -> dict[str, Any]:
        """seed: draws the labelled images. assigned: the prototype of each query, where the method has prototypes."""
        data = self.data
        references, queries = embed(data.references), embed(data.queries)
        figures = {
            **nearest(references, queries, data),
            "linear": linear(references, data.labels, queries, data.truth),
            "nmi_k_means": evaluate.cluster(queries, data.truth).nmi,
        }
        if assigned is not None:
            figures["nmi_prototypes"] = evaluate.cluster(assigned, data.truth).nmi
        if self.labels:
            for name, share in LABELS.items():
                places = evaluate.labelled_split(data.labels, fraction=share, seed=seed)
                figures[name] = linear(references[places], data.labels[places], queries, data.truth)
        if self.other is not None:
            references, queries = embed(self.other.references), embed(self.other.queries)
            figures["transfer"] = self.other.name
            figures.update(
                {"transfer_" + key: value for key, value in nearest(references, queries, self.other).items()}
            )
            figures["transfer_linear"] = linear(references, self.other.labels, queries, self.other.truth)
        return figures

    def quick(self, embed: Embed) -> float:
        """k-NN with 20 neighbours alone."""
        data = self.data
        return float(
            evaluate.knn(embed(data.references), data.labels, embed(data.queries), data.truth, 20).accuracies[20]
        )


def nearest(references: np.ndarray, queries: np.ndarray, data: Data) -> dict[str, float]:
    split = references, data.labels, queries, data.truth, [20, 200]
    plain, whitened = (evaluate.knn(*split, whiten=whiten).accuracies for whiten in (False, True))
    return {"knn20": plain[20], "knn200": plain[200], "knn20_whitened": whitened[20], "knn200_whitened": whitened[200]}


def linear(references: np.ndarray, labels: np.ndarray, queries: np.ndarray, truth: np.ndarray) -> float:
    return evaluate.linear_probe(
        None, references, labels, queries, truth, method="logistic", max_iterations=200, progress=False
    ).accuracy


def judge_of(arguments: Any, data: Data) -> Judge:
    """The judge that the options --labels and --transfer ask for."""
    other = Data(arguments.transfer, arguments.final).as_seen_by(data) if arguments.transfer else None
    return Judge(data, arguments.labels, other)


def add_judging(parser: Any) -> None:
    """The options that decide what is judged, the same for all programs."""
    parser.add_argument("--final", action="store_true", help="train on all training images, judge by the test images")
    parser.add_argument(
        "--curve", action="store_true", help=f"k-NN at {CURVE} points of each run, not counted in its seconds"
    )
    parser.add_argument("--labels", action="store_true", help="also a linear layer on 1%% and on 10%% of the labels")
    parser.add_argument(
        "--transfer",
        metavar="DATA",
        help='also k-NN and a linear layer on another data set: an .npz, or "fashion-mnist"',
    )
