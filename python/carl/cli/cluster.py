from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .._unit_rows import unit_rows
from ._weights import add_model, given_judged, model_path
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
    positive,
    print_json,
    reading_of,
    told_as,
    whole,
)

if TYPE_CHECKING:
    from .._judged import Judged
    from ..sources import ImageSource
    from ._look import Looked

#: Images that are named of each group, those nearest to its mean.
_NAMED = 3


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "cluster",
        "the groups of images, and how well they fit labels",
        "Without labels, or with --no-labels: the groups of the images, the largest first, with their most typical "
        "images: those of the prototypes, or by k-means on the encoder's features with --weights or --clusters. With "
        "labels, which may come with the images: how well prototypes, and k-means, fit them. NMI, AMI and ARI are 1 "
        "for the labels themselves, AMI and ARI 0 for chance; accuracy gives each cluster a label of its own in the "
        "best way, purity the most frequent one. docs/evaluation.md says more. Needs scikit-learn and SciPy. The "
        "figures of a run folder's model are kept in its evaluation/cluster.json and kmeans.json, for `carl report`.",
        """
        carl cluster runs/photos photos/ --out groups.csv
        carl cluster --weights resnet50.safetensors photos/ --clusters 30
        carl cluster runs/photos labelled/
        carl cluster runs/photos albums/ --no-labels --out groups.csv    # sub-folders are no labels here
        carl cluster runs/photos test.npy --labels test_y.npy --clusters 50 --seed 1
        carl cluster runs/fashion t10k-images-idx3-ubyte.gz --json
        """,
    )
    add_model(parser, "DATA")
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument("--labels", metavar="FILE", help=f"{LABELS_HELP}; default: those that come with DATA")
    parser.add_argument(
        "--no-labels",
        action="store_true",
        help="list the groups although the images have labels, such as those of sub-folders",
    )
    add_reading(parser)
    add_skip(parser)
    parser.add_argument(
        "--clusters",
        type=positive,
        metavar="N",
        help="of k-means (default: as many as there are labels; without labels the root of half the number of images)",
    )
    parser.add_argument("--seed", type=whole, help="of k-means (default: 0)")
    parser.add_argument(
        "--out", metavar="FILE", help="of the groups: a .csv file, cluster, name, similarity to its mean"
    )
    add_quiet(parser)
    add_compute(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from ..errors import InvalidArgumentError
    from ..sources.labelled import open_labelled
    from ._outputs import check_csv

    if arguments.no_labels and arguments.labels is not None:
        raise InvalidArgumentError("--no-labels: contradicts --labels: leave one of them out")
    check_range("--seed", arguments.seed, 2**32 - 1, 0)
    check_csv(arguments.out, model=model_path(arguments), data=(arguments.data,))
    model, judged = given_judged(arguments, arguments.data)
    reading = reading_of(arguments, model)
    source, labels, _ = open_labelled(arguments.data, arguments.labels, model.in_channels_, **reading)
    with source:
        check_range("--clusters", arguments.clusters, len(source))
        if labels is None or arguments.no_labels:
            if arguments.seed is not None and _of_prototypes(arguments):
                raise InvalidArgumentError(
                    "--seed: is of k-means, and the groups are those of the prototypes: add --clusters N, or leave it "
                    "out"
                )
            return _show_groups(arguments, model, source)
    if arguments.out:
        raise InvalidArgumentError(
            f"--out: is of groups, and {arguments.data} has labels to compare with: add --no-labels to list its groups"
        )
    return _compare(arguments, model, judged, reading)


def _compare(arguments: argparse.Namespace, model: Any, judged: Judged, reading: dict[str, Any]) -> int:
    from .. import evaluate

    images, labels, _ = labelled(arguments.data, arguments.labels, model.in_channels_, reading, arguments.on_error)
    check_range("--clusters", arguments.clusters, len(images))
    judged.add("images", arguments.data, arguments.labels, images)
    results = {}
    if arguments.weights is None:
        results["prototypes"] = evaluate.cluster(model.predict(images), labels)
    features = model.transform(images, progress=not arguments.quiet)
    results["k-means"] = evaluate.cluster(features, labels, arguments.clusters, seed=arguments.seed or 0)
    for name, result in results.items():
        judged.keep(result, "kmeans" if name == "k-means" else "cluster")
    if arguments.json:
        print_json({name: result.to_dict() for name, result in results.items()})
        return 0
    first = results["k-means"]
    print(f"{first.samples} images, {first.labels} labels")
    print(f"{'':<10}  {'clusters':>8}  {'NMI':>6}  {'AMI':>6}  {'ARI':>6}  {'accuracy':>8}  {'purity':>6}")
    for name, result in results.items():
        print(
            f"{name:<10}  {result.clusters:>8}  {result.nmi:>6.4f}  {result.ami:>6.4f}  {result.ari:>6.4f}  "
            f"{result.accuracy:>8.4f}  {result.purity:>6.4f}"
        )
    return 0


@dataclass
class _Group:
    """Images of one cluster, the nearest to its mean first, by their places among those that were looked at."""

    cluster: int
    places: np.ndarray
    similarities: np.ndarray


def _of_prototypes(arguments: argparse.Namespace) -> bool:
    """Whether the groups of images without labels are those of the model's prototypes, and not of k-means."""
    return arguments.weights is None and arguments.clusters is None


def _show_groups(arguments: argparse.Namespace, model: Any, source: ImageSource) -> int:
    from .. import evaluate
    from ._look import look
    from ._outputs import write_csv

    seen = look(model, source, progress=not arguments.quiet, on_error=arguments.on_error)
    count = len(seen.names)
    if _of_prototypes(arguments):
        method = "prototypes"
        rows = model.transform(source, "logits", on_error="nan", progress=not arguments.quiet)
        assigned = rows[seen.places].argmax(axis=1)
    else:
        method = "k-means"
        clusters = arguments.clusters or max(2, round((count / 2) ** 0.5))
        with told_as({"clusters": "--clusters"}):  # fewer can be read
            assigned = evaluate.k_means(seen.features, clusters, seed=arguments.seed or 0)
    groups = _groups(seen, assigned)
    if arguments.out:
        write_csv(
            arguments.out,
            ["cluster", "name", "similarity"],
            (
                [group.cluster, seen.names[place], f"{value:.4f}"]
                for group in groups
                for place, value in zip(group.places, group.similarities)
            ),
        )
    if arguments.json:
        shown = [
            {
                "cluster": group.cluster,
                "images": len(group.places),
                "typical": [seen.names[place] for place in group.places[:_NAMED]],
            }
            for group in groups
        ]
        print_json({"images": count, "method": method, "clusters": shown})
        return 0
    print(f"{count} images in {len(groups)} groups ({method}), each with its most typical images")
    for group in groups:
        print(f"{group.cluster:>6}  {len(group.places):>6}  " + ", ".join(seen.names[p] for p in group.places[:_NAMED]))
    return 0


def _groups(seen: Looked, assigned: np.ndarray) -> list[_Group]:
    """The groups that have images, the largest first."""
    unit = unit_rows(seen.features)
    groups = []
    for cluster in np.unique(assigned).tolist():
        places = np.flatnonzero(assigned == cluster)
        similarities = unit[places] @ unit_rows(unit[places].mean(axis=0, keepdims=True))[0]
        order = np.argsort(-similarities, kind="stable")
        groups.append(_Group(cluster, places[order], similarities[order]))
    return sorted(groups, key=lambda group: (-len(group.places), group.cluster))
