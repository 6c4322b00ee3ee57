"""``carl linear``, ``carl finetune``, ``carl transfer``: protocols that train a classifier."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._judged import Judged, loaded
from ._weights import add_labelled_pair, check_keys, from_weights, model_path
from .common import (
    add_command,
    add_compute,
    add_json,
    add_quiet,
    compute_of,
    labelled_pair,
    number,
    positive,
    print_table,
    reading_of,
    whole,
)

if TYPE_CHECKING:
    from ..encoder import Encoder


def label_part(text: str) -> dict[str, Any]:
    """An argparse type: "1%" or "0.01", a share of the labels; "60/class", a number for each class."""
    try:
        if text.endswith("/class"):
            number = int(text.removesuffix("/class"))
            if number >= 1:
                return {"labels_per_class": number}
        else:
            share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
            if 0 < share <= 1:
                return {"label_fraction": share}
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"{text!r} is not a share such as 1% or 0.01, nor a number a class such as 60/class"
    )


#: Steps below which a classifier is hardly trained.
FEW_STEPS = 100

#: Defaults of the protocols' functions, for the help.
LINEAR = {
    "seeds": "0",
    "epochs": "10",
    "batch_size": "256",
    "learning_rate": "0.1",
    "weight_decay": "0",
    "label_smoothing": "0",
}
FINETUNE = {
    "seeds": "0 1 2",
    "epochs": "60",
    "batch_size": "64",
    "learning_rate": "0.05",
    "weight_decay": "0.0005",
    "label_smoothing": "0.1",
}
TRANSFER = {
    name: LINEAR[name] if LINEAR[name] == FINETUNE[name] else f"{LINEAR[name]}, with --finetune {FINETUNE[name]}"
    for name in LINEAR
}


def add_protocol(
    subparsers: Any, name: str, summary: str, description: str, examples: str, defaults: dict[str, str]
) -> Any:
    """A command of MODEL, TRAIN and TEST with what all of them take."""

    def default(option: str) -> str:
        return f"(default: {defaults[option]})"

    parser = add_command(subparsers, name, summary, description, examples)
    add_labelled_pair(parser)
    parser.add_argument(
        "--seeds",
        type=whole,
        nargs="+",
        metavar="N",
        help=f"one or several; figures are means over them {default('seeds')}",
    )
    parser.add_argument(
        "--epochs", type=positive, metavar="N", help=f"times through the labelled images {default('epochs')}"
    )
    parser.add_argument(
        "--batch-size", type=positive, metavar="N", help=f"images of a step, at most {default('batch_size')}"
    )
    parser.add_argument(
        "--learning-rate", type=number, metavar="RATE", help=f"at the start of a cosine to 0 {default('learning_rate')}"
    )
    parser.add_argument("--weight-decay", type=number, metavar="DECAY", help=default("weight_decay"))
    parser.add_argument("--label-smoothing", type=number, metavar="SHARE", help=f"0 to 1 {default('label_smoothing')}")
    add_quiet(parser)
    add_compute(parser)
    add_json(parser)
    return parser


def add_save(parser: Any) -> None:
    parser.add_argument(
        "--save", metavar="FILE", help="write the first seed's classifier, for carl predict and carl.Classifier.load"
    )


def check_save(arguments: argparse.Namespace) -> None:
    """Refuses a --save that cannot be written, or that is one of the inputs, before any work."""
    from ._outputs import check_output

    if arguments.save is not None:
        data = (arguments.train, arguments.test, arguments.train_labels, arguments.test_labels)
        check_output(arguments.save, model=model_path(arguments), data=data, option="--save")


def options_of(arguments: argparse.Namespace, *more: str) -> dict[str, Any]:
    """The protocol's keyword arguments that were given."""
    names = ("seeds", "epochs", "batch_size", "learning_rate", "weight_decay", "label_smoothing", "threads", *more)
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    return {**given, "progress": not arguments.quiet, "value_range": arguments.value_range}


@contextmanager
def opened(arguments: argparse.Namespace) -> Iterator[tuple[Encoder, tuple[Any, ...], Judged]]:
    """The encoder and the two labelled sets, labels by name where the folders give names, and what is noted of them."""
    from ..encoder import Encoder
    from ..estimator import load
    from ..runs import checkpoint_path
    from ..sources.labelled import named

    check_keys(arguments)
    if arguments.weights is not None:
        encoder, judged = from_weights(arguments, arguments.train), Judged(None, None)
        channels, reading = encoder.in_channels_, reading_of(arguments, encoder)
    else:
        model = load(arguments.model, **compute_of(arguments))
        with model.trainer_ as trainer:
            channels = int(trainer.config.in_channels or 0)
            reading = reading_of(arguments, model)
        encoder, judged = loaded(arguments.model, lambda path: Encoder(checkpoint_path(path), **compute_of(arguments)))
    with encoder:
        encoder.value_range = reading["value_range"]
        train, train_y, test, test_y, names = labelled_pair(arguments, channels, reading, judged)
        with train, test:
            yield encoder, (train, named(train_y, names), test, named(test_y, names)), judged


def _tell_steps(result: Any) -> None:
    """A UserWarning where the layer has hardly been trained, which figures do not show."""
    steps = result.settings.get("total_steps")
    if steps is not None and steps < FEW_STEPS:
        warnings.warn(
            f"the classifier took {steps} steps only, with {result.labelled} labelled images: more --epochs, or a "
            "smaller --batch-size, may give more",
            UserWarning,
            stacklevel=3,
        )


def show(arguments: argparse.Namespace, result: Any, judged: Judged) -> int:
    _tell_steps(result)
    if not getattr(result, "from_scratch", False):  # whose figures are not the model's
        judged.keep(result)
    if arguments.json:
        print(result.to_json())
        return 0
    spread = f" +- {result.std:.4f} over {len(result.seeds)} seeds" if len(result.seeds) > 1 else ""
    rows = [
        ("labelled images", f"{result.labelled} of {result.classes} classes"),
        ("test images", str(result.test_samples)),
        ("accuracy", f"{result.accuracy:.4f}{spread}"),
    ]
    if result.top5 is not None:
        rows.append(("top-5 accuracy", f"{result.top5:.4f}"))
    rows += [(f"  {label}", f"{share:.4f}") for label, share in result.per_class.items()]
    print_table(rows)
    return 0
