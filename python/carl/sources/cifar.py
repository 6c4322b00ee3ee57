"""The binary version of CIFAR-10 and CIFAR-100: records of one or two labels and 3 x 32 x 32 bytes."""

from __future__ import annotations

import os

import numpy as np

from .._reading import DataFile, read_text
from ..errors import FileError
from .base import ImageSource, JoinedSource
from .stored import StoredSource

_SIDE, _PIXELS = 32, 3 * 32 * 32
#: Labels in front of a record's pixels, the last of which counts, and the file with their names.
_KINDS = {10: (1, "batches.meta.txt"), 100: (2, "fine_label_names.txt")}
#: Records looked at at a time.
_CHUNK = 4096


def is_cifar(path: str) -> bool:
    return path.lower().endswith(".bin")


def cifar_source(path: str) -> StoredSource:
    """One file, read a batch at a time. CIFAR-100's labels are the fine ones."""
    file = DataFile(path, random=True)
    for classes, (before, names) in _KINDS.items():
        record = before + _PIXELS
        if file.size == 0 or file.size % record:
            continue
        heads = _heads(file, record, before)
        if _fits(heads, classes):
            source = StoredSource(
                file, 0, (len(heads), _SIDE, _SIDE, 3), heads[:, before - 1].astype(np.int64), skip=before, planes=True
            )
            source.class_names = _class_names(os.path.join(os.path.dirname(path), names), classes)
            return source
    raise FileError(
        f"{path} is not a CIFAR file: {file.size} bytes are no records of 3073 or 3074 bytes with labels in front"
    )


def cifar_folder(folder: str, names: list[str]) -> ImageSource | None:
    """The training images of a folder of CIFAR files: data_batch_1.bin to data_batch_5.bin, or train.bin; None for
    other folders.
    names: what is in it."""
    parts = sorted(name for name in names if name.startswith("data_batch_") and name.endswith(".bin"))
    if not parts and "train.bin" in names and _KINDS[100][1] in names:
        parts = ["train.bin"]
    if not parts:
        return None
    sources: list[ImageSource] = [cifar_source(os.path.join(folder, name)) for name in parts]
    return sources[0] if len(sources) == 1 else JoinedSource(sources)


def _heads(file: DataFile, record: int, before: int) -> np.ndarray:
    """uint8 (N, before): the labels of all records."""
    count = file.size // record
    heads = np.empty((count, before), np.uint8)
    for first in range(0, count, _CHUNK):
        places = np.arange(first, min(first + _CHUNK, count))
        heads[places] = file.read_spans(places * record, np.full(len(places), record)).reshape(-1, record)[:, :before]
    return heads


def _fits(heads: np.ndarray, classes: int) -> bool:
    """Whether the labels are possible ones: a file size that is a multiple of both record sizes is ambiguous."""
    if classes == 100:
        return bool((heads[:, 0] < 20).all() and (heads[:, 1] < 100).all())
    return bool((heads[:, 0] < 10).all())


def _class_names(path: str, classes: int) -> list[str] | None:
    try:
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except FileError:
        return None
    return names if len(names) == classes else None
