"""Features of a frozen encoder in a file, which is written and read by calls: nothing is mapped into memory, so that a
full disk or a file that another process cuts short is an error and not the end of the process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

import numpy as np

from ._reading import DataFile, Reader
from ._writing import sync
from .errors import FileError
from .sources.npy import read_header

_VALUE = np.dtype("<f4")


class FeatureFile:
    """float32 (N, rounds, V, F) in a .npy file. Takes and gives features by indices as an array does: all of some
    images (``file[images]``), and, while it is made, one view's of some images (``file[images, round, view] =
    values``).

    Every method raises FileError.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], made: bool = False) -> None:
        """The file at `path` whose array has this shape, or a new one, `made` for it."""
        self.path, self.shape = path, shape
        self._record = _VALUE.itemsize * int(np.prod(shape[1:], dtype=np.int64))
        self._file: IO[bytes] | None = None
        if made:
            self._make()
        else:
            self._opened()

    def __len__(self) -> int:
        return self.shape[0]

    def __setitem__(self, place: tuple[np.ndarray, int, int], values: np.ndarray) -> None:
        images, number, view = place
        assert self._file is not None
        _, _, views, width = self.shape
        within = _VALUE.itemsize * (number * views + view) * width
        try:
            for image, features in zip(images.tolist(), values.astype(_VALUE, "C", copy=False)):
                self._file.seek(self._start + image * self._record + within)
                self._file.write(features.data)
        except OSError as error:
            raise self._cannot_write(error) from error

    def __getitem__(self, images: np.ndarray) -> np.ndarray:
        offsets = self._start + images.astype(np.int64) * self._record
        values = self._data.read_spans(offsets, np.full(len(images), self._record, np.int64))
        return values.view(_VALUE).reshape(len(images), *self.shape[1:])

    def complete(self) -> None:
        """Ends the writing: what was written is on the disk, and can be read."""
        assert self._file is not None
        try:
            self._file.flush()
            sync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise self._cannot_write(error) from error
        self._file = None
        self._opened()

    def _make(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(_VALUE), "fortran_order": False, "shape": self.shape}
        try:
            file = self._file = open(self.path, "w+b")  # noqa: SIM115  complete() closes it
            np.lib.format.write_array_header_1_0(file, header)
            self._start = file.tell()
            file.flush()
            size = self._start + len(self) * self._record
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
        except OSError as error:
            raise self._cannot_write(error) from error

    def _opened(self) -> None:
        with Reader(self.path) as file:
            header = read_header(file, str(self.path))
        if header.shape != self.shape or header.dtype != _VALUE or header.fortran:
            raise FileError(f"{self.path} has {header.dtype} of shape {header.shape}, want {_VALUE} {self.shape}")
        self._start, self._data = header.start, DataFile(self.path, random=True)
        if self._data.size < self._start + len(self) * self._record:
            raise FileError(f"{self.path} is cut short: it has {self._data.size} bytes")

    def _cannot_write(self, error: OSError) -> FileError:
        return FileError(f"cannot write {self.path}: {error.strerror or error}")
