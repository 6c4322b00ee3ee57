"""What several commands share: help, reading key=value, data with labels, and printing."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .._judged import Judged, loaded
from .._models import load_model
from .._reading import parse_json
from ..classifier import Classifier
from ..errors import ConfigurationError, InvalidArgumentError
from ..estimator import CARL, load
from ..sources import ImageSource
from ..sources.labelled import aligned, open_labelled
from ..sources.subset import readable

DATA_HELP = (
    "an image, a folder of images (flat, or one sub-folder a class) or of tar archives, an .npy, .npz, .tar or CIFAR "
    ".bin file, an IDX file such as train-images-idx3-ubyte.gz, or a quoted pattern such as 'shards-*.tar'"
)
MODEL_HELP = "a checkpoint, such as model.carl, or a run folder"


def add_command(subparsers: Any, name: str, summary: str, description: str, examples: str, more: str = "") -> Any:
    """A parser whose help ends with `more` and examples."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=description,
        epilog=(f"{more}\n\n" if more else "") + f"examples:\n{indented(examples)}",
        formatter_class=_Help,
    )
    return parser


class _Help(argparse.RawDescriptionHelpFormatter):
    """Lines of examples stay lines; descriptions are filled as usual."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "examples:\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def indented(text: str) -> str:
    return "\n".join(f"  {line.strip()}" for line in text.strip().splitlines())


def add_labelled_pair(parser: Any) -> None:
    """MODEL, and labelled sets TRAIN and TEST."""
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("train", metavar="TRAIN", help=DATA_HELP)
    parser.add_argument("test", metavar="TEST", help="the same")
    parser.add_argument("--train-labels", metavar="FILE", help=".npy or IDX file of labels")
    parser.add_argument("--test-labels", metavar="FILE", help=".npy or IDX file of labels")


def add_json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def add_threads(parser: Any) -> None:
    parser.add_argument("--threads", type=positive, metavar="N", help="default: all processors this process may use")


def add_images(parser: Any) -> None:
    """Which images a plot or report is made from."""
    parser.add_argument("--data", metavar="DATA", help=f"{DATA_HELP}; default: what the run was trained on")
    parser.add_argument(
        "--labels", metavar="FILE", help=".npy or IDX file of labels; default: those that come with DATA"
    )
    parser.add_argument(
        "--images", type=positive, default=2000, metavar="N", help="images used at most (default: %(default)s)"
    )
    add_threads(parser)


def parse_overrides(items: Iterable[str]) -> dict[str, Any]:
    """key=value arguments; a value is JSON where it can be read so, else text."""
    values: dict[str, Any] = {}
    for item in items:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise ConfigurationError(f"got {item!r}, want key=value")
        try:
            values[key] = parse_json(text)
        except ValueError:
            values[key] = text
    return values


def positive(text: str) -> int:
    """An argparse type: a whole number above 0."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return number


def labelled(
    path: str, labels: str | None, channels: int | None, value_range: Any = None
) -> tuple[ImageSource, np.ndarray]:
    """A source and its labels: from class folders, a labelled archive, an IDX file's companion, or a file of labels."""
    source, values = open_labelled(path, labels, channels, value_range=value_range)
    if values is None:
        raise InvalidArgumentError(
            f"{path} has no labels: want class folders, an .npz with labels, or an IDX file with its labels beside it"
        )
    return without_broken(source, values, path)


def without_broken(source: ImageSource, labels: np.ndarray, path: str) -> tuple[ImageSource, np.ndarray]:
    """A labelled set without the images that cannot be read; see ``readable``."""
    whole, places = readable(source, path)
    return whole, labels if places is None else labels[places]


def add_quiet(parser: Any) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def load_judged(path: str, threads: int | None) -> tuple[CARL, Judged]:
    """A model, and what an evaluation notes of it."""
    return loaded(path, lambda place: load(place, threads=threads))


def load_any_judged(path: str, threads: int | None) -> tuple[CARL | Classifier, Judged]:
    """``load_judged`` that takes a classifier's file too."""
    return loaded(path, lambda place: load_model(place, threads))


def labelled_pair(
    train: str,
    train_labels: str | None,
    test: str,
    test_labels: str | None,
    channels: int | None,
    judged: Judged,
    parts: tuple[str, str] = ("train", "test"),
    value_range: Any = None,
) -> tuple[ImageSource, np.ndarray, ImageSource, np.ndarray]:
    """Two labelled sets of the same classes, noted in `judged` under the names `parts`."""
    first, first_y = labelled(train, train_labels, channels, value_range)
    second, second_y = labelled(test, test_labels, channels, value_range)
    if not (train_labels or test_labels):
        second_y, names = aligned(first, second, second_y, f"{train} and {test}")
        first.class_names = second.class_names = names
    judged.add(parts[0], train, train_labels, first)
    judged.add(parts[1], test, test_labels, second)
    return first, first_y, second, second_y


def print_json(value: Mapping[str, Any]) -> None:
    print(json.dumps(value, indent=2))


def print_table(rows: Iterable[tuple[str, Any]]) -> None:
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
