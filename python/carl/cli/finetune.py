from __future__ import annotations

import argparse
import re
from typing import Any

from .common import number
from .supervised import FINETUNE, add_protocol, add_save, check_save, label_part, opened, options_of, show


def add(subparsers: Any) -> None:
    parser = add_protocol(
        subparsers,
        "finetune",
        "accuracy after training encoder and classifier on few labels",
        "Semi-supervised evaluation: draws a part of TRAIN's labels, the same number of each class, trains the encoder "
        "and a linear layer on it, and classifies TEST; once for each seed. --from-scratch gives the same network new "
        "weights, to compare with. The figures of a run folder's model are kept in its evaluation/finetune.json, for "
        "`carl report`.",
        """
        carl finetune runs/photos train/ test/ --labels 1%
        carl finetune runs/photos train/ test/ --labels 1% --from-scratch --learning-rate 0.1
        carl finetune runs/fashion train-images-idx3-ubyte.gz t10k-images-idx3-ubyte.gz --labels 60/class --json
        carl finetune --weights vit_small.safetensors train/ test/ --labels 10%
        carl finetune model.carl train/ test/ --labels 100% --epochs 10 --save classifier.carl
        """,
        FINETUNE,
    )
    parser.add_argument(
        "--labels",
        type=label_part,
        default={"label_fraction": 0.01},
        metavar="PART",
        help="share of the labels, such as 1%% or 0.01, or number of labels of each class, such as 60/class (default: "
        "1%%)",
    )
    parser.add_argument(
        "--unbalanced", action="store_true", help="keep the classes' proportions instead of equal numbers"
    )
    parser.add_argument("--from-scratch", action="store_true", help="only the architecture of MODEL, with new weights")
    parser.add_argument(
        "--head-learning-rate", type=number, metavar="RATE", help="of the linear layer (default: the encoder's)"
    )
    add_save(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import evaluate
    from ..errors import InvalidArgumentError

    check_save(arguments)
    with opened(arguments) as (encoder, (train, train_labels, test, test_labels), judged):
        try:
            result = evaluate.finetune(
                encoder,
                train,
                train_labels,
                test,
                test_labels,
                **arguments.labels,
                balanced=not arguments.unbalanced,
                **options_of(arguments, "from_scratch", "head_learning_rate", "save"),
            )
        except InvalidArgumentError as error:
            raise InvalidArgumentError(_in_options(str(error))) from error
    return show(arguments, result, judged)


def _in_options(message: str) -> str:
    """An error of the function with the command's options in place of its arguments."""
    message = re.sub(
        r"such as ([\d.]+), or labels_per_class",
        lambda found: f"such as --labels {float(found[1]):.0%}, or a number of each class, such as --labels 5/class",
        message,
    )
    return message.replace("label_fraction:", "--labels:").replace("balanced=False", "--unbalanced")
