from __future__ import annotations

import argparse
from typing import Any

from ._weights import add_model, given_judged
from .common import (
    DATA_HELP,
    LABELS_HELP,
    add_command,
    add_compute,
    add_json,
    add_quiet,
    add_reading,
    add_skip,
    check_range,
    labelled,
    labelled_pair,
    positive,
    print_table,
    reading_of,
    told_as,
)

#: What the function's arguments are to the command.
_NAMES = {"train_y": "labels of DATA", "test_y": "labels of QUERIES", "train_x": "DATA", "test_x": "QUERIES", "k": "-k"}


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "retrieval",
        "how far up the images of the same label are ranked",
        "Ranks all images of DATA for each image of QUERIES by cosine similarity of the features, or for each image of "
        "DATA itself, and prints the mean average precision over whole rankings (mAP) and over their first k (mAP@k), "
        "the share of the first k that have the query's label (precision@k), and the share of queries with one such "
        "image among them (recall@k). The figures of a run folder's model are kept in its evaluation/retrieval.json, "
        "for `carl report`.",
        """
        carl retrieval runs/photos labelled/                     # each image ranks all others
        carl retrieval runs/photos train/ test/ -k 1 10 100
        carl retrieval --weights resnet50.safetensors labelled/
        carl retrieval model.carl train.npy test.npy --labels train_y.npy --query-labels test_y.npy --json
        """,
    )
    add_model(parser, "DATA [QUERIES]")
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument("queries", metavar="QUERIES", nargs="?", help="the same")
    parser.add_argument("-k", type=positive, nargs="+", help="where to cut the rankings (default: 1 10, or all)")
    parser.add_argument("--labels", metavar="FILE", help=f"of DATA: {LABELS_HELP}")
    parser.add_argument("--query-labels", metavar="FILE", help="the same, of QUERIES")
    add_reading(parser)
    add_skip(parser)
    add_quiet(parser)
    add_compute(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import evaluate
    from ..errors import InvalidArgumentError

    shown = not arguments.quiet
    model, judged = given_judged(arguments, arguments.data)
    reading = reading_of(arguments, model)
    if arguments.queries is None:
        if arguments.query_labels:
            raise InvalidArgumentError("--query-labels: there are no QUERIES")
        images, labels, _ = labelled(arguments.data, arguments.labels, model.in_channels_, reading, arguments.on_error)
        check_range("-k", arguments.k, len(images) - 1)
        judged.add("images", arguments.data, arguments.labels, images)
        features = model.transform(images, progress=shown)
        with told_as(_NAMES):
            result = evaluate.retrieval(features, labels, k=arguments.k, threads=arguments.threads)
    else:
        sets = [("images", arguments.data, arguments.labels), ("queries", arguments.queries, arguments.query_labels)]
        images, labels, queries, truth, _ = labelled_pair(arguments, model.in_channels_, reading, judged, sets)
        check_range("-k", arguments.k, len(images))
        features, asked = model.transform(images, progress=shown), model.transform(queries, progress=shown)
        with told_as(_NAMES):
            result = evaluate.retrieval(features, labels, asked, truth, arguments.k, threads=arguments.threads)
    judged.keep(result)
    if arguments.json:
        print(result.to_json())
        return 0
    rows = [("mAP", f"{result.map:.4f}")]
    for name, values in (("mAP", result.map_at), ("precision", result.precision_at), ("recall", result.recall_at)):
        rows += [(f"{name}@{k}", f"{value:.4f}") for k, value in values.items()]
    rows.append(("queries", f"{result.queries}, of which {result.unmatched} have no image of their label to find"))
    print_table(rows)
    return 0
