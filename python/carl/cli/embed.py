from __future__ import annotations

import argparse
from typing import Any

from .common import DATA_HELP, positive


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "embed", help="write the features of images to an .npy file", description="Embeds images with a trained model."
    )
    parser.add_argument("model", metavar="MODEL", help="a checkpoint or run folder")
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument("--out", required=True, metavar="FILE", help="the .npy file to write, float32 (N, width)")
    parser.add_argument(
        "--output", default="features", choices=["features", "projection", "probabilities", "logits"],
        help="what to write (default: %(default)s)",
    )
    parser.add_argument("--threads", type=positive, help="default: all processors")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from ..estimator import load

    model = load(arguments.model, threads=arguments.threads)
    result = model.transform(arguments.data, arguments.output)
    with open(arguments.out, "wb") as file:
        np.save(file, result)
    print(f"{arguments.out}: {result.shape[0]} x {result.shape[1]}")
    return 0
