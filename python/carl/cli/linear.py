from __future__ import annotations

import argparse
from typing import Any

from .supervised import LINEAR, add_protocol, add_save, check_save, opened, options_of, show


def add(subparsers: Any) -> None:
    parser = add_protocol(
        subparsers,
        "linear",
        "accuracy of a linear layer on a model's frozen features",
        "The linear evaluation protocol: trains a linear layer on the features of TRAIN, the encoder frozen, and "
        "classifies TEST. By SGD every epoch sees new crops and flips; --method logistic computes the features once "
        "and uses scikit-learn's logistic regression. The figures of a run folder's model are kept in its "
        "evaluation/linear.json, for `carl report`.",
        """
        carl linear runs/photos train/ test/
        carl linear runs/photos train/ test/ --method logistic --save classifier.carl    # for carl predict
        carl linear runs/fashion train-images-idx3-ubyte.gz t10k-images-idx3-ubyte.gz --epochs 20 --seeds 0 1 2 --json
        carl linear --weights resnet50.safetensors train/ test/ --method logistic --save classifier.carl
        carl linear model.carl train.npy test.npy --train-labels train_y.npy --test-labels test_y.npy
        """,
        LINEAR,
    )
    parser.add_argument(
        "--method", choices=["sgd", "logistic"], default="sgd", help="how the layer is trained (default: %(default)s)"
    )
    add_save(parser)
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    from .. import evaluate

    if arguments.method == "logistic":
        for option in ("epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing"):
            if getattr(arguments, option) is not None:
                name = option.replace("_", "-")
                arguments.parser.error(f"--{name}: is of --method sgd; logistic regression has none of it")
    check_save(arguments)
    with opened(arguments) as (encoder, data, judged):
        result = evaluate.linear_probe(encoder, *data, **options_of(arguments, "method", "save"))
    return show(arguments, result, judged)
