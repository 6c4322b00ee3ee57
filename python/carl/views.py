"""Augmented views by themselves, as training makes them."""

from __future__ import annotations

from ctypes import byref, c_int32, c_size_t
from typing import Any

import numpy as np

from . import _arrays, _images
from ._c_api import LIB, call, check_call, pointers
from .config import dump_json
from .errors import InvalidArgumentError


def make_views(
    images: Any, spec: Any, seed: int = 0, *, epoch: int = 0, indices: Any = None, threads: int | None = None
) -> list[np.ndarray]:
    """Makes the views of a batch as training with the same seed does.

    images: uint8 (B, H, W) or (B, H, W, C), or a list of images of any sizes. Parts of a larger array are read where
        they are, as long as the pixels of a row lie side by side.
    spec: one view's specification (dict), a list of them, or a preset's name (views of 32 pixels): the configuration
        key ``views``.
    seed: 0 .. 2^64 - 1. epoch: 0 .. 2^24 - 1.
    indices: the images' places in the data set; None numbers them 0, 1, ... A view depends on (seed, epoch, index,
        view) alone.
    threads: None for all processors.

    Returns one float32 array (B, size, size, C) a view, normalised: (value / 255 - mean) / std. docs/views.md defines
    the operations. Raises InvalidArgumentError for images and numbers, ConfigurationError for what is wrong in the
    specification.
    """
    packed = _images.pack_images(images)
    text = spec_text(spec)
    seed = _arrays.integer(seed, "seed", 0, 2**64 - 1)
    epoch = _arrays.integer(epoch, "epoch", 0, 2**24 - 1)
    places = None if indices is None else _arrays.index_array(indices, len(packed))
    count = _arrays.thread_count(threads)
    views = [
        np.empty((len(packed), size, size, packed.channels), np.float32) for size in _view_sizes(text, packed.channels)
    ]
    room = (c_size_t * len(views))(*[view.size for view in views])
    call(LIB.carl_make_views, packed, len(packed), text, seed, epoch, places, count, pointers(views), room, len(views))
    return views


def view_sizes(spec: Any, channels: int = 3) -> list[int]:
    """The size in pixels of each view that a specification makes."""
    return _view_sizes(spec_text(spec), _arrays.c_integer(channels, "channels"))


def _view_sizes(text: bytes, channels: int) -> list[int]:
    views = c_size_t(0)
    check_call(LIB.carl_views_describe(text, channels, None, 0, byref(views)))
    sizes = (c_int32 * views.value)()
    check_call(LIB.carl_views_describe(text, channels, sizes, views.value, byref(views)))
    return list(sizes)


def spec_text(spec: Any) -> bytes:
    """A specification as C takes it."""
    if not isinstance(spec, (str, dict, list, tuple)):
        raise InvalidArgumentError(f"spec: got {type(spec).__name__}, want a dict, a list of dicts, or a preset's name")
    return _arrays.c_text(dump_json(spec, "spec"), "spec")
