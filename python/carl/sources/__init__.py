"""Where images come from. ``as_source`` takes whatever users have."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from ..errors import FileError, InvalidArgumentError
from .arrays import ArraySource, ListSource
from .base import BatchStream, Images, ImageSource
from .files import FileSource, folder_source
from .formats import idx_source, is_idx, numpy_source, read_idx
from .order import epoch_order


def as_source(images: Any, channels: int | None = None) -> ImageSource | BatchStream:
    """Makes a source of images from

    - a uint8 array (N, H, W) or (N, H, W, C), of any strides, memory-mapped or not, or a torch tensor of that shape,
    - a list of uint8 arrays (H, W) or (H, W, C) or of Pillow images, sizes may differ,
    - the path of a folder of image files, with or without one sub-folder a class,
    - a list of paths of image files,
    - the path of an .npy, .npz or IDX file (the latter may be compressed by gzip),
    - any other iterable, which is taken to give batches: arrays (B, H, W) or (B, H, W, C), or lists of images,
    - a source.

    channels: 1 or 3 makes image files gray or RGB; None looks at them.
    """
    if isinstance(images, (ImageSource, BatchStream)):
        return images
    if isinstance(images, (str, os.PathLike)):
        return path_source(os.path.expanduser(os.fspath(images)), channels)
    if isinstance(images, (list, tuple)):
        if not images:
            raise InvalidArgumentError("images: got an empty list, want images")
        if all(isinstance(item, (str, os.PathLike)) for item in images):
            return FileSource([os.path.expanduser(os.fspath(item)) for item in images], channels)
        first = images[0]
        if isinstance(first, (list, tuple)) or getattr(first, "ndim", 0) == 4:
            return BatchStream(images)
        return ListSource(images)
    if isinstance(images, np.ndarray) or hasattr(images, "__array__") or hasattr(images, "__array_interface__"):
        return ArraySource(images)
    if isinstance(images, Iterable) and not isinstance(images, (bytes, dict, set, frozenset)):
        return BatchStream(images)
    raise InvalidArgumentError(
        f"images: got {type(images).__name__}, want a uint8 array (N, H, W) or (N, H, W, C), a list of images, "
        "a folder's or file's path, a list of paths, or an iterable of batches"
    )


def path_source(path: str, channels: int | None = None) -> ImageSource:
    """The source of a folder or a file."""
    if os.path.isdir(path):
        return folder_source(path, channels)
    if not os.path.exists(path):
        raise FileError(f"{path}: no such file or folder")
    lower = path.lower()
    if lower.endswith((".npy", ".npz")):
        return numpy_source(path)
    if is_idx(path):
        return idx_source(path)
    raise FileError(f"{path}: want a folder of images, an .npy or .npz file, or an IDX file")


__all__ = [
    "ArraySource", "BatchStream", "FileSource", "ImageSource", "Images", "ListSource", "as_source", "epoch_order",
    "folder_source", "path_source", "read_idx",
]
