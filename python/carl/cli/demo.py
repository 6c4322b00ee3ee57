from __future__ import annotations

import argparse
from typing import Any


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="train and judge on Fashion-MNIST",
        description="Trains a small encoder on Fashion-MNIST without labels and compares it, by k-NN, with raw pixels and "
        "with the untrained encoder. At most 15 minutes on two processors.",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="parameters to change, such as epochs=10")
    parser.add_argument("--quick", action="store_true", help="two minutes instead")
    parser.add_argument("--out", default="runs/demo", metavar="FOLDER", help="where to write (default: %(default)s)")
    parser.add_argument("--data", metavar="FOLDER", help="folder of the four IDX files")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import demo
    from .common import parse_overrides

    overrides = parse_overrides(arguments.overrides)
    demo.run(
        arguments.out, quick=arguments.quick, data=arguments.data, overrides=overrides, progress=not arguments.quiet
    )
    return 0
