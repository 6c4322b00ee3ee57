from __future__ import annotations

import argparse
from typing import Any

from .supervised import TRANSFER, add_protocol, opened, options_of, show


def add(subparsers: Any) -> None:
    parser = add_protocol(
        subparsers,
        "transfer",
        "accuracy on another labelled data set, frozen or fine-tuned",
        "Judges a model on a data set that it was not trained on: a linear layer on the frozen encoder as in `carl "
        "linear`, or with --finetune encoder and layer together on all labels as in `carl finetune`. Images are "
        "resized to the size that the encoder was trained with. The figures of a run folder's model are kept in its "
        "evaluation/transfer.json, for `carl report`.",
        """
        carl transfer runs/photos flowers/train flowers/test
        carl transfer runs/photos flowers/train flowers/test --finetune --epochs 30
        carl transfer runs/photos flowers/train flowers/test --finetune --from-scratch --json
        """,
        TRANSFER,
    )
    parser.add_argument("--finetune", action="store_true", help="train the encoder too")
    parser.add_argument(
        "--from-scratch", action="store_true", help="with --finetune: only the architecture of MODEL, with new weights"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import evaluate
    from ..errors import InvalidArgumentError

    if arguments.from_scratch and not arguments.finetune:
        raise InvalidArgumentError("--from-scratch: is of --finetune")
    options = options_of(arguments, *(["from_scratch"] if arguments.finetune else []))
    with opened(arguments) as (encoder, data, judged):
        result = evaluate.transfer(encoder, *data, mode="finetuned" if arguments.finetune else "frozen", **options)
    return show(arguments, result, judged)
