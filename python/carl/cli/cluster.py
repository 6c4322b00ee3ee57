from __future__ import annotations

import argparse
from typing import Any

from .common import (
    DATA_HELP,
    LABELS_HELP,
    MODEL_HELP,
    add_command,
    add_json,
    add_quiet,
    add_reading,
    add_skip,
    add_threads,
    labelled,
    load_judged,
    positive,
    print_json,
    reading_of,
)


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "cluster",
        "how well prototypes, and k-means on the features, fit labels",
        "Compares two clusterings of labelled images with their labels: each image's prototype, and k-means on the "
        "encoder's features. NMI, AMI and ARI are 1 for the labels themselves, AMI and ARI 0 for chance; accuracy "
        "gives each cluster a label of its own in the best way, purity the most frequent one. docs/evaluation.md says "
        "more. Needs scikit-learn and SciPy. The figures of a run folder's model are kept in its "
        "evaluation/cluster.json and kmeans.json, for `carl report`.",
        """
        carl cluster runs/photos labelled/
        carl cluster runs/photos test.npy --labels test_y.npy --clusters 50 --seed 1
        carl cluster runs/fashion t10k-images-idx3-ubyte.gz --json
        """,
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument("--labels", metavar="FILE", help=f"{LABELS_HELP}; default: those that come with DATA")
    add_reading(parser)
    add_skip(parser)
    parser.add_argument(
        "--clusters", type=positive, metavar="N", help="of k-means (default: as many as there are labels)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of k-means (default: %(default)s)")
    add_quiet(parser)
    add_threads(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import evaluate

    shown = not arguments.quiet
    model, judged = load_judged(arguments.model, arguments.threads)
    reading = reading_of(arguments, model)
    images, labels, _ = labelled(arguments.data, arguments.labels, model.in_channels_, reading, arguments.on_error)
    judged.add("images", arguments.data, arguments.labels, images)
    results = {
        "prototypes": evaluate.cluster(model.predict(images), labels),
        "k-means": evaluate.cluster(
            model.transform(images, progress=shown), labels, arguments.clusters, seed=arguments.seed
        ),
    }
    for result, file in zip(results.values(), ("cluster", "kmeans")):
        judged.keep(result, file)
    if arguments.json:
        print_json({name: result.to_dict() for name, result in results.items()})
        return 0
    first = results["prototypes"]
    print(f"{first.samples} images, {first.labels} labels")
    print(f"{'':<10}  {'clusters':>8}  {'NMI':>6}  {'AMI':>6}  {'ARI':>6}  {'accuracy':>8}  {'purity':>6}")
    for name, result in results.items():
        print(
            f"{name:<10}  {result.clusters:>8}  {result.nmi:>6.4f}  {result.ami:>6.4f}  {result.ari:>6.4f}  "
            f"{result.accuracy:>8.4f}  {result.purity:>6.4f}"
        )
    return 0
