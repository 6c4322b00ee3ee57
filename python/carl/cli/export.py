from __future__ import annotations

import argparse
from typing import Any

from .common import MODEL_HELP, add_command, add_json, print_json


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "export",
        "write the encoder's tensors for other programs",
        "Writes a safetensors file. The encoder's tensors have torchvision's names and layouts (layer1.0.conv1.weight "
        "is out, in, height, width), so that torchvision's ResNet of the same shape loads them.",
        """
        carl export runs/photos --out encoder.safetensors
        carl export runs/photos --out model.safetensors --part model    # with projection head and prototypes
        carl export runs/photos --out teacher.safetensors --teacher
        """,
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("--out", required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument(
        "--part",
        default="encoder",
        choices=["encoder", "model"],
        help="the encoder alone, or all of the model under the names of Trainer.state_dict (default: %(default)s)",
    )
    parser.add_argument("--teacher", action="store_true", help="the teacher's tensors instead, if the model has one")
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .._checkpoint import read_header
    from ..export import export_encoder
    from ..runs import checkpoint_path
    from ..trainer import Trainer
    from ._outputs import check_output

    check_output(arguments.out, model=arguments.model)
    with Trainer.resume(checkpoint_path(arguments.model)) as trainer:
        file = export_encoder(trainer, arguments.out, arguments.part, arguments.teacher)
    names = [name for name in read_header(file) if name != "__metadata__"]
    if arguments.json:
        print_json({"file": str(file), "tensors": names})
    else:
        print(f"{file}: {len(names)} tensors, {names[0]} to {names[-1]}")
    return 0
