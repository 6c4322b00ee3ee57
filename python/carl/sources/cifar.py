"""The binary version of CIFAR-10 and CIFAR-100: records of one or two labels and 3 x 32 x 32 bytes."""

from __future__ import annotations

import os

import numpy as np

from ..errors import FileError
from .arrays import ArraySource
from .base import ImageSource, JoinedSource

_SIDE, _PIXELS = 32, 3 * 32 * 32
#: Labels in front of a record's pixels, the last of which counts, and the file with their names.
_KINDS = {10: (1, "batches.meta.txt"), 100: (2, "fine_label_names.txt")}


def is_cifar(path: str) -> bool:
    return path.lower().endswith(".bin")


def cifar_source(path: str) -> ArraySource:
    """One file, mapped into memory. CIFAR-100's labels are the fine ones."""
    try:
        size = os.path.getsize(path)
        classes = next((n for n, (labels, _) in _KINDS.items() if size and size % (labels + _PIXELS) == 0 and _fits(path, n)), None)
        if classes is None:
            raise FileError(f"{path} is not a CIFAR file: {size} bytes are no records of 3073 or 3074 bytes with labels in front")
        records = _records(path, classes)
    except OSError as error:
        raise error if isinstance(error, FileError) else FileError(f"cannot read {path}: {error}") from error
    labels, names = _KINDS[classes]
    images = records[:, labels:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    source = ArraySource(images, path, np.array(records[:, labels - 1], np.int64))
    source.class_names = _class_names(os.path.join(os.path.dirname(path), names), classes)
    return source


def cifar_folder(folder: str) -> ImageSource | None:
    """The training images of a folder of CIFAR files: data_batch_1.bin to data_batch_5.bin, or train.bin; None for other folders."""
    names = os.listdir(folder)
    parts = sorted(name for name in names if name.startswith("data_batch_") and name.endswith(".bin"))
    if not parts and "train.bin" in names and _KINDS[100][1] in names:
        parts = ["train.bin"]
    if not parts:
        return None
    sources: list[ImageSource] = [cifar_source(os.path.join(folder, name)) for name in parts]
    return sources[0] if len(sources) == 1 else JoinedSource(sources)


def _records(path: str, classes: int) -> np.ndarray:
    return np.memmap(path, np.uint8, mode="r").reshape(-1, _KINDS[classes][0] + _PIXELS)


def _fits(path: str, classes: int) -> bool:
    """Whether the labels are possible ones: sizes that are multiples of both records do not tell the kinds apart."""
    records = _records(path, classes)
    if classes == 100:
        return bool((records[:, 0] < 20).all() and (records[:, 1] < 100).all())
    return bool((records[:, 0] < 10).all())


def _class_names(path: str, classes: int) -> list[str] | None:
    try:
        with open(path, encoding="utf-8") as file:
            names = [line.strip() for line in file if line.strip()]
    except (OSError, UnicodeDecodeError):
        return None
    return names if len(names) == classes else None
