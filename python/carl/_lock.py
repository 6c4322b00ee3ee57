"""A lock on a folder, for one owner among all processes and all models of a process."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

from .errors import BusyError, FileError

#: The file that is locked; it is removed on release, and stays without a meaning when the owner is killed.
NAME = ".carl.lock"


class FolderLock:
    """``acquire`` and ``release``. The system takes the lock back when the process ends, however it ends.

    It is held through a file that is open (flock). A child made by fork closes its copy of it at once, so that a data
    loader's worker that outlives the owner does not keep the lock; other programs never get it (close-on-exec).
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._descriptor = -1
        self._opened = -1  # the folder itself, so that its number stays its own

    @property
    def held(self) -> bool:
        """False in children of the owner too."""
        return self._descriptor >= 0

    def acquire(self) -> None:
        """BusyError, at once, if the folder has an owner; FileError if the folder cannot be written to. Acquiring it
        again does nothing."""
        if self.held:
            return
        path = self.folder / NAME
        with _forks:  # no fork between opening and entering the file below
            while True:
                try:
                    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                except OSError as error:
                    raise FileError(f"run_dir: cannot write {self.folder}: {error.strerror or error}") from error
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    holder = _read(descriptor)
                    os.close(descriptor)
                    raise BusyError(_refusal(self.folder, holder)) from None
                except OSError as error:
                    _warn(self.folder, error)  # a file system without locks: there is none to take
                if _is_at(descriptor, path):
                    break
                os.close(descriptor)  # its owner let go, and removed it, between the two calls
            self._descriptor = descriptor
            with suppress(OSError):
                self._opened = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            _held.append(self)
        _write(descriptor)

    @property
    def is_in_place(self) -> bool:
        """Whether the folder that was locked is still the one of its path: neither moved nor removed, be there another
        one by now."""
        return self._opened < 0 or _is_at(self._opened, self.folder)

    def _close_folder(self) -> None:
        opened, self._opened = self._opened, -1
        if opened >= 0:
            os.close(opened)

    def release(self) -> None:
        with _forks:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor < 0:
                return
            _held.remove(self)
            self._close_folder()
            with suppress(OSError):
                if _is_at(descriptor, self.folder / NAME):
                    os.unlink(self.folder / NAME)
            os.close(descriptor)


#: Locks of this process, and what keeps forks away while one is taken or given back.
_held: list[FolderLock] = []
_forks = threading.RLock()


def _forget_in_child() -> None:
    global _forks
    _forks = threading.RLock()
    for lock in _held:
        os.close(lock._descriptor)  # LOCK_UN would take the lock from the parent too
        lock._descriptor = -1
        lock._close_folder()
    _held.clear()


def _release_after_fork() -> None:
    _forks.release()


def _acquire_before_fork() -> None:
    _forks.acquire()


os.register_at_fork(before=_acquire_before_fork, after_in_parent=_release_after_fork, after_in_child=_forget_in_child)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _write(descriptor: int) -> None:
    """Who holds the lock, for messages; the lock does not depend on it."""
    owner = {"pid": os.getpid(), "host": os.uname().nodename, "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode() + b"\n", 0)


def _read(descriptor: int) -> dict[str, object]:
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _refusal(folder: Path, owner: dict[str, object]) -> str:
    if owner.get("pid") == os.getpid() and owner.get("host") == os.uname().nodename:
        who = f"another model of this process ({os.getpid()})"
    elif "pid" in owner:
        who = f"process {owner['pid']} on {owner.get('host')}, since {owner.get('since')}"
    else:
        who = "another process"
    return (
        f"run_dir: {folder} is in use by {who}: two runs cannot train into one folder; wait for its end or stop it, "
        "or choose another folder"
    )


def _warn(folder: Path, error: OSError) -> None:
    from logging import getLogger

    getLogger("carl").warning(
        "%s cannot be locked (%s): see that no second run is started in it", folder, error.strerror or error
    )
