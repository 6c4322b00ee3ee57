"""Arrays that lie in files and are mapped into memory: found in archives, and read without reading what lies beside."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

#: Below this many bytes a file is left to the system's own reading ahead.
_SMALL = 64 << 20


def npz_member(path: str, key: str) -> np.ndarray | None:
    """An array of an .npz archive, mapped; None if it is compressed, as ``numpy.savez_compressed`` leaves it."""
    import zipfile

    name = key + ".npy"
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        info = archive.getinfo(name if name in archive.namelist() else key)
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        # The local header's own lengths of name and extra field tell where the data begin.
        file.seek(info.header_offset)
        header = file.read(30)
        if header[:4] != b"PK\x03\x04":
            return None
        start = info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        file.seek(start)
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            return None
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject or 0 in shape:
            return None
        offset = file.tell()
    if offset - start + int(np.prod(shape)) * dtype.itemsize > info.file_size:
        return None
    return np.memmap(path, dtype, "r", offset, tuple(shape), "F" if fortran else "C")


def read_rows(array: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Rows of an array. Those of a large mapped file are asked for together first, so that a disk reads them at once and reads
    nothing else: by itself the system would fetch a row after the other, and what lies behind it too."""
    mapping = _mapping(array)
    if mapping is not None and array.flags.c_contiguous:
        _prefetch(mapping, array, np.asarray(indices, np.int64) * array.strides[0], array.strides[0])
    return np.asarray(array[indices])


def _mapping(array: np.ndarray) -> mmap.mmap | None:
    found = array
    while isinstance(found, np.ndarray) and not isinstance(found.base, mmap.mmap):
        found = found.base  # type: ignore[assignment]
    mapping = getattr(found, "base", None)
    return mapping if isinstance(mapping, mmap.mmap) and len(mapping) >= _SMALL else None


def read_spans(array: np.ndarray, offsets: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """Copies of stretches of a one-dimensional array of bytes."""
    mapping = _mapping(array)
    if mapping is not None:
        _prefetch(mapping, array, offsets, sizes)
    return [array[offset : offset + size].copy().view(np.ndarray) for offset, size in zip(offsets.tolist(), sizes.tolist())]


def _prefetch(mapping: mmap.mmap, array: np.ndarray, offsets: np.ndarray, sizes: Any) -> None:
    """Asks for stretches of bytes of an array in a mapped file."""
    if not hasattr(mapping, "madvise") or not hasattr(mmap, "MADV_WILLNEED"):
        return
    origin = np.frombuffer(mapping, np.uint8, 1).__array_interface__["data"][0]
    first = array.__array_interface__["data"][0] - origin + offsets
    starts = first // mmap.PAGESIZE * mmap.PAGESIZE
    ends = np.minimum(first + sizes, len(mapping))
    for start, length in zip(starts.tolist(), (ends - starts).tolist()):
        if length > 0:
            mapping.madvise(mmap.MADV_WILLNEED, start, length)


def prepare_random_reads(array: Any) -> None:
    """Tells the system that a large mapped file is read in no order."""
    mapping = _mapping(array)
    if mapping is not None and hasattr(mapping, "madvise") and hasattr(mmap, "MADV_RANDOM"):
        mapping.madvise(mmap.MADV_RANDOM)
