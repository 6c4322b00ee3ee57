from __future__ import annotations

import argparse
import warnings
from typing import Any

from .common import (
    DATA_HELP,
    LABELS_HELP,
    add_command,
    add_compute,
    add_json,
    add_quiet,
    add_reading,
    compute_of,
    hint_at_on_error,
    not_classes,
    print_json,
    print_table,
    reading_of,
)


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "predict",
        "classes of images, by a classifier, with probabilities",
        "Classifies images by what `carl linear --save` or `carl finetune --save` wrote, and writes a table with a row "
        "an image: its name, its most probable class, and the probability of each class. Where the images come with "
        "labels, those are in the table too, and the accuracy is printed.",
        """
        carl linear runs/photos labelled/ test/ --save classifier.carl
        carl predict classifier.carl new/ --out predictions.csv
        carl predict classifier.carl IMG.JPG --out one.csv
        """,
    )
    parser.add_argument("model", metavar="MODEL", help="the file of a classifier")
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument("--out", required=True, metavar="FILE", help="the table: .csv, .npz or .parquet")
    parser.add_argument("--labels", metavar="FILE", help=f"{LABELS_HELP}; to compare with")
    parser.add_argument(
        "--on-error",
        default="raise",
        choices=["raise", "nan"],
        help="an image that cannot be read: an error, or a row without a class and a warning (default: %(default)s)",
    )
    add_reading(parser)
    add_quiet(parser)
    add_compute(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    import numpy as np

    from .._features import check_table, write_predictions
    from .._models import load_model
    from ..classifier import Classifier
    from ..errors import InvalidArgumentError
    from ..sources.labelled import named, open_labelled
    from ._outputs import check_output

    check_table(arguments.out)
    check_output(arguments.out, model=arguments.model, data=(arguments.data, arguments.labels))
    model = load_model(arguments.model, **compute_of(arguments))
    if not isinstance(model, Classifier):
        raise InvalidArgumentError(
            f"{arguments.model} has no classifier: `carl linear {arguments.model} TRAIN TEST --save classifier.carl` "
            "trains one on labelled images"
        )
    source, labels, class_names = open_labelled(
        arguments.data, arguments.labels, model.in_channels_, **reading_of(arguments, model)
    )
    with model, source, hint_at_on_error(arguments):
        shares, names = model.transform(
            source, "probabilities", on_error=arguments.on_error, return_paths=True, progress=not arguments.quiet
        )
    found = ~np.isnan(shares[:, 0])
    predicted = np.where(found, model.classes_[np.where(found, shares.argmax(axis=1), 0)].astype(str), "")
    truth = None if labels is None else named(labels, class_names).astype(str)
    write_predictions(arguments.out, names, predicted, shares, model.classes_.astype(str), truth)
    known = None
    if truth is not None:
        strange, told = not_classes(truth[found], model.classes_, arguments.model)
        known = found.copy()
        known[found] = ~strange
        if told:
            what = "so they are left out of the accuracy" if known.any() else "so nothing is compared"
            warnings.warn(f"{told}: {what}", UserWarning, stacklevel=2)
    judged = known is not None and bool(known.any())
    accuracy = float(np.mean(predicted[known] == truth[known])) if judged and truth is not None else None
    counts = {str(name): int(np.count_nonzero(predicted == str(name))) for name in model.classes_}
    if arguments.json:
        print_json({"file": arguments.out, "images": len(names), "predicted": counts, "accuracy": accuracy})
        return 0
    rows = [(name, f"{count} images") for name, count in counts.items()]
    if accuracy is not None and known is not None:
        rows.append(("accuracy", f"{accuracy:.4f} of {np.count_nonzero(known)} labelled images"))
    print_table([*rows, ("written", arguments.out)])
    return 0
