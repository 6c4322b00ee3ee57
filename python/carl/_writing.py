"""Atomic writes: files are replaced in one step, or extended by whole lines."""

from __future__ import annotations

import itertools
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .errors import FileError

#: Names of files that are being written, here and in libcarl: by whom, and a number.
_TEMPORARY = re.compile(r"\.carl-(\d{1,10})-\d+\.tmp")
_numbers = itertools.count()
#: How far a file's time may lie before the start of its writer: clocks are read at different moments and rounded.
_SLACK = 5.0


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write into, which takes the place of `path` when the block ends without an error.

    Whoever reads `path` sees the old content or the new, never a part. A symbolic link is followed and its target
    replaced; the new file has the old one's permissions, or those of any new file. On an error the old file stays and
    nothing is left behind. Raises FileError with the path and the system's reason.
    """
    target = os.path.realpath(os.path.expanduser(os.fspath(path)))
    temporary = None
    try:
        mode = _mode(target)
        if mode is not None and not stat.S_ISREG(mode):
            if stat.S_ISDIR(mode):
                raise FileError(f"cannot write {os.fspath(path)}: it is a folder")
            with open(target, "wb") as file:  # a device or a pipe cannot be replaced, only written to
                yield file
            return
        temporary, descriptor = _create(os.path.dirname(target))
        with open(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, stat.S_IMODE(mode))
            yield file
            file.flush()
            sync(descriptor)
        os.replace(temporary, target)
        temporary = None
        _sync_folder(os.path.dirname(target))
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"cannot write {os.fspath(path)}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                os.unlink(temporary)


def replace_file(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Puts `content` in the place of the file at `path`; see ``replacing``."""
    with replacing(path) as file:
        file.write(content.encode("utf-8", "replace") if isinstance(content, str) else content)


def make_folder(path: str | os.PathLike[str]) -> None:
    """Makes a folder and those above it, where they are not there already; FileError."""
    refuse_file(path, f"cannot make the folder {os.fspath(path)}")
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise FileError(f"cannot make the folder {os.fspath(path)}: {error.strerror or error}") from error


def refuse_file(path: str | os.PathLike[str], what: str) -> None:
    """FileError, which begins with `what`, where a folder is wanted and there is a file, or a file in the place of one
    of the folders above it."""
    place = os.path.abspath(os.path.expanduser(path))
    while not os.path.lexists(place) and os.path.dirname(place) != place:
        place = os.path.dirname(place)
    if os.path.exists(place) and not os.path.isdir(place):
        raise FileError(f"{what}: {place} is a file, want a folder")


def remove_abandoned(folder: str | os.PathLike[str]) -> list[str]:
    """Removes what a process that was killed while it wrote left in `folder`, and returns the names. Files of processes
    that are still there stay."""
    removed = []
    with suppress(OSError):  # no such folder, or one that cannot be read
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
        for name in names:
            found = _TEMPORARY.fullmatch(name)
            if found is None:
                continue
            with suppress(OSError):  # its writer has renamed or removed it, or this process lacks the permission
                file = os.path.join(folder, name)
                if not _is_written_by(int(found[1]), os.stat(file, follow_symlinks=False).st_mtime):
                    os.unlink(file)
                    removed.append(name)
    return removed


class Lines:
    """A text file that grows by whole lines. Use ``write``, ``sync`` and ``close``.

    What a killed writer left of a line is cut off at the beginning. A line that does not fit on the disk is taken back,
    so that the file ends with a whole one, and is a FileError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._descriptor = -1
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            self._cut_partial_line()
            self._linked = os.fstat(self._descriptor).st_nlink > 0  # some network file systems count no links
        except OSError as error:
            self.close()
            raise FileError(f"cannot write {self.path}: {error.strerror or error}") from error

    def write(self, line: str) -> None:
        """Adds a line, without its end."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        size, done = -1, 0
        try:
            status = os.fstat(self._descriptor)
            if self._linked and status.st_nlink == 0:
                raise FileError(f"cannot write {self.path}: the file was removed while the run went on")
            size = status.st_size
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except OSError as error:
            if done:
                with suppress(OSError):
                    os.ftruncate(self._descriptor, size)
            if isinstance(error, FileError):
                raise
            raise FileError(f"cannot write {self.path}: {error.strerror or error}") from error

    def sync(self) -> None:
        """Returns when all lines are on the disk."""
        try:
            sync(self._descriptor)
        except OSError as error:
            raise FileError(f"cannot write {self.path}: {error.strerror or error}") from error

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)

    def _cut_partial_line(self) -> None:
        end = size = os.fstat(self._descriptor).st_size
        while end > 0:
            start = max(0, end - 65536)
            found = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            os.ftruncate(self._descriptor, end)


def sync(descriptor: int) -> None:
    """fsync, where the file system has it; some cannot and say so."""
    import errno

    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _sync_folder(folder: str) -> None:
    """The new name survives a power failure once the folder is on the disk too; where that is not possible, nothing is
    lost."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _mode(path: str) -> int | None:
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def _create(folder: str) -> tuple[str, int]:
    """A new file of a name that nobody uses, libcarl in this process neither."""
    while True:
        name = os.path.join(folder, f".carl-{os.getpid()}-{next(_numbers)}.tmp")
        with suppress(FileExistsError):
            return name, os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)


def _is_written_by(process: int, modified: float) -> bool:
    """Whether the process of this number may be writing a file that was last written at `modified`."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's process
    started = _start_of(process)
    # In a container the first process has the same number each time: its start time distinguishes them.
    return started is None or modified >= started - _SLACK


def _start_of(process: int) -> float | None:
    """When a process began, in seconds as files have them; None where the system does not tell."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
