"""What several commands share: help, reading key=value, data with labels, and printing."""

from __future__ import annotations

import argparse
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from .._arrays import integer, one_or_several
from .._classes import shown
from .._judged import Judged, loaded
from .._models import load_model
from .._reading import parse_json
from ..classifier import Classifier
from ..errors import ConfigurationError, FileError, InvalidArgumentError
from ..estimator import CARL, load
from ..sources import ImageSource
from ..sources.labelled import aligned, open_labelled
from ..sources.subset import readable

_Number = TypeVar("_Number", int, float)

DATA_HELP = (
    "an image, a folder of images (flat, or one sub-folder a class) or of tar archives, an .npy, .npz, .tar or CIFAR "
    ".bin file, an IDX file such as train-images-idx3-ubyte.gz, or a quoted pattern such as 'shards-*.tar'"
)
MODEL_HELP = "a checkpoint, such as model.carl, or a run folder"
#: Values of the configuration key "precision".
PRECISIONS = ("float32", "bf16", "auto", "bf16-emulated")
LABELS_HELP = (
    ".npy, IDX, or .txt file (a line an image) of labels, or .csv with the heads label, and name where its rows are "
    "not in the order of the images"
)


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


def add_reading(parser: Any, labels: bool = True) -> None:
    """How images are read, and with `labels` theirs."""
    parser.add_argument(
        "--value-range",
        type=value_range,
        metavar="LOW,HIGH",
        help="the values that become black and white in images whose pixels are no bytes (default: the model's)",
    )
    parser.add_argument(
        "--image-key",
        metavar="KEY",
        help="which array of an .npz file, or which file of a .tar archive's samples (seg.png of K.seg.png), is the "
        "image",
    )
    if labels:
        parser.add_argument("--label-key", metavar="KEY", help="and which is the label")


def reading_of(arguments: argparse.Namespace, model: Any) -> dict[str, Any]:
    """What ``add_reading`` was given, as ``open_labelled`` takes it. The model gets a value range that was given."""
    if arguments.value_range is not None:
        model.value_range = arguments.value_range
    return {
        "value_range": model.value_range,
        "image_key": arguments.image_key,
        "label_key": getattr(arguments, "label_key", None),
    }


def add_skip(parser: Any, what: str = "left out with a warning, up to 5%% of them") -> None:
    parser.add_argument(
        "--on-error",
        default="skip",
        choices=["skip", "raise"],
        help=f"an image that cannot be read: {what}, or an error (default: %(default)s)",
    )


@contextmanager
def hint_at_on_error(arguments: argparse.Namespace) -> Iterator[None]:
    """An image that cannot be read and ends the command says how to go on without it."""
    try:
        yield
    except FileError as error:
        if arguments.on_error != "raise":
            raise
        raise FileError(f"{error} (--on-error nan leaves its row empty)") from error


def value_range(text: str) -> tuple[float, float]:
    """An argparse type: "0,1" or "[0, 1]"."""
    from .._values import checked_range

    try:
        low, high = (float(part) for part in text.strip().removeprefix("[").removesuffix("]").split(","))
        return checked_range((low, high)) or (low, high)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not two numbers such as 0,1, the lower first") from None


def add_json(parser: Any) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")


def add_threads(parser: Any) -> None:
    parser.add_argument("--threads", type=positive, metavar="N", help="default: all processors this process may use")


def add_compute(parser: Any) -> None:
    """With what a model computes."""
    add_threads(parser)
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="what operands of the layers' products are rounded to (default: as the model was trained; of a weights "
        "file float32)",
    )


def compute_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What ``add_compute`` was given: configuration keys, those left out aside."""
    given = {"threads": arguments.threads, "precision": arguments.precision}
    return {key: value for key, value in given.items() if value is not None}


def add_images(parser: Any) -> None:
    """Which images a plot or report is made from."""
    parser.add_argument("--data", metavar="DATA", help=f"{DATA_HELP}; default: what the run was trained on")
    parser.add_argument("--labels", metavar="FILE", help=f"{LABELS_HELP}; default: those that come with DATA")
    add_reading(parser)
    parser.add_argument(
        "--images", type=positive, default=2000, metavar="N", help="images used at most (default: %(default)s)"
    )
    add_compute(parser)


#: Values as Python spells them.
_PYTHONS = {"True": True, "False": False, "None": None}


def parse_overrides(items: Iterable[str]) -> dict[str, Any]:
    """key=value arguments, the last of a key; a value is JSON or True, False or None where it can be read so, else
    text. ConfigurationError for a value that begins as JSON's lists and objects do and is none."""
    values: dict[str, Any] = {}
    for item in items:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise ConfigurationError(f"got {item!r}, want key=value")
        values[key] = _value(key, text)
    return values


def _value(key: str, text: str) -> Any:
    if text in _PYTHONS:
        return _PYTHONS[text]
    try:
        return parse_json(text)
    except ValueError as error:
        if text.lstrip().startswith(("[", "{")):
            raise ConfigurationError(f"{key}: got {text}, which is broken JSON: {error}") from None
        return text


