"""Buffers that show an access outside of them: each ends directly before a page that nobody may touch.

A buffer begins behind such a page too. What lies between the buffer and its pages' borders, because sizes are no
multiple of a page and misaligned buffers end some bytes early, is filled with a pattern that `check` compares. Buffers
that the library may only read are write-protected.
"""

from __future__ import annotations

import ctypes
import mmap
import os

PAGE = mmap.PAGESIZE
_PATTERN = bytes(range(0x81, 0x81 + 64)) * (PAGE // 64)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]

_FAILED = ctypes.c_void_p(-1).value
_NONE, _READ, _WRITE = 0, 1, 2
_SHARED, _PRIVATE, _FIXED, _ANONYMOUS, _NORESERVE = 0x01, 0x02, 0x10, 0x20, 0x4000


def _map(address: int | None, size: int, protection: int, flags: int, descriptor: int = -1) -> int:
    found = _libc.mmap(address, size, protection, flags, descriptor, 0)
    if found == _FAILED:
        raise MemoryError(f"mmap of {size} bytes: {os.strerror(ctypes.get_errno())}")
    return found


class Buffer:
    """`size` bytes at `address`."""

    def __init__(self, size: int, misaligned: int = 0, at_start: bool = False):
        self.size = size
        inner = max(PAGE, -(-(size + misaligned) // PAGE) * PAGE)
        self._base = _map(None, inner + 2 * PAGE, _NONE, _PRIVATE | _ANONYMOUS)
        self._total, self._inner = inner + 2 * PAGE, inner
        _libc.mprotect(self._base + PAGE, inner, _READ | _WRITE)
        first, last = self._base + PAGE, self._base + PAGE + inner
        self.address = first + misaligned if at_start else last - misaligned - size
        # Of large buffers only the pages at the ends have gaps.
        self._gaps = [(first, self.address - first), (self.address + size, last - self.address - size)]
        for start, length in self._gaps:
            if length:
                ctypes.memmove(start, _PATTERN, length)

    def write(self, data: bytes, offset: int = 0) -> None:
        assert offset + len(data) <= self.size
        ctypes.memmove(self.address + offset, data, len(data))

    def read(self) -> bytes:
        return ctypes.string_at(self.address, self.size)

    def protect(self) -> None:
        """From now on the buffer can only be read."""
        _libc.mprotect(self._base + PAGE, self._inner, _READ)

    def intact(self) -> bool:
        """Whether nothing was written beside the buffer."""
        return all(not length or ctypes.string_at(start, length) == _PATTERN[:length] for start, length in self._gaps)

    def free(self) -> None:
        _libc.munmap(self._base, self._total)


class Vast:
    """A region of many gigabytes that may be read and written, and takes no more memory than one `chunk`, which it
    repeats.

    It stands for the buffers of calls that claim enormous sizes. Made before the address space is limited.
    """

    def __init__(self, size: int, chunk: int, fill: bytes = b""):
        assert size % chunk == 0 and chunk % PAGE == 0
        self.size = size
        descriptor = os.memfd_create("vast", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, chunk)
            if fill:
                block = fill * (max(PAGE, len(fill)) // len(fill))
                for start in range(0, chunk, len(block)):
                    os.pwrite(descriptor, block, start)
            self.address = _map(None, size + PAGE, _NONE, _PRIVATE | _ANONYMOUS | _NORESERVE)
            for start in range(0, size, chunk):
                _map(self.address + start, chunk, _READ | _WRITE, _SHARED | _FIXED | _NORESERVE, descriptor)
        finally:
            os.close(descriptor)


class Arena:
    """The buffers of one call."""

    def __init__(self) -> None:
        self._buffers: list[Buffer] = []

    def take(self, size: int, misaligned: int = 0, at_start: bool = False) -> Buffer:
        buffer = Buffer(size, misaligned, at_start)
        self._buffers.append(buffer)
        return buffer

    @property
    def bytes(self) -> int:
        return sum(buffer.size for buffer in self._buffers)

    def intact(self) -> bool:
        return all(buffer.intact() for buffer in self._buffers)

    def clear(self) -> None:
        for buffer in self._buffers:
            buffer.free()
        self._buffers = []
