from __future__ import annotations

import argparse
import json
from typing import Any

from .common import print_table


def add(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "info", help="about this build, or about a model", description="Tells about the library, or about a saved model."
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help="a checkpoint or run folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import build_info
    from ..runs import checkpoint_path
    from ..trainer import Trainer

    if arguments.model is None:
        facts = build_info()
    else:
        with Trainer.resume(checkpoint_path(arguments.model)) as trainer:
            state = trainer.state_dict()
            facts = {
                "step": trainer.step_count,
                "features": trainer.output_width("features"),
                "parameters": sum(array.size for name, array in state.items() if "running_" not in name),
                **vars(trainer.config),
            }
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        print_table((name, value if isinstance(value, str) else json.dumps(value)) for name, value in facts.items())
    return 0
