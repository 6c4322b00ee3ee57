from __future__ import annotations

import argparse
from typing import Any

from .common import (
    add_command,
    add_json,
    add_labelled_pair,
    add_threads,
    labelled_pair,
    load_judged,
    positive,
    print_table,
)


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "knn",
        "k-NN accuracy of a model's features",
        "Embeds labelled images and classifies TEST by the weighted vote of the nearest images of TRAIN by cosine "
        "similarity. The figures of a run folder's model are kept in its evaluation/knn.json, for `carl report`.",
        """
        carl knn runs/photos train/ test/ -k 20 200
        carl knn runs/fashion train-images-idx3-ubyte.gz t10k-images-idx3-ubyte.gz --json
        carl knn model.carl train.npy test.npy --train-labels train_y.npy --test-labels test_y.npy
        """,
    )
    add_labelled_pair(parser)
    parser.add_argument(
        "-k", type=positive, nargs="+", default=[20], help="neighbours, one or several numbers (default: 20)"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.07, help="of the vote; 0 for equal votes (default: %(default)s)"
    )
    add_threads(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import evaluate

    model, judged = load_judged(arguments.model, arguments.threads)
    train, train_y, test, test_y = labelled_pair(
        arguments.train,
        arguments.train_labels,
        arguments.test,
        arguments.test_labels,
        model.in_channels_,
        judged,
        value_range=model.value_range,
    )
    result = evaluate.knn(
        model.transform(train),
        train_y,
        model.transform(test),
        test_y,
        arguments.k,
        arguments.temperature,
        threads=arguments.threads,
    )
    judged.keep(result)
    if arguments.json:
        print(result.to_json())
    else:
        print_table((f"k = {k}", f"{accuracy:.4f}") for k, accuracy in result.accuracies.items())
    return 0