def refuse_options(params: Mapping[str, Any]) -> None:
    """ConfigurationError for parameters of ``carl.CARL`` that are options of their own on the command line."""
    from ._help import OPTIONS

    for key, see in OPTIONS.items():
        if key in params:
            raise ConfigurationError(f"{key} is not a parameter of the command line: see {see}")


def argument(text: str, kind: Callable[[str], _Number], is_good: Callable[[_Number], bool], wanted: str) -> _Number:
    """The number of an argparse type, which says what is wanted where the text is none or not a good one."""
    try:
        value = kind(text)
        good = is_good(value)
    except ValueError:
        good = False
    if not good:
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def positive(text: str) -> int:
    """An argparse type: a whole number above 0."""
    return argument(text, int, lambda value: value >= 1, "a whole number above 0")


def number(text: str) -> float:
    """An argparse type: a finite number of at least 0."""
    return argument(text, float, lambda value: 0 <= value < float("inf"), "a number of at least 0")


def whole(text: str) -> int:
    """An argparse type: a whole number of at least 0."""
    return argument(text, int, lambda value: value >= 0, "a whole number of at least 0")


def check_range(option: str, given: int | Sequence[int] | None, most: int, least: int = 1) -> None:
    """InvalidArgumentError for an option's number, or several, that is not within least .. most, which is known once
    the images are opened: told before they are embedded."""
    for each in [] if given is None else one_or_several(given):
        integer(each, option, least, most)


def labelled(
    path: str, labels: str | None, channels: int | None, reading: Mapping[str, Any], on_error: str
) -> tuple[ImageSource, np.ndarray, list[str] | None]:
    """A source and its labels, from class folders, a labelled archive, an IDX file's companion, or a file of labels,
    without the images that cannot be read; see ``readable``."""
    source, values, names = open_labelled(path, labels, channels, **reading)
    if values is None:
        raise InvalidArgumentError(
            f"{path} has no labels: want class folders, an .npz with labels, an IDX file with its labels beside it, or "
            "an option that names a file of labels"
        )
    read, places = readable(source, path, on_error)
    return read, values if places is None else values[places], names


@contextmanager
def told_as(names: Mapping[str, str]) -> Iterator[None]:
    """What the block says of a function's arguments, in errors and warnings, names what the command was given. Names
    that may be words of a text or of a label, such as k, are arguments at a message's beginning alone."""
    pattern = re.compile("|".join(rf"\b({name})\b" if "_" in name else f"^({name})(?=:)" for name in names))

    def retold(text: object) -> str:
        return pattern.sub(lambda found: names[found[0]], str(text))

    try:
        with warnings.catch_warnings(record=True) as met:
            warnings.simplefilter("always")
            yield
    except InvalidArgumentError as error:
        raise InvalidArgumentError(retold(error)) from error
    finally:
        for each in met:
            warnings.warn(retold(each.message), each.category, stacklevel=3)


def not_classes(labels: np.ndarray, classes: np.ndarray, model: str) -> tuple[np.ndarray, str]:
    """Which labels, text (N,), are no classes of the classifier at the path `model`, and a text that names them; "" for
    none. They say nothing about it."""
    strange = ~np.isin(labels, classes.astype(str))
    if not strange.any():
        return strange, ""
    found = np.unique(labels[strange])
    return strange, f"labels: {shown(found)} not among the classes of {model}, {shown(classes)}"


def add_quiet(parser: Any) -> None:
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def load_judged(path: str, **compute: Any) -> tuple[CARL, Judged]:
    """A model, and what an evaluation notes of it. compute: as of ``compute_of``."""
    return loaded(path, lambda place: load(place, **compute))


def load_any_judged(path: str, **compute: Any) -> tuple[CARL | Classifier, Judged]:
    """``load_judged`` that takes a classifier's file too."""
    return loaded(path, lambda place: load_model(place, **compute))


def labelled_pair(
    arguments: argparse.Namespace,
    channels: int | None,
    reading: Mapping[str, Any],
    judged: Judged,
    sets: Sequence[tuple[str, str, str | None]] | None = None,
) -> tuple[ImageSource, np.ndarray, ImageSource, np.ndarray, list[str] | None]:
    """Two labelled sets of the same classes, and the classes' names where both know them. They are noted in `judged`.

    sets: of each, what it is noted as, its path and that of its labels; by default those of ``add_labelled_pair``.
    """
    if sets is None:
        sets = [("train", arguments.train, arguments.train_labels), ("test", arguments.test, arguments.test_labels)]
    (first, first_y, known), (second, second_y, other) = (
        labelled(path, labels, channels, reading, arguments.on_error) for _, path, labels in sets
    )
    second_y, names = aligned(known, other, second_y, " and ".join(path for _, path, _ in sets))
    for (part, path, labels), source in zip(sets, (first, second)):
        judged.add(part, path, labels, source)
    return first, first_y, second, second_y, names


def print_json(value: Mapping[str, Any]) -> None:
    print(json.dumps(value, indent=2))


def print_table(rows: Iterable[tuple[str, Any]]) -> None:
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
