from __future__ import annotations

import argparse
from typing import Any

from ._weights import add_model, given_model, model_path
from .common import (
    DATA_HELP,
    add_command,
    add_compute,
    add_json,
    add_quiet,
    add_reading,
    add_skip,
    check_range,
    positive,
    print_json,
    reading_of,
    told_as,
)


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "outliers",
        "the images that are least like all others",
        "Ranks the images of a set by their mean cosine similarity to the k nearest others, the lowest first: what "
        "does not belong, such as a screenshot among photos. An image that cannot be read is left out with a warning.",
        """
        carl outliers runs/photos photos/
        carl outliers --weights resnet50.safetensors photos/
        carl outliers runs/photos photos/ --images 50 -k 5 --out scores.csv
        """,
    )
    add_model(parser, "DATA")
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument("-k", type=positive, help="neighbours that judge an image (default: 10, or all others)")
    parser.add_argument(
        "--images", type=positive, default=20, metavar="N", help="images that are printed (default: %(default)s)"
    )
    parser.add_argument("--out", metavar="FILE", help="a .csv file of all images and their scores, lowest first")
    add_reading(parser, labels=False)
    add_skip(parser, "left out with a warning")
    add_quiet(parser)
    add_compute(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from .. import evaluate
    from ..sources.labelled import open_source
    from ._look import look
    from ._outputs import check_csv, write_csv

    check_csv(arguments.out, model=model_path(arguments), data=(arguments.data,))
    model = given_model(arguments, arguments.data)
    with open_source(arguments.data, model.in_channels_, **reading_of(arguments, model)) as source:
        check_range("-k", arguments.k, len(source) - 1)
        seen = look(model, source, progress=not arguments.quiet, on_error=arguments.on_error)
    k = min(10, max(1, len(seen.features) - 1)) if arguments.k is None else arguments.k
    with told_as({"k": "-k"}):  # fewer can be read
        scores = evaluate.outliers(seen.features, k, threads=arguments.threads)
    order = scores.argsort(kind="stable")
    if arguments.out:
        write_csv(arguments.out, ["name", "similarity"], ([seen.names[place], str(scores[place])] for place in order))
    shown = [(seen.names[place], float(scores[place])) for place in order[: arguments.images]]
    if arguments.json:
        print_json(
            {
                "images": len(scores),
                "k": k,
                "median": float(np.median(scores)),
                "outliers": [{"name": name, "similarity": score} for name, score in shown],
            }
        )
        return 0
    print(f"mean similarity to the {k} nearest of {len(scores)} images, lowest first")
    for name, score in shown:
        print(f"  {score:.4f}  {name}")
    return 0
