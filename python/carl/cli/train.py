from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .common import DATA_HELP, parse_overrides


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "train",
        help="train on images without labels",
        description="Trains and writes a run folder: config.json, metrics.jsonl, train.log, checkpoints/last.carl, "
        "exported/encoder.safetensors. Ctrl-C writes a checkpoint; --resume goes on from it exactly.",
        epilog="example: carl train photos/ encoder=resnet18 prototypes=300 epochs=50 --out runs/photos",
    )
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="parameters of carl.CARL, values as in JSON")
    parser.add_argument("--out", default="runs/train", metavar="FOLDER", help="the run folder (default: %(default)s)")
    parser.add_argument("--config", metavar="FILE", help="parameters as a JSON object; key=value goes on top")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the run folder, if there is one")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from ..config import parse_object
    from ..errors import ConfigurationError, InvalidArgumentError
    from ..estimator import CARL
    from ..progress import describe
    from ..runs import RunFolder

    params: dict[str, Any] = {}
    if arguments.config:
        params.update(parse_object(Path(arguments.config).read_text(encoding="utf-8"), arguments.config))
    params.update(parse_overrides(arguments.overrides))
    for key in ("run_dir", "progress", "callbacks"):
        if key in params:
            raise ConfigurationError(f"{key} is not a parameter of the command line: see --out and --quiet")
    checkpoint = RunFolder(arguments.out).checkpoint
    if checkpoint.exists() and not arguments.resume:
        raise InvalidArgumentError(f"{checkpoint} exists already: add --resume to go on, or choose another --out")
    model = CARL()
    model.set_params(**params, run_dir=arguments.out, progress=not arguments.quiet)
    model.fit(arguments.data, resume=arguments.resume)
    if model.history_:
        print(describe(model.history_[-1]))
    print(f"checkpoint: {checkpoint}")
    return 0
