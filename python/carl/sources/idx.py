"""IDX files, the format of MNIST and its relatives, compressed by gzip or not."""

from __future__ import annotations

import os
from typing import IO, Any

import numpy as np

from .._decode import SUFFIXES
from .._reading import DataFile, Reader, allocate
from ..errors import CARLError, FileError

#: Most dimensions that every release of NumPy supports.
MOST_DIMENSIONS = 32
#: The end of what is said of any other file.
NO_IDX = "is not an IDX file"
_CHUNK = 1 << 20

_TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}


class IdxFile:
    """An IDX file's header: shape, dtype, start (where the values begin), and whether it is packed by gzip.

    Raises FileError for what is no IDX file, and where a file that is not packed has another length than its header
    says.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        with Reader(self.path) as file:
            self._length = file.size
            try:
                self.packed = file.peek(2)[:2] == b"\x1f\x8b"
                self._read_header(_unpacking(file) if self.packed else file)
            except CARLError:
                raise
            except Exception as error:  # besides OSError and EOFError gzip lets zlib.error through
                raise FileError(f"cannot read {self.path}: {error or type(error).__name__}") from error
        if not self.packed and self._length - self.start != self.size:
            raise FileError(
                f"{self.path} holds {self._length - self.start} bytes of values, its header says {list(self.shape)}"
            )

    def _read_header(self, file: IO[bytes]) -> None:
        head = file.read(4)
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or head[3] == 0:
            raise FileError(f"{self.path} {NO_IDX}")
        dimensions, self.dtype = head[3], _TYPES[head[2]]
        if dimensions > MOST_DIMENSIONS:
            raise FileError(f"{self.path} has {dimensions} dimensions, want at most {MOST_DIMENSIONS}")
        lengths = file.read(4 * dimensions)
        if len(lengths) < 4 * dimensions:
            raise FileError(f"{self.path} is cut short")
        self.start = 4 + 4 * dimensions
        self.shape = tuple(int.from_bytes(lengths[4 * n : 4 * n + 4], "big") for n in range(dimensions))
        self.size = self.dtype.itemsize
        for length in self.shape:
            self.size *= length

    def read(self) -> np.ndarray:
        """The array, in memory, in the machine's byte order."""
        if self.packed:
            # What cannot be in a file of this length is refused before there is memory for it: deflate packs 1032 bytes
            # into one.
            if self.size > 1032 * self._length:
                raise FileError(f"{self.path} is cut short: its header says {list(self.shape)}")
            data = allocate(self.size, self.path)
            try:
                with Reader(self.path) as file:
                    unpacked = _unpacking(file)
                    unpacked.read(self.start)
                    unpack(unpacked, data, self.path)
            except CARLError:
                raise
            except Exception as error:
                raise FileError(f"{self.path} is damaged: {error or type(error).__name__}") from error
        else:
            data = DataFile(self.path).read_array(self.start, (self.size,), np.dtype(np.uint8))
        try:
            array = data.view(self.dtype).reshape(self.shape)
        except ValueError as error:  # an empty array may still have lengths whose product is too large
            raise FileError(f"{self.path} is damaged: {error}") from None
        return array.astype(self.dtype.newbyteorder("="), copy=False)


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array of an IDX file, compressed by gzip or not, in memory and in the machine's byte order. FileError for any
    other file."""
    return IdxFile(path).read()


def is_idx(path: str) -> bool:
    name = os.path.basename(path).lower().removesuffix(".gz")
    if os.path.splitext(name)[1] in SUFFIXES:  # scan-idx-001.jpg
        return False
    return name.endswith((".idx", "-ubyte")) or ".idx" in name or "-idx" in name


def unpack(file: IO[bytes], buffer: np.ndarray, name: str) -> np.ndarray:
    """Fills a buffer of bytes with all that a compressed stream has left, which must be as much."""
    view, done = buffer.data, 0
    while done < len(view):
        content = file.read(min(_CHUNK, len(view) - done))
        if not content:
            raise FileError(f"{name} is cut short: it holds {done} bytes of values, its header says {len(view)}")
        view[done : done + len(content)] = content
        done += len(content)
    if file.read(1):  # which also compares the checksum
        raise FileError(f"{name} holds more than the {len(view)} bytes of values that its header says")
    return buffer


def _unpacking(file: IO[bytes]) -> Any:
    import gzip

    return gzip.GzipFile(fileobj=file)
