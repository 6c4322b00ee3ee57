"""Files that hold a whole data set: .npy, .npz and IDX, the format of MNIST and its relatives."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from ..errors import CARLError, FileError, InvalidArgumentError
from .arrays import ArraySource
from .mapped import npz_member

#: Names under which an .npz archive's images and labels are looked for.
IMAGE_KEYS = ("images", "x_train", "x", "X", "data", "arr_0")
LABEL_KEYS = ("labels", "y_train", "y", "Y", "targets", "arr_1")

_IDX_TYPES: dict[int, np.dtype[Any]] = {0x08: np.dtype("u1"), 0x09: np.dtype("i1"), 0x0B: np.dtype(">i2"), 0x0C: np.dtype(">i4"),
              0x0D: np.dtype(">f4"), 0x0E: np.dtype(">f8")}


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of an IDX file, in the machine's byte order. Bytes of a file that is not compressed by gzip are mapped, not read."""
    import gzip

    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        if packed:
            with gzip.open(path, "rb") as file:
                data: Any = file.read()
        else:
            data = np.memmap(path, np.uint8, "r") if os.path.getsize(path) else b""
    except (OSError, EOFError) as error:
        raise FileError(f"cannot read {path}: {error}") from error
    except Exception as error:  # zlib.error, which gzip lets through
        raise FileError(f"{path} is damaged: {error}") from error
    head = bytes(data[:4])
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES or head[3] == 0:
        raise FileError(f"{path} is not an IDX file")
    dimensions, dtype = head[3], _IDX_TYPES[head[2]]
    start = 4 + 4 * dimensions
    if len(data) < start:
        raise FileError(f"{path} is cut short")
    shape = [int(n) for n in np.frombuffer(data, ">u4", dimensions, 4)]
    if len(data) - start != math.prod(shape) * dtype.itemsize:
        raise FileError(f"{path} holds {len(data) - start} bytes of values, its header says {shape}")
    values = data[start:].view(dtype) if isinstance(data, np.ndarray) else np.frombuffer(data, dtype, offset=start)
    array = values.reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def is_idx(path: str) -> bool:
    name = os.path.basename(path).lower().removesuffix(".gz")
    return name.endswith((".idx", "-ubyte")) or ".idx" in name or "-idx" in name


def numpy_source(path: str) -> ArraySource:
    """An .npy file, or the images (and labels, if any) of an .npz archive; mapped into memory unless compressed."""
    if path.lower().endswith(".npy"):
        return ArraySource(_load(path, "r"), path)
    with _load(path, None) as archive:
        keys = list(archive.files)
        image_key = _pick(keys, IMAGE_KEYS)
        if image_key is None and len(keys) == 1:
            image_key = keys[0]
        if image_key is None:
            raise InvalidArgumentError(f"{path} holds {', '.join(keys) or 'nothing'}; want images under one of {', '.join(IMAGE_KEYS)}")
        label_key = _pick([key for key in keys if key != image_key], LABEL_KEYS)
        try:
            images = npz_member(path, image_key)
            if images is None:
                images = archive[image_key]
            labels = None if label_key is None else archive[label_key]
        except Exception as error:
            raise FileError(f"{path} is damaged: {error}") from error
    if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "iu" or len(labels) != len(images)):
        labels = None
    return ArraySource(images, f"{path}[{image_key!r}]", labels)


def idx_source(path: str) -> ArraySource:
    """IDX images; labels come along if their file lies beside under its usual name."""
    images = read_idx(path)
    folder, name = os.path.split(path)
    labels = None
    if "images-idx3" in name:
        beside = os.path.join(folder, name.replace("images-idx3", "labels-idx1"))
        if os.path.isfile(beside):
            labels = read_idx(beside)
            if labels.ndim != 1 or len(labels) != len(images):
                raise FileError(f"{beside} has {len(labels)} labels, {path} has {len(images)} images")
    return ArraySource(images, path, labels)


def _load(path: str, mode: Any) -> Any:
    try:
        return np.load(path, mmap_mode=mode, allow_pickle=False)
    except CARLError:
        raise
    except Exception as error:
        raise FileError(f"cannot read {path}: {error}") from error


def _pick(keys: list[str], wanted: tuple[str, ...]) -> str | None:
    return next((key for key in wanted if key in keys), None)
