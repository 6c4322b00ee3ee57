from __future__ import annotations

import argparse
from typing import Any

from .._features import FORMATS
from ._weights import add_model, given_model, model_path
from .common import (
    DATA_HELP,
    add_command,
    add_compute,
    add_json,
    add_quiet,
    add_reading,
    hint_at_on_error,
    print_json,
    reading_of,
)


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "embed",
        "write the features of images to a file",
        "Embeds images with a trained model, or with weights of another program: one row an image, in the order of the "
        "files' names, float32. The ending of --out chooses the format. The file appears when it is complete, in the "
        "place of an old one; it is none of those that are read.",
        """
        carl embed runs/photos photos/ --out features.npy
        carl embed runs/photos photos/ --out features.csv       # with the images' names and labels
        carl embed runs/photos IMG.JPG --out image.csv          # one image
        carl embed --weights resnet50.safetensors photos/ --out features.npy    # without any training
        carl embed model.carl new/ --out prototypes.npz --output probabilities
        """,
    )
    add_model(parser, "DATA --out FILE")
    parser.add_argument("data", metavar="DATA", help=DATA_HELP)
    parser.add_argument(
        "--out",
        required=True,
        metavar="FILE",
        help="the file to write. " + "; ".join(f"{ending}: {what}" for ending, what in FORMATS.items()),
    )
    parser.add_argument(
        "--output",
        default="features",
        choices=["features", "projection", "probabilities", "logits"],
        help="what to write: the encoder's features, the head's projection, or the assignment's probabilities or "
        "logits (default: %(default)s)",
    )
    parser.add_argument(
        "--on-error",
        default="raise",
        choices=["raise", "nan"],
        help="an image that cannot be read: an error, or a row of NaN and a warning (default: %(default)s)",
    )
    add_reading(parser)
    add_quiet(parser)
    add_compute(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .._features import companion_of, format_of, write_features
    from ..sources.labelled import open_source
    from ._outputs import check_output

    format_of(arguments.out)
    beside = companion_of(arguments.out)
    for out in filter(None, (arguments.out, beside)):
        check_output(out, model=model_path(arguments), data=(arguments.data,))
    model = given_model(arguments, arguments.data)
    with open_source(arguments.data, model.in_channels_, **reading_of(arguments, model)) as source:
        with hint_at_on_error(arguments):
            result, names = model.transform(
                source, arguments.output, on_error=arguments.on_error, return_paths=True, progress=not arguments.quiet
            )
        labels = source.labels if source.labels is not None and len(source.labels) == len(source) else None
        write_features(arguments.out, result, names, labels, source.class_names, arguments.output)
    if arguments.json:
        print_json(
            {
                "file": arguments.out,
                "names": beside,
                "output": arguments.output,
                "images": result.shape[0],
                "width": result.shape[1],
                "labels": labels is not None,
            }
        )
    else:
        print(f"{arguments.out}: {result.shape[0]} x {result.shape[1]}" + (f"; names: {beside}" if beside else ""))
    return 0
