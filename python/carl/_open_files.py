"""How many files are open at a time: a set may lie in more of them than a process may open."""

from __future__ import annotations

import errno
import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .errors import CARLError

if TYPE_CHECKING:
    from ._reading import DataFile

T = TypeVar("T")
#: Files that stay open between reads at most; fewer where the process may open few, so that most are left to others.
_MOST, _SHARE = 128, 4
#: Times that opening a file is tried, and seconds between, while other threads close theirs.
_TRIES, _WAIT = 10, 0.02


class OpenFiles:
    """Files that stay open between reads. One more than may be closes the one that was opened first, which its next
    read opens again."""

    def __init__(self) -> None:
        self._files: OrderedDict[int, weakref.ref[DataFile]] = OrderedDict()
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._new_lock)

    def _new_lock(self) -> None:
        """In a child of fork: the thread that held the lock may not be there."""
        self._lock = threading.Lock()

    def add(self, file: DataFile) -> None:
        with self._lock:
            self._files.pop(id(file), None)
            self._files[id(file)] = weakref.ref(file)
        self.shrink(_most_open())

    def shrink(self, most: int) -> None:
        """Closes files until `most` are left."""
        while True:
            with self._lock:
                if len(self._files) <= most:
                    return
                _, reference = self._files.popitem(last=False)
            file = reference()
            if file is not None:
                file.close()


#: Of this process.
POOL = OpenFiles()


def opening(path: str, attempt: Callable[[], T]) -> T:
    """What `attempt`, which opens a file, gives. Where descriptors have run out, files of the pool are closed first; a
    CARLError if there are none even so, which is no fault of the file's."""
    for number in range(_TRIES):
        try:
            return attempt()
        except OSError as error:
            if not is_out_of_files(error):
                raise
            reason = error
        POOL.shrink(0)
        if number:
            time.sleep(_WAIT)
    raise out_of_files(path, reason)


def out_of_files(path: str, error: BaseException) -> CARLError:
    limit = _limit()
    allowed = "" if limit is None else f": this process may have {limit} open (ulimit -n); raise that"
    return CARLError(f"cannot open {path}: {os.strerror(_number(error) or errno.EMFILE)}{allowed}")


def is_out_of_files(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that no more files can be opened."""
    return _number(error) is not None


def _number(error: BaseException | None) -> int | None:
    while error is not None:
        number = getattr(error, "errno", None)
        if number in (errno.EMFILE, errno.ENFILE):
            return int(number)
        error = error.__cause__
    return None


def _limit() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _most_open() -> int:
    limit = _limit()
    return _MOST if limit is None else max(1, min(_MOST, limit // _SHARE))
