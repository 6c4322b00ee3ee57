"""Files that hold a whole data set: .npy, .npz and IDX."""

from __future__ import annotations

import os
from logging import getLogger
from typing import Any

import numpy as np

from .._images import image_shape
from .._reading import DataFile, Reader
from .._values import Values
from ..errors import FileError, InvalidArgumentError
from ._labels import numbered
from .arrays import ArraySource
from .base import ImageSource
from .idx import IdxFile, read_idx
from .npy import Archive, Header, read_header
from .stored import StoredSource

#: Names under which an .npz archive's images and labels are looked for.
IMAGE_KEYS = ("images", "x_train", "x", "X", "data", "arr_0")
#: Bytes of a label at most, before an array is unpacked as labels.
_MOST_LABELS = 4096
LABEL_KEYS = ("labels", "y_train", "y", "Y", "targets", "arr_1")


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of an .npy file, in memory. FileError for anything that is no plain array."""
    name = os.fspath(path)
    header = _npy_header(name)
    try:
        return DataFile(name).read_array(header.start, header.shape, header.dtype, header.fortran)
    except ValueError as error:  # an empty array may still have lengths whose product is too large
        raise error if isinstance(error, FileError) else FileError(f"{name} is damaged: {error}") from None


def npy_source(path: str, value_range: Any = None) -> ImageSource:
    """An .npy file, read a batch at a time unless in Fortran order, where an image is not contiguous in the file: such
    arrays are read into memory."""
    header = _npy_header(path)
    return _source(path, header, header.start, None, path, value_range)


def npz_source(
    path: str, value_range: Any = None, image_key: str | None = None, label_key: str | None = None
) -> ImageSource:
    """The images (and labels, if any) of an .npz archive, read as of ``npy_source``, or unpacked into memory.

    image_key, label_key: their arrays; by default they are found by name. Labels are whole numbers, bools or text, (N,)
        or (N, 1). Where others are found by name, they are left out with a warning; where they are named, that is
        an InvalidArgumentError.
    """
    with Archive(path) as archive:
        held = f"{path} holds {', '.join(archive.keys) or 'nothing'}"
        for argument, key in (("image_key", image_key), ("label_key", label_key)):
            if key is not None and key not in archive.keys:
                raise InvalidArgumentError(f"{argument}: got {key!r}, but {held}")
        image_key = image_key or _pick([key for key in archive.keys if key != label_key], IMAGE_KEYS)
        if image_key is None and len(archive.keys) == 1:
            image_key = archive.keys[0]
        if image_key is None:
            raise InvalidArgumentError(f"{held}; want images under one of {', '.join(IMAGE_KEYS)}, or image_key")
        name = f"{path}[{image_key!r}]"
        header = archive.header(image_key)
        _check(header.dtype, header.shape, name, value_range)  # before anything is unpacked
        found = label_key or _pick([key for key in archive.keys if key != image_key], LABEL_KEYS)
        labels, class_names = None, None
        if found is not None:
            labels, class_names = _labels(archive, path, found, header.shape[0], wanted=label_key is not None)
        start = archive.start(image_key, header)
        source: ImageSource
        if start is None:
            source = ArraySource(archive.array(image_key, header), name, labels, value_range)
        else:
            source = _source(path, header, start, labels, name, value_range)
        source.class_names = class_names
        return source


def idx_source(path: str, value_range: Any = None) -> ImageSource:
    """IDX images, with labels if the file of labels lies in the same folder under its usual name."""
    file = IdxFile(path)
    shape = _check(file.dtype, file.shape, path, value_range)
    folder, name = os.path.split(path)
    labels = None
    for beside in (os.path.join(folder, label_name) for label_name in _label_names(name)):
        if os.path.exists(beside):
            labels = read_idx(beside)
            if labels.ndim != 1 or len(labels) != shape[0]:
                raise FileError(f"{beside} has {len(labels)} labels, {path} has {shape[0]} images")
            break
    if file.packed:
        return ArraySource(file.read(), path, labels, value_range)
    return StoredSource(
        DataFile(path, random=True), file.start, file.shape, labels, dtype=file.dtype, value_range=value_range
    )


def _label_names(name: str) -> list[str]:
    """How the labels' file of an IDX file of images may be called; either may have been unpacked without the other."""
    found = []
    for images, labels in (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1")):
        if images in name:
            beside = name.replace(images, labels)
            found += [beside, beside.removesuffix(".gz") if beside.endswith(".gz") else beside + ".gz"]
    return found


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


def _labels(
    archive: Archive, path: str, key: str, count: int, wanted: bool
) -> tuple[np.ndarray | None, list[str] | None]:
    """A member as labels, and the names of their classes. wanted: it was named, so that others are an error."""
    name = f"{path}[{key!r}]"
    header = archive.header(key)
    try:
        if header.size > _MOST_LABELS * max(1, count):
            raise InvalidArgumentError(
                f"{name}: got {header.dtype} values of shape {header.shape}, want one label an image"
            )
        return numbered(archive.array(key, header), name, count)
    except InvalidArgumentError as error:
        if wanted:
            raise
        getLogger("carl").warning("labels are left out: %s", error)
        return None, None


def _pick(keys: list[str], wanted: tuple[str, ...]) -> str | None:
    return next((key for key in wanted if key in keys), None)
