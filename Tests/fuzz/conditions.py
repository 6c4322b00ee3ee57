"""What the system grants during a call: address space, descriptors. And what a call took: the peak of its memory."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


class MemoryMeter:
    """Peak growth of the resident memory between `start` and `growth`."""

    def __init__(self) -> None:
        self._reset = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        self._before = 0

    def start(self) -> None:
        os.pwrite(self._reset, b"5", 0)
        self._before = self._kilobytes(b"VmRSS:")

    def growth(self) -> int:
        """Bytes that the process held at most since `start`, beyond what it held then."""
        return (self._kilobytes(b"VmHWM:") - self._before) * 1024

    def _kilobytes(self, key: bytes) -> int:
        text = os.pread(self._status, 8192, 0)
        return int(text[text.index(key) + len(key) :].split(None, 1)[0])


def address_space() -> int:
    """Bytes of address space that this process uses."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


@contextmanager
def limited(kind: int, limit: int) -> Iterator[None]:
    """A lower soft limit while the block runs."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit if soft == resource.RLIM_INFINITY else min(limit, soft), hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


def limit_worker(more_memory: int) -> None:
    """Limits this process for good: no core files, so many bytes of address space beyond the present use, files of 256
    MB."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limit = address_space() + more_memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
