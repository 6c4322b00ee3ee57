"""Reading files: regular ones only, by positioned reads (pread), and never more than they hold.

Reading a named pipe or a device could block forever, so whatever is no regular file is refused before it is opened.
Nothing is memory-mapped: if another process truncates a mapped file, this one ends with SIGBUS; a read reports how much
it got.
"""

from __future__ import annotations

import io
import json
import os
import stat
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._memory import available_memory
from ._open_files import POOL, opening
from .errors import FileError, OutOfMemoryError

#: Files of at least so many bytes that are accessed randomly are announced to the kernel as such (posix_fadvise), and
#: prefetched.
_LARGE = 64 << 20
#: Bytes of a text that people write, and of a line of a file of JSON lines, at most.
LONGEST_TEXT, LONGEST_LINE = 1 << 20, 16 << 20
#: Objects inside of objects of JSON.
_DEEPEST = 100

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raises FileError unless there is a regular file at `path`."""
    name = os.fspath(path)
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError) as error:  # ValueError: a zero character in the path
        raise FileError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error
    _check_mode(name, mode)


def _check_mode(name: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = next((kind for of_kind, kind in _KINDS if of_kind(mode)), "of an unknown kind")
        raise FileError(f"cannot read {name}: it is {kind}, want a file{_of_run(os.fsdecode(name))}")


def _of_run(folder: str) -> str:
    """Which files of a run's folder may have been meant, if it is one."""
    files = (("", "checkpoints", "last.carl"), ("as weights ", "exported", "encoder.safetensors"))
    places = [(use, os.path.join(folder, *parts)) for use, *parts in files]
    found = [use + place for use, place in places if os.path.isfile(place)]
    return f", such as the run's {', or '.join(found)}" if found else ""


def _descriptor(path: str | os.PathLike[str]) -> tuple[int, os.stat_result]:
    """A regular file, open for reading, and its facts."""
    name = os.fspath(path)
    check_regular(name)  # before opening: to open a device or a pipe may have side effects
    try:
        # What lies there may be another file by now: O_NONBLOCK does not wait for a pipe's other end.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        descriptor = opening(name, lambda: os.open(name, flags))
    except OSError as error:
        raise FileError(f"cannot read {name}: {error.strerror or error}") from error
    try:
        facts = os.fstat(descriptor)
        _check_mode(name, facts.st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, facts


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's content, as text."""
    import hashlib

    digest = hashlib.sha256()
    try:
        with Reader(path) as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"cannot read {os.fspath(path)}: {error}") from error
    return digest.hexdigest()


class Reader(io.BufferedReader):
    """A regular file for readers of a format. Use as a context.

    Formats say how many bytes to read, and a damaged file may say anything: no more memory is taken than the file is
    long. It has no descriptor to give away, since decoders would map the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        descriptor, facts = _descriptor(path)
        self.size = facts.st_size
        super().__init__(io.FileIO(descriptor, "rb"))

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0 or size > self.size:
            size = max(0, self.size - self.tell())
        return super().read(size)

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


def read_bytes(path: str | os.PathLike[str], most: int) -> bytes:
    """The content of a file of at most `most` bytes."""
    with Reader(path) as file:
        if file.size > most:
            raise FileError(f"cannot read {os.fspath(path)}: it has {file.size} bytes, want at most {most}")
        try:
            return file.read()
        except OSError as error:
            raise FileError(f"cannot read {os.fspath(path)}: {error}") from error


def read_text(path: str | os.PathLike[str], most: int = LONGEST_TEXT, errors: str = "strict") -> str:
    """The content of a file of UTF-8 text of at most `most` bytes."""
    try:
        return read_bytes(path, most).decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise FileError(f"cannot read {os.fspath(path)}: it is no UTF-8 text, by its byte {error.start}") from None


def read_lines(path: str | os.PathLike[str], longest: int = LONGEST_LINE) -> Iterator[str]:
    """The lines of a text file, which may be of any length; bytes that are no UTF-8 are replaced. A longer line than
    `longest` bytes is a FileError."""
    with Reader(path) as file:
        number = 0
        while True:
            number += 1
            try:
                line = file.readline(longest + 1)
            except OSError as error:
                raise FileError(f"cannot read {os.fspath(path)}: {error}") from error
            if not line:
                return
            if len(line) > longest:
                raise FileError(f"{os.fspath(path)}: line {number} has more than {longest} bytes")
            yield line.decode("utf-8", "replace").rstrip("\r\n")


def parse_json(text: str | bytes) -> Any:
    """``json.loads``, where all that is wrong with the text is a ValueError. So is what is nested more than a hundred
    deep, on which others that walk through it would stumble."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            item
            for part in level
            if isinstance(part, (dict, list))
            for item in (part.values() if isinstance(part, dict) else part)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return value
    raise ValueError("nested too deeply")


