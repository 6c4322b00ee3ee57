"""Pickles of fitted models: a checkpoint's bytes, with the versions of what wrote them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ._reading import read_bytes
from ._version import __version__
from .errors import FileError, InvalidArgumentError

#: Of the dictionary that is pickled. The checkpoint in it has a number of its own, which the library checks.
FORMAT = 2


def written_bytes(write: Callable[[str], None], need: int = 0) -> bytes:
    """What `write`, given a path, puts into the file there. need: about how many bytes."""
    with temporary_folder(need) as folder:
        path = os.path.join(folder, "model.carl")
        write(path)
        return read_bytes(path, 2**63)


@contextmanager
def file_of(data: Any) -> Iterator[str]:
    """The path of a file with these bytes, for the time of a ``with`` block."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise InvalidArgumentError(f"data: got {type(data).__name__}, want bytes")
    with temporary_folder(len(data)) as folder:
        path = os.path.join(folder, "model.carl")
        try:
            with open(path, "wb") as file:
                file.write(data)
        except OSError as error:
            raise FileError(f"cannot write {path}: {error}") from error
        yield path


def temporary_folder(need: int = 0) -> Any:
    """A folder for the time of a ``with`` block, where there is room for `need` bytes: that of temporary files, or in
    memory where that one is full or cannot be written, as in some containers."""
    import shutil
    import tempfile  # imports much that is needed nowhere else

    folders, error = [], None
    for place in (None, _IN_MEMORY):
        try:
            folder = tempfile.TemporaryDirectory(prefix="carl-", dir=place)
            folders.append((shutil.disk_usage(folder.name).free, folder))
        except OSError as reason:
            error = error or reason
            continue
        if folders[-1][0] >= need:
            break
    if not folders:
        raise FileError(f"there is no folder for temporary files ({error}); TMPDIR names one") from error
    best = max(range(len(folders)), key=lambda number: (folders[number][0] >= need, folders[number][0]))
    for number, (_, folder) in enumerate(folders):
        if number != best:
            folder.cleanup()
    return folders[best][1]


#: A file system in memory that Linux has.
_IN_MEMORY = "/dev/shm"


def begin_state(params: Mapping[str, Any]) -> dict[str, Any]:
    """The state of an estimator, of which `params` are the constructor's."""
    return {"format": FORMAT, "version": __version__, "params": dict(params)}


def checked_params(state: Any, name: str, known: list[str]) -> dict[str, Any]:
    """The parameters in a pickled state, without those that this version does not have. FileError for a state that this
    version of the package cannot read, which names both versions."""
    if not isinstance(state, Mapping) or not isinstance(state.get("params"), Mapping):
        raise FileError(f"this pickle holds no carl.{name} that carl {__version__} can read")
    if state.get("format") != FORMAT:
        raise FileError(
            f"this pickle of a carl.{name} was written by carl {state.get('version', '(unknown)')}, in format "
            f"{state.get('format')!r}; this is carl {__version__}, which reads format {FORMAT}: load it there, save() "
            "it, and load() that file here"
        )
    return {key: value for key, value in state["params"].items() if key in known}


@contextmanager
def telling_versions(state: Mapping[str, Any], name: str) -> Iterator[None]:
    """A checkpoint in a pickle that cannot be read is an error that says which versions wrote it and read it."""
    try:
        yield
    except FileError as error:
        raise FileError(
            f"this pickle of a carl.{name} was written by carl {state.get('version', '(unknown)')}, and this is carl "
            f"{__version__}: {error}"
        ) from error
