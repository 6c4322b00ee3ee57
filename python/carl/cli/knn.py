from __future__ import annotations

import argparse
import dataclasses
import warnings
from typing import TYPE_CHECKING, Any

from ._weights import add_labelled_pair, given_judged
from .common import (
    add_command,
    add_compute,
    add_json,
    add_quiet,
    check_range,
    labelled_pair,
    number,
    positive,
    print_table,
    reading_of,
    told_as,
)

if TYPE_CHECKING:
    import numpy as np

    from ..sources import ImageSource


#: Images of TRAIN for each feature from which on whitened features are judged too: with fewer, plain ones are better.
ENOUGH_TO_WHITEN = 20


def add(subparsers: Any) -> None:
    parser = add_command(
        subparsers,
        "knn",
        "k-NN accuracy of a model's features",
        "Embeds labelled images and classifies TEST by the weighted vote of the nearest images of TRAIN by cosine "
        "similarity; by whitened features where TRAIN has 20 images and more for each feature; and by raw pixels "
        "(averaged to at most 32 x 32), which any learning should beat. The figures of a run "
        "folder's model are kept in its evaluation/knn.json, for `carl report`.",
        """
        carl knn runs/photos train/ test/ -k 20 200
        carl knn runs/fashion train-images-idx3-ubyte.gz t10k-images-idx3-ubyte.gz --json
        carl knn --weights resnet50.safetensors train/ test/
        carl knn model.carl train.npy test.npy --train-labels train_y.npy --test-labels test_y.npy
        """,
    )
    add_labelled_pair(parser)
    parser.add_argument("-k", type=positive, nargs="+", help="neighbours, one or several numbers (default: 20, or all)")
    parser.add_argument(
        "--temperature", type=number, default=0.07, help="of the vote; 0 for equal votes (default: %(default)s)"
    )
    parser.add_argument(
        "--no-baseline", action="store_true", help="leave out the accuracies of whitened features and of raw pixels"
    )
    add_quiet(parser)
    add_compute(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    from .. import evaluate
    from ..sources.labelled import named

    model, judged = given_judged(arguments, arguments.train, classifiers=True)
    train, train_y, test, test_y, names = labelled_pair(
        arguments, model.in_channels_, reading_of(arguments, model), judged
    )
    check_range("-k", arguments.k, len(train))
    train_y, test_y = named(train_y, names), named(test_y, names)
    judge = {"k": arguments.k, "temperature": arguments.temperature, "threads": arguments.threads}
    shown = not arguments.quiet
    features = model.transform(train, progress=shown), model.transform(test, progress=shown)
    with told_as(
        {"train_y": "labels of TRAIN", "test_y": "labels of TEST", "train_x": "TRAIN", "test_x": "TEST", "k": "-k",
         "temperature": "--temperature"}
    ):  # fmt: skip
        result = evaluate.knn(features[0], train_y, features[1], test_y, **judge)
    if not arguments.no_baseline:
        side = min(evaluate.pixels.pixel_side(train), evaluate.pixels.pixel_side(test))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the labels, which were told
            raw = evaluate.knn(_pixels(train, side, shown), train_y, _pixels(test, side, shown), test_y, **judge)
            result = dataclasses.replace(result, raw_pixels=raw.accuracies)
            if len(features[0]) >= ENOUGH_TO_WHITEN * features[0].shape[1]:
                whitened = evaluate.knn(features[0], train_y, features[1], test_y, whiten=True, **judge)
                result = dataclasses.replace(result, whitened=whitened.accuracies)
    judged.keep(result)
    if arguments.json:
        print(result.to_json())
    else:
        beside = {"whitened": result.whitened, "raw pixels": result.raw_pixels}
        print_table((f"k = {k}", f"{accuracy:.4f}{_beside(k, beside)}") for k, accuracy in result.accuracies.items())
    return 0


def _beside(k: int, figures: dict[str, dict[int, float] | None]) -> str:
    found = ", ".join(f"{name} {shares[k]:.4f}" for name, shares in figures.items() if shares)
    return f"  ({found})" if found else ""


def _pixels(source: ImageSource, side: int, shown: bool) -> np.ndarray:
    """The images' raw pixels, as features."""
    from .._input import embedded
    from ..evaluate import pixel_features
    from ..progress import Bar

    channels = source.channels
    with Bar(shown, None, "raw pixels", "image", delay=1.0) as bar:
        return embedded(lambda part: pixel_features(part, side), source, channels, side * side * channels, bar=bar)[0]
