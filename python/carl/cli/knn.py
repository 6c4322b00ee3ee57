from __future__ import annotations

import argparse
from typing import Any

from .common import DATA_HELP, labelled, positive, print_table


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "knn",
        help="k-NN accuracy of a model's features",
        description="Embeds labelled images and classifies TEST by the weighted vote of the nearest images of TRAIN.",
    )
    parser.add_argument("model", metavar="MODEL", help="a checkpoint or run folder")
    parser.add_argument("train", metavar="TRAIN", help=DATA_HELP)
    parser.add_argument("test", metavar="TEST", help="the same")
    parser.add_argument("-k", type=positive, nargs="+", default=[20], help="neighbours, one or several numbers (default: 20)")
    parser.add_argument("--temperature", type=float, default=0.07, help="of the vote; 0 for equal votes (default: %(default)s)")
    parser.add_argument("--train-labels", metavar="FILE", help=".npy or IDX file of labels")
    parser.add_argument("--test-labels", metavar="FILE", help=".npy or IDX file of labels")
    parser.add_argument("--threads", type=positive, help="default: all processors")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import evaluate
    from ..estimator import load

    model = load(arguments.model, threads=arguments.threads)
    train, train_y = labelled(arguments.train, arguments.train_labels, model.in_channels_)
    test, test_y = labelled(arguments.test, arguments.test_labels, model.in_channels_)
    if train.class_names != test.class_names and train.class_names and test.class_names:
        from ..errors import InvalidArgumentError

        raise InvalidArgumentError("TRAIN and TEST have different classes (names of sub-folders)")
    result = evaluate.knn(
        model.transform(train), train_y, model.transform(test), test_y, arguments.k, arguments.temperature,
        threads=arguments.threads,
    )
    if arguments.json:
        print(result.to_json())
    else:
        print_table((f"k = {k}", f"{accuracy:.4f}") for k, accuracy in result.accuracies.items())
    return 0
