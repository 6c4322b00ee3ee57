from __future__ import annotations

import argparse
from typing import Any

from .common import DATA_HELP, MODEL_HELP, add_command, add_json, add_threads, print_json


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers, "embed", "write the features of images to an .npy file",
        "Embeds images with a trained model: one row an image, in the order of the files' names, float32.",
        """
        carl embed runs/photos photos/ --out features.npy
        carl embed model.carl new/ --out prototypes.npy --output probabilities
        """,
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument("--out", required=True, metavar="FILE", help="the .npy file to write, float32 (N, width)")
    parser.add_argument(
        "--output", default="features", choices=["features", "projection", "probabilities", "logits"],
        help="what to write: the encoder's features, the head's projection, or the assignment's probabilities or logits "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--on-error", default="raise", choices=["raise", "nan"],
        help="an image that cannot be read: an error, or a row of NaN and a warning (default: %(default)s)",
    )
    add_threads(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from .._writing import replacing
    from ..estimator import load

    model = load(arguments.model, threads=arguments.threads)
    result = model.transform(arguments.data, arguments.output, on_error=arguments.on_error)
    with replacing(arguments.out) as file:
        np.save(file, result)
    if arguments.json:
        print_json({"file": arguments.out, "output": arguments.output, "images": result.shape[0], "width": result.shape[1]})
    else:
        print(f"{arguments.out}: {result.shape[0]} x {result.shape[1]}")
    return 0
