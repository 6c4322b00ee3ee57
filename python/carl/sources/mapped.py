"""Arrays that callers have memory-mapped, read without touching neighbouring pages."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from .. import _arrays

#: Smaller files, in bytes, are left to the kernel's read-ahead.
_SMALL = 64 << 20


def read_rows(array: np.ndarray, indices: np.ndarray, name: str) -> np.ndarray:
    """Rows of an array. Those of a large mapped file are asked for together first, so that a disk reads them at once
    and reads nothing else: by default the kernel would fetch one row after the other, with read-ahead.

    Consecutive rows of an array in memory are a view that cannot be written to; else rows are copied, those of a mapped
    file at once, since it may be truncated later."""
    _arrays.check_mapping(array, name)
    places = np.asarray(indices, np.int64)
    if len(places) and _arrays.mapping_of(array)[0] is None and (np.diff(places) == 1).all():
        rows = array[places[0] : places[0] + len(places)]
        if len(rows) == len(places):  # not from the array's end back to its beginning
            rows.flags.writeable = False
            return rows
    mapping = _large_mapping(array)
    if mapping is not None and array.flags.c_contiguous:
        _prefetch(mapping, array, places * array.strides[0], array.strides[0])
    return np.asarray(array[indices])


def _large_mapping(array: np.ndarray) -> mmap.mmap | None:
    mapping = _arrays.mapping_of(array)[0]
    return mapping if mapping is not None and len(mapping) >= _SMALL else None


def _prefetch(mapping: mmap.mmap, array: np.ndarray, offsets: np.ndarray, size: int) -> None:
    """Prefetches ranges of bytes of an array in a mapped file."""
    if not hasattr(mapping, "madvise") or not hasattr(mmap, "MADV_WILLNEED"):
        return
    origin = np.frombuffer(mapping, np.uint8, 1).__array_interface__["data"][0]
    first = array.__array_interface__["data"][0] - origin + offsets
    starts = first // mmap.PAGESIZE * mmap.PAGESIZE
    ends = np.minimum(first + size, len(mapping))
    for start, length in zip(starts.tolist(), (ends - starts).tolist()):
        if length > 0:
            mapping.madvise(mmap.MADV_WILLNEED, start, length)


def prepare_random_reads(array: Any) -> None:
    """Tells the kernel that a large mapped file is accessed randomly (madvise)."""
    mapping = _large_mapping(array)
    if mapping is not None and hasattr(mapping, "madvise") and hasattr(mmap, "MADV_RANDOM"):
        mapping.madvise(mmap.MADV_RANDOM)