class _Handle:
    """Owner of a descriptor, which is closed with the last reader's reference."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self, close: Any = os.close) -> None:
        close(self.number)


class DataFile:
    """A regular file, open to be read at any place, by several threads at once.

    random: it is read in no order.

    What other processes do to the file meanwhile is either not seen (it is renamed, removed, replaced, or grows) or a
    FileError (it became shorter). ``close`` and unpickling leave it to the next read to open it, which must find the
    file unchanged. A file that is dropped is closed. So is the one that was opened first where too many are open; see
    ``OpenFiles``.
    """

    def __init__(self, path: str | os.PathLike[str], random: bool = False) -> None:
        self.path = os.fspath(path)
        self._random = random
        self._handle: _Handle | None = None
        self._facts: tuple[int, int] | None = None
        self._opened()

    @property
    def size(self) -> int:
        """Bytes when it was opened first."""
        return self.facts[0]

    @property
    def facts(self) -> tuple[int, int]:
        """Size and time of change when it was opened first."""
        assert self._facts is not None
        return self._facts

    def close(self) -> None:
        self._handle = None

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes, which must be there."""
        self._check_span(offset, size)
        buffer = bytearray(size)
        self._fill(self._opened(), memoryview(buffer), offset)
        return bytes(buffer)

    def read_spans(self, offsets: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """uint8: ranges of `sizes` bytes from `offsets`, concatenated. Those that adjoin in the file are read at
        once."""
        if len(offsets) == 0:
            return np.empty(0, np.uint8)
        handle = self._opened()
        ends = offsets + sizes
        firsts = np.flatnonzero(np.concatenate([[True], offsets[1:] != ends[:-1]]))
        lasts = np.append(firsts[1:], len(offsets)) - 1
        spans = list(zip(offsets[firsts].tolist(), (ends[lasts] - offsets[firsts]).tolist()))
        if self._random and self.size >= _LARGE and hasattr(os, "posix_fadvise"):
            # All ranges are prefetched before the first is read: the disk reads them together, without what lies
            # between.
            for offset, size in spans:
                os.posix_fadvise(handle.number, offset, size, os.POSIX_FADV_WILLNEED)
        buffer = allocate(int(sizes.sum()), self.path)
        view, start, number, read = buffer.data, 0, handle.number, os.preadv
        try:
            for offset, size in spans:
                part = view[start : start + size]
                if read(number, [part], offset) != size:
                    self._fill(
                        handle, part, offset
                    )  # from its beginning: it goes on where the system stopped, or tells what is missing
                start += size
        except FileError:
            raise
        except OSError as error:
            raise FileError(f"cannot read {self.path}: {error}") from error
        return buffer

    def read_array(
        self, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], fortran: bool = False
    ) -> np.ndarray:
        """An array that lies there, in memory."""
        count = _product(shape)
        self._check_span(offset, count * dtype.itemsize)
        buffer = allocate(count * dtype.itemsize, self.path)
        self._fill(self._opened(), buffer.data, offset)
        return buffer.view(dtype).reshape(shape, order="F" if fortran else "C")

    def _check_span(self, offset: int, size: int) -> None:
        if offset < 0 or size < 0 or offset + size > self.size:
            raise FileError(f"{self.path} is cut short: {size} bytes should follow byte {offset}, it has {self.size}")

    def _fill(self, handle: _Handle, view: memoryview, offset: int) -> None:
        done, size = 0, len(view)
        try:
            while done < size:  # the system reads at most 2 GiB at once
                got = os.preadv(handle.number, [view[done:] if done else view], offset + done)
                if got <= 0:
                    raise FileError(
                        f"{self.path} became shorter while it was read: nothing is left at byte {offset + done}"
                    )
                done += got
        except FileError:
            raise
        except OSError as error:
            raise FileError(f"cannot read {self.path}: {error}") from error

    def _opened(self) -> _Handle:
        handle = self._handle
        if handle is None:
            descriptor, facts = _descriptor(self.path)
            handle = _Handle(descriptor)  # of two threads that open it at once, one drops what the other keeps
            found = facts.st_size, facts.st_mtime_ns
            if self._facts is None:
                self._facts = found
            elif self._facts != found:
                raise FileError(f"{self.path} has changed since it was opened first")
            if self._random and found[0] >= _LARGE and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            self._handle = handle
            POOL.add(self)
        return handle

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_handle": None}


def allocate(size: int, path: str) -> np.ndarray:
    """uint8 (size,), not filled; OutOfMemoryError where there is not so much memory. `path`: the file it is for."""
    try:
        if size > _LARGE and size > (free := available_memory()):
            raise OutOfMemoryError(f"{path}: its values take {size} bytes of memory, {free} are free")
        return np.empty(size, np.uint8)
    except (MemoryError, ValueError) as error:
        if isinstance(error, OutOfMemoryError):
            raise
        raise OutOfMemoryError(f"{path}: its values take {size} bytes of memory, which are not free") from None


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for length in shape:  # whole numbers of Python, which do not overflow
        count *= length
    return count
