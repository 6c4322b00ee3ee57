"""Headers of .npy files, and the members of .npz archives."""

from __future__ import annotations

import io
import zipfile
from typing import IO, Any

import numpy as np

from .._reading import DataFile, Reader, allocate
from ..errors import CARLError, FileError
from .idx import MOST_DIMENSIONS, unpack

#: Bytes of a header at most. One of a plain array has 128.
_LONGEST = 1024
#: Largest compression ratio of the deflate format, about.
DEFLATED = 1032


class Header:
    """shape, dtype and order of an array, and where its values begin, counted from the header's first byte."""

    def __init__(self, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any], start: int) -> None:
        self.shape, self.fortran, self.dtype, self.start = shape, fortran, dtype, start
        self.size = dtype.itemsize
        for length in shape:
            self.size *= length


def read_header(file: IO[bytes], name: str) -> Header:
    """The header that begins where `file` stands. Whatever is wrong with it is a FileError, and nothing of the size it
    claims is allocated."""
    try:
        head = file.read(8)
        if head[:6] != b"\x93NUMPY" or len(head) < 8:
            raise FileError(f"{name} is no .npy array")
        if head[6:] not in (b"\1\0", b"\2\0"):
            raise FileError(f"{name} has version {head[6]}.{head[7]} of the .npy format, want 1.0 or 2.0")
        field = file.read(2 if head[6] == 1 else 4)
        length = int.from_bytes(field, "little")
        if length > _LONGEST:
            raise FileError(f"{name} has a header of {length} bytes, want at most {_LONGEST}")
        text = field + file.read(length)
        parse = np.lib.format.read_array_header_1_0 if head[6] == 1 else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = parse(io.BytesIO(text))
    except CARLError:
        raise
    except Exception as error:  # the header is a Python expression, and may be malformed in any way
        raise FileError(f"{name} is damaged: {error}") from error
    if dtype.hasobject or dtype.fields is not None or dtype.subdtype is not None or dtype.itemsize == 0:
        raise FileError(f"{name} has values of dtype {dtype}, want plain numbers")
    if len(shape) > MOST_DIMENSIONS or any(isinstance(length, bool) or length < 0 for length in shape):
        raise FileError(f"{name} has the shape {shape}, want at most {MOST_DIMENSIONS} lengths of at least 0")
    return Header(tuple(shape), fortran, dtype, len(head) + len(text))


class Archive:
    """An .npz archive. Use as a context."""

    def __init__(self, path: str) -> None:
        self._path, self._file = path, Reader(path)
        try:
            self._zip = zipfile.ZipFile(self._file)
            self._members = {name.removesuffix(".npy"): name for name in self._zip.namelist()}
        except BaseException as error:
            self._file.close()
            if isinstance(error, CARLError) or not isinstance(error, Exception):
                raise
            raise self._damaged(error) from error
        self.keys = list(self._members)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self._zip.close()
        self._file.close()

    def header(self, key: str) -> Header:
        try:
            with self._zip.open(self._members[key]) as member:
                return read_header(member, f"{self._path}[{key!r}]")
        except Exception as error:
            raise self._damaged(error) from error

    def start(self, key: str, header: Header) -> int | None:
        """Where in the archive the values of an array begin; None if they are compressed."""
        info = self._zip.getinfo(self._members[key])
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        try:
            # The local header's own lengths of name and extra field tell where the data begin.
            self._file.seek(info.header_offset)
            local = self._file.read(30)
        except Exception as error:
            raise self._damaged(error) from error
        start = (
            info.header_offset + 30 + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        )
        self._check_size(key, header, info.file_size)
        return start + header.start

    def array(self, key: str, header: Header) -> np.ndarray:
        """An array, read or unpacked into memory."""
        try:
            return self._array(key, header)
        except ValueError as error:  # an empty array may still have lengths whose product is too large
            raise self._damaged(error) from None

    def _array(self, key: str, header: Header) -> np.ndarray:
        start = self.start(key, header)
        if start is not None:
            return DataFile(self._path).read_array(start, header.shape, header.dtype, header.fortran)
        info = self._zip.getinfo(self._members[key])
        if info.compress_type != zipfile.ZIP_DEFLATED:
            raise FileError(f"{self._path}[{key!r}] is compressed by method {info.compress_type}, want none or deflate")
        self._check_size(key, header, min(info.file_size, DEFLATED * (min(info.compress_size, self._file.size) + 64)))
        try:
            with self._zip.open(info) as member:
                member.read(header.start)
                buffer = unpack(member, allocate(header.size, self._path), f"{self._path}[{key!r}]")
        except Exception as error:
            raise self._damaged(error) from error
        return buffer.view(header.dtype).reshape(header.shape, order="F" if header.fortran else "C")

    def _check_size(self, key: str, header: Header, most: int) -> None:
        if header.start + header.size > most:
            raise FileError(f"{self._path}[{key!r}] is cut short: its header says {header.size} bytes of values")

    def _damaged(self, error: BaseException) -> CARLError:
        return (
            error
            if isinstance(error, CARLError)
            else FileError(f"{self._path} is damaged: {error or type(error).__name__}")
        )
