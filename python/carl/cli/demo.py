from __future__ import annotations

import argparse
from typing import Any

from .common import add_command, add_json, parse_overrides, print_json, refuse_options


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "demo",
        "train and judge on Fashion-MNIST",
        "Trains a small encoder on Fashion-MNIST without labels and compares it, by k-NN, with raw pixels and "
        "with the untrained encoder: prints a table of accuracies by k-NN and by a linear layer, how well the "
        "prototypes fit the labels, and how long it took, and writes pictures and results.json. About eight minutes "
        "on two processors, with --quick about two.",
        """
        carl demo --quick
        carl demo epochs=10 --out runs/longer
        carl report runs/longer                   # a page with pictures of what came out
        """,
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="parameters to change, such as epochs=10")
    parser.add_argument(
        "--quick", action="store_true", help="a smaller part of the images and two epochs: about two minutes"
    )
    parser.add_argument("--out", default="runs/demo", metavar="FOLDER", help="where to write (default: %(default)s)")
    parser.add_argument("--data", metavar="FOLDER", help="folder of the four IDX files")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import demo

    overrides = parse_overrides(arguments.overrides)
    refuse_options(overrides)
    say = (lambda text: None) if arguments.json else print
    results = demo.run(
        arguments.out,
        quick=arguments.quick,
        data=arguments.data,
        overrides=overrides,
        progress=not arguments.quiet,
        say=say,
    )
    if arguments.json:
        print_json(results)
    return 0
