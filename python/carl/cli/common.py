"""What several commands share: reading key=value, data with labels, and printing."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from .._arrays import label_array
from ..errors import ConfigurationError, InvalidArgumentError
from ..sources import ImageSource, path_source, read_idx

DATA_HELP = (
    "a folder of images (flat, or one sub-folder a class), an .npy or .npz file, or an IDX file such as "
    "train-images-idx3-ubyte.gz"
)


def parse_overrides(items: Iterable[str]) -> dict[str, Any]:
    """key=value arguments; a value is JSON where it can be read so, else text."""
    values: dict[str, Any] = {}
    for item in items:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise ConfigurationError(f"got {item!r}, want key=value")
        try:
            values[key] = json.loads(text)
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


def labelled(path: str, labels: str | None, channels: int | None) -> tuple[ImageSource, np.ndarray]:
    """A source and its labels: from its class folders or archive, from beside an IDX file, or from a file."""
    source = path_source(path, channels if channels in (1, 3) else None)
    if labels is not None:
        values = np.load(labels, allow_pickle=False) if labels.endswith(".npy") else read_idx(labels)
        return source, label_array(values, labels, len(source))
    if source.labels is None:
        raise InvalidArgumentError(
            f"{path} has no labels: want class folders, an .npz with labels, or an IDX file with its labels beside it"
        )
    return source, label_array(source.labels, path, len(source))


def print_table(rows: Iterable[tuple[str, Any]]) -> None:
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")
