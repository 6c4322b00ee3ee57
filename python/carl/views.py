"""Augmented views by themselves, as training makes them."""

from __future__ import annotations

from ctypes import byref, c_int32, c_size_t
from typing import Any

import numpy as np

from . import _arrays
from ._c_api import LIB, check_call, pointers
from .config import dump_json
from .errors import InvalidArgumentError


def make_views(
    images: Any, spec: Any, seed: int = 0, *, epoch: int = 0, indices: Any = None, threads: int | None = None
) -> list[np.ndarray]:
    """Makes the views of a batch as training with the same seed does.

    images: uint8 (B, H, W) or (B, H, W, C), or a list of images of any sizes.
    spec: one view's specification (dict), a list of them, or a preset's name: the configuration key ``views``.
    indices: the images' places in the data set; None numbers them 0, 1, ... A view depends on (seed, epoch, index, view) alone.

    Returns one float32 array (B, size, size, C) a view, normalised.
    """
    packed = _arrays.pack_images(images)
    text = _arrays.c_text(dump_json(_checked_spec(spec)), "spec")
    seed = _arrays.integer(seed, "seed", 0, 2**64 - 1)
    epoch = _arrays.integer(epoch, "epoch", 0, 2**24 - 1)
    places = None if indices is None else _arrays.index_array(indices, len(packed))
    count = 0 if threads is None else _arrays.integer(threads, "threads", 1, 4096)
    views = [
        np.empty((len(packed), size, size, packed.channels), np.float32) for size in view_sizes(spec, packed.channels)
    ]
    room = (c_size_t * len(views))(*[view.size for view in views])
    check_call(
        LIB.carl_make_views(
            packed.address, len(packed), text, seed, epoch, None if places is None else places.ctypes.data, count,
            pointers([view.ctypes.data for view in views]), room, len(views),
        )
    )
    return views


def view_sizes(spec: Any, channels: int = 3) -> list[int]:
    """The size in pixels of each view that a specification makes."""
    text = _arrays.c_text(dump_json(_checked_spec(spec)), "spec")
    channels = _arrays.integer(channels, "channels", 1, _arrays.MAX_CHANNELS)
    views = c_size_t(0)
    check_call(LIB.carl_views_describe(text, channels, None, 0, byref(views)))
    sizes = (c_int32 * views.value)()
    check_call(LIB.carl_views_describe(text, channels, sizes, views.value, byref(views)))
    return list(sizes)


def _checked_spec(spec: Any) -> Any:
    if not isinstance(spec, (str, dict, list, tuple)):
        raise InvalidArgumentError(f"spec: got {type(spec).__name__}, want a dict, a list of dicts, or a preset's name")
    return spec
