"""Paths for the library, which takes UTF-8 alone. A file whose name is none is reached through its descriptor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._arrays import c_file, c_path
from ._writing import replacing
from .errors import FileError

#: Where the system lists a process's descriptors; other systems than Linux have UTF-8 names only.
_DESCRIPTORS = "/proc/self/fd"


@contextmanager
def readable(path: Any) -> Iterator[bytes]:
    """A file's path for a function of the library that reads it."""
    text = c_file(path)
    if _is_utf8(text):
        yield text
        return
    with _descriptor(text) as place:
        yield place


@contextmanager
def writable(path: Any) -> Iterator[bytes]:
    """A path for a function of the library that writes a file in one step. The file is at `path` when the block ends
    without an error."""
    text = c_path(path)
    if _is_utf8(text):
        yield text
        return
    import shutil
    import tempfile  # imports much that is needed nowhere else

    # The library follows links and would find the name again, so it writes elsewhere.
    try:
        with tempfile.TemporaryDirectory(prefix="carl-") as folder:
            written = os.path.join(folder, "file")
            yield os.fsencode(written)
            with open(written, "rb") as content, replacing(os.fsdecode(text)) as file:
                shutil.copyfileobj(content, file, 1 << 20)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"cannot write {os.fsdecode(text)}: {error.strerror or error}") from error


@contextmanager
def _descriptor(path: bytes) -> Iterator[bytes]:
    shown = os.fsdecode(path)
    if not os.path.isdir(_DESCRIPTORS):
        raise FileError(f"{shown}: its name is not UTF-8, which cannot be used here")
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FileError(f"cannot open {shown}: {error.strerror}") from error
    try:
        yield b"%s/%d" % (os.fsencode(_DESCRIPTORS), number)
    finally:
        os.close(number)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
