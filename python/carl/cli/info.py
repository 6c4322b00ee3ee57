from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from .common import MODEL_HELP, add_command, add_json, print_json, print_table


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "info",
        "about this build, or about a model",
        "Tells about the library (version, compiler, processor features, threads, where it was found), about a "
        "saved model: its steps, epochs, parameters and complete configuration; or about a weights file of another "
        "program: whose it is, which encoder it holds, and how images are made ready for it.",
        """
        carl info
        carl info runs/photos
        carl info model.carl --json
        carl info resnet50.safetensors
        """,
    )
    parser.add_argument("model", nargs="?", metavar="MODEL", help=f"{MODEL_HELP}; or a weights file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import build_info
    from .._checkpoint import is_classifier, is_weights, steps_taken
    from .._given import read_given
    from .._notes import saved_notes
    from ..classifier import Classifier
    from ..runs import checkpoint_path
    from ..trainer import Trainer
    from ..weights import weights_info, weights_note

    facts: dict[str, Any]
    if arguments.model is None:
        facts = build_info()
    elif is_weights(arguments.model):
        info = weights_info(arguments.model)
        facts = {**dataclasses.asdict(info), **weights_note(info)} if arguments.json else dict(info.rows())
    elif is_classifier(file := checkpoint_path(arguments.model)):
        with Classifier.load(file) as classifier:
            state = classifier.state_dict()
            config = classifier.config
            del config["classes"]
            facts = {
                "kind": "classifier",
                "step": steps_taken(file),
                "classes": classifier.classes_.tolist(),
                "in_channels": classifier.in_channels_,
                "features": classifier.output_width("features"),
                "parameters": _parameters(state),
                **config,
            }
    else:
        with Trainer.resume(file) as trainer:
            state = trainer.state_dict()
            notes = saved_notes(trainer, file)
            given = read_given(file)
            facts = {
                "step": trainer.step_count,
                "epochs_done": notes.get("position", {}).get("epoch"),
                "data": notes.get("data") if given is None else given.describe(),
                **({"weights": notes["weights"]} if notes.get("weights") else {}),
                "features": trainer.output_width("features"),
                "parameters": _parameters(state),
                **vars(trainer.config),
            }
    if arguments.json:
        print_json(facts)
    else:
        print_table((name, value if isinstance(value, str) else json.dumps(value)) for name, value in facts.items())
    return 0


def _parameters(state: Mapping[str, Any]) -> int:
    return sum(array.size for name, array in state.items() if "running_" not in name)
