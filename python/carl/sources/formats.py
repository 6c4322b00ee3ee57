"""Files that hold a whole data set: .npy, .npz and IDX."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .._images import image_shape
from .._reading import DataFile, Reader
from .._values import Values
from ..errors import FileError, InvalidArgumentError
from .arrays import ArraySource
from .base import ImageSource
from .idx import IdxFile, read_idx
from .npy import Archive, Header, read_header
from .stored import StoredSource

#: Names under which an .npz archive's images and labels are looked for.
IMAGE_KEYS = ("images", "x_train", "x", "X", "data", "arr_0")
LABEL_KEYS = ("labels", "y_train", "y", "Y", "targets", "arr_1")


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of an .npy file, in memory. FileError for anything that is no plain array."""
    name = os.fspath(path)
    header = _npy_header(name)
    try:
        return DataFile(name).read_array(header.start, header.shape, header.dtype, header.fortran)
    except ValueError as error:  # an empty array may still have lengths whose product is too large
        raise error if isinstance(error, FileError) else FileError(f"{name} is damaged: {error}") from None


def numpy_source(path: str, value_range: Any = None) -> ImageSource:
    """An .npy file, or the images (and labels, if any) of an .npz archive. Read a batch at a time unless compressed or
    in Fortran order, where an image is not contiguous in the file: those are read into memory."""
    if path.lower().endswith(".npy"):
        header = _npy_header(path)
        return _source(path, header, header.start, None, path, value_range)
    with Archive(path) as archive:
        image_key = _pick(archive.keys, IMAGE_KEYS)
        if image_key is None and len(archive.keys) == 1:
            image_key = archive.keys[0]
        if image_key is None:
            raise InvalidArgumentError(
                f"{path} holds {', '.join(archive.keys) or 'nothing'}; want images under one of {', '.join(IMAGE_KEYS)}"
            )
        name = f"{path}[{image_key!r}]"
        header = archive.header(image_key)
        _check(header.dtype, header.shape, name, value_range)  # before anything is unpacked
        label_key = _pick([key for key in archive.keys if key != image_key], LABEL_KEYS)
        labels = None if label_key is None else _labels(archive, label_key, header.shape[0])
        start = archive.start(image_key, header)
        if start is None:
            return ArraySource(archive.array(image_key, header), name, labels, value_range)
        return _source(path, header, start, labels, name, value_range)


def idx_source(path: str, value_range: Any = None) -> ImageSource:
    """IDX images, with labels if the file of labels lies in the same folder under its usual name."""
    file = IdxFile(path)
    shape = _check(file.dtype, file.shape, path, value_range)
    folder, name = os.path.split(path)
    labels = None
    if "images-idx3" in name:
        beside = os.path.join(folder, name.replace("images-idx3", "labels-idx1"))
        if os.path.exists(beside):
            labels = read_idx(beside)
            if labels.ndim != 1 or len(labels) != shape[0]:
                raise FileError(f"{beside} has {len(labels)} labels, {path} has {shape[0]} images")
    if file.packed:
        return ArraySource(file.read(), path, labels, value_range)
    return StoredSource(
        DataFile(path, random=True), file.start, file.shape, labels, dtype=file.dtype, value_range=value_range
    )


def _npy_header(path: str) -> Header:
    with Reader(path) as file:
        header = read_header(file, path)
        if header.start + header.size > file.size:
            raise FileError(
                f"{path} is cut short: its header says {header.size} bytes of values, it has {file.size - header.start}"
            )
    return header


def _source(
    path: str, header: Header, start: int, labels: np.ndarray | None, name: str, value_range: Any
) -> ImageSource:
    _check(header.dtype, header.shape, name, value_range)
    if header.fortran:
        array = DataFile(path).read_array(start, header.shape, header.dtype, True)
        return ArraySource(array, name, labels, value_range)
    return StoredSource(
        DataFile(path, random=True), start, header.shape, labels, name=name, dtype=header.dtype, value_range=value_range
    )


def _check(dtype: np.dtype[Any], shape: tuple[int, ...], name: str, value_range: Any) -> tuple[int, int, int, int]:
    Values(value_range).check(dtype, name)
    return image_shape(np.dtype(np.uint8), shape, name)


def _labels(archive: Archive, key: str, count: int) -> np.ndarray | None:
    """A member as labels; None if it is an array of something else."""
    header = archive.header(key)
    if header.shape != (count,) or header.dtype.kind not in "iu":
        return None
    return archive.array(key, header)


def _pick(keys: list[str], wanted: tuple[str, ...]) -> str | None:
    return next((key for key in wanted if key in keys), None)
