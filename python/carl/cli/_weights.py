"""MODEL, or a weights file of another program in its place: what commands that only embed take."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .common import (
    DATA_HELP,
    LABELS_HELP,
    MODEL_HELP,
    add_reading,
    add_skip,
    compute_of,
    load_any_judged,
    load_judged,
    parse_overrides,
)

if TYPE_CHECKING:
    from .._judged import Judged
    from ..classifier import Classifier
    from ..encoder import Encoder
    from ..estimator import CARL

#: Stands where MODEL would, with --weights.
_NO_MODEL = ""
_OPTION = "--weights"


class CommandParser(argparse.ArgumentParser):
    """A command's parser. Where it takes a model, --weights stands for the first argument."""

    takes_weights = False

    def __init__(self, *args: Any, **options: Any) -> None:
        """Without abbreviated options: one that a later version adds must not change what a command means."""
        super().__init__(*args, **{**options, "allow_abbrev": False})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self.takes_weights and args is not None and _has_weights(args):
            args = [_NO_MODEL, *args]
        return super().parse_known_args(args, namespace)


def _has_weights(args: Sequence[str]) -> bool:
    """Whether the option is there."""
    return any(item.partition("=")[0] == _OPTION for item in (args[: args.index("--")] if "--" in args else args))


def add_model(parser: Any, rest: str) -> None:
    """MODEL, or --weights FILE. rest: the arguments that follow it, for the usage."""
    parser.takes_weights = True
    parser.usage = f"%(prog)s MODEL {rest} [options]\n       %(prog)s {_OPTION} FILE {rest} [options]"
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL_HELP}; left out with {_OPTION}")
    parser.add_argument(
        _OPTION,
        metavar="FILE",
        help="instead of MODEL: a safetensors file with an encoder that another program has trained (torchvision, "
        "timm, DINOv2, transformers), used as it is, without any training",
    )
    parser.add_argument(
        "--set",
        dest="weights_keys",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"with {_OPTION}: a configuration key in the place of the file's, such as view_size=448, pool=mean, "
        "evaluation_crop=0.95 or evaluation_interpolation=bicubic; may be given several times",
    )


def add_labelled_pair(parser: Any) -> None:
    """MODEL or --weights, and labelled sets TRAIN and TEST."""
    add_model(parser, "TRAIN TEST")
    parser.add_argument("train", metavar="TRAIN", help=DATA_HELP)
    parser.add_argument("test", metavar="TEST", help="the same")
    parser.add_argument("--train-labels", metavar="FILE", help=LABELS_HELP)
    parser.add_argument("--test-labels", metavar="FILE", help="the same, of TEST")
    add_reading(parser)
    add_skip(parser)


def model_path(arguments: argparse.Namespace) -> str:
    """The file or folder that is read."""
    return str(arguments.weights or arguments.model)


def given_model(arguments: argparse.Namespace, data: str) -> CARL | Classifier | Encoder:
    """What the command embeds with. data: the images, whose channels an encoder from weights is made for."""
    from .._models import load_model

    check_keys(arguments)
    if arguments.weights is not None:
        return from_weights(arguments, data)
    return load_model(arguments.model, **compute_of(arguments))


def given_judged(
    arguments: argparse.Namespace, data: str, classifiers: bool = False
) -> tuple[CARL | Classifier | Encoder, Judged]:
    """The same, and what an evaluation notes of it. classifiers: the file of one will do too."""
    from .._judged import Judged

    check_keys(arguments)
    if arguments.weights is not None:
        return from_weights(arguments, data), Judged(None, None)
    return (load_any_judged if classifiers else load_judged)(arguments.model, **compute_of(arguments))


def check_keys(arguments: argparse.Namespace) -> None:
    """InvalidArgumentError for --set without --weights."""
    from ..errors import InvalidArgumentError

    if arguments.weights is None and arguments.weights_keys:
        raise InvalidArgumentError(f"--set: is of {_OPTION}: a model has its configuration")


def from_weights(arguments: argparse.Namespace, data: str) -> Encoder:
    """The encoder of --weights."""
    from ..encoder import Encoder
    from ..sources import DecodedSource
    from ..sources.labelled import open_source
    from ..weights import weights_info

    keys = parse_overrides(arguments.weights_keys)
    if keys.get("in_channels") is None:
        own = int(weights_info(arguments.weights).config["in_channels"])
        with open_source(
            data, own, value_range=arguments.value_range, image_key=arguments.image_key
        ) as source:  # files are read as gray or RGB, as the weights want it; arrays have the channels they have
            decoded = isinstance(source, DecodedSource) and own in (1, 3)
            keys["in_channels"] = own if decoded else source.channels
    return Encoder.from_weights(arguments.weights, **{**compute_of(arguments), **keys})
