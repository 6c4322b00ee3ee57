"""Checks of what callers pass, and the conversion to what ``carl.h`` takes.

The rules: no dtype is converted silently but that of features, strides are honoured or the array is copied, and every
error names the argument, what it got and what it wanted.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Sequence
from ctypes import byref
from mmap import ALLOCATIONGRANULARITY, mmap
from typing import Any

import numpy as np

from ._array_like import label_values, listed_values, shared
from ._c_api import carl_batch
from ._layout import channels_last, refuse_bands_first
from ._reading import check_regular
from .errors import FileError, InvalidArgumentError


def as_array(value: Any, name: str) -> np.ndarray:
    """`value` as a NumPy array, without a copy where its memory can be shared (``_array_like.shared``); a mapped file
    is looked at first (``check_mapping``)."""
    array = shared(value, name)
    check_mapping(array, name)
    return array


def mapping_of(array: np.ndarray) -> tuple[mmap | None, int]:
    """The mapped file that an array lies in, and where in the file the mapping begins, as far as is known."""
    found: Any = array
    start = 0
    while isinstance(found, np.ndarray):
        if isinstance(found, np.memmap):
            start = found.offset - found.offset % ALLOCATIONGRANULARITY
        found = found.base
    return (found, start) if isinstance(found, mmap) else (None, 0)


def check_mapping(array: np.ndarray, name: str) -> None:
    """Raises FileError for an array in a memory-mapped file that was truncated: reading past its end would end the
    process with SIGBUS."""
    if array.base is None:
        return
    mapping, start = mapping_of(array)
    if mapping is None:
        return
    try:
        size = mapping.size()
    except (OSError, ValueError):  # closed, or without a descriptor to ask
        return
    if size < start + len(mapping):
        file = getattr(array, "filename", None) or "the file it lies in"
        raise FileError(
            f"{name}: {file} has become shorter since it was mapped: {size} bytes of {start + len(mapping)} are left"
        )


def integer(value: Any, name: str, low: int, high: int) -> int:
    """`value` as an int within low .. high."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InvalidArgumentError(f"{name}: got {value!r}, want an integer") from None
    if not low <= number <= high:
        raise InvalidArgumentError(f"{name}: got {number}, want {low} .. {high}")
    return number


def one_or_several(value: Any) -> list[Any]:
    """A number, or each of several."""
    several = isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes)) and np.ndim(value) > 0
    return list(value) if several else [value]


def c_integer(value: Any, name: str, least: int = 0) -> int:
    """`value` as an int of at least `least` that a C int32_t holds; how large it may be, the library checks."""
    number = integer(value, name, -(2**63), 2**31 - 1)
    if number < least:
        raise InvalidArgumentError(f"{name}: got {number}, want at least {least}")
    return number


def thread_count(threads: int | None) -> int:
    """Threads as the library takes them: 0 for all processors, which is None here."""
    if threads is None:
        check_thread_variable()
    return 0 if threads is None else c_integer(threads, "threads", 1)


def check_thread_variable() -> None:
    """InvalidArgumentError where CARL_NUM_THREADS, the number of threads where none is given, is no number."""
    text = os.environ.get("CARL_NUM_THREADS", "")
    if text and not (text.strip().isascii() and text.strip().isdigit() and int(text) > 0):
        raise InvalidArgumentError(f"CARL_NUM_THREADS: got {text!r}, want a whole number above 0")


def real(value: Any, name: str, low: float = -math.inf, *, above: bool = False) -> float:
    """`value` as a finite float of at least `low` (more than `low` if `above`)."""
    try:
        if isinstance(value, (str, bytes, bool, np.bool_)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidArgumentError(f"{name}: got {value!r}, want a number") from None
    if not math.isfinite(number) or number < low or (above and number == low):
        raise InvalidArgumentError(
            f"{name}: got {number}, want a finite number {'above' if above else 'of at least'} {low}"
        )
    return number


def check_finite(array: np.ndarray, name: str) -> None:
    """An error that names the first value that is not finite."""
    # A sum in double precision is finite exactly when all its float32 terms are, and needs no mask as large as the
    # array.
    if array.size and not math.isfinite(float(array.sum(dtype=np.float64))):
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise InvalidArgumentError(f"{name}: value {array[place]} at {place}, want finite numbers only")


def float_array(value: Any, name: str, shape: Sequence[str | int], *, finite: bool = True) -> np.ndarray:
    """A C-contiguous float32 array of the given dimensions, copied only if it was not contiguous.

    `shape` names the dimensions, for example ("B", "H", "W", "C"); a number fixes one. None may be empty.
    """
    array = as_array(value, name)
    if array.dtype != np.float32:
        hint = ": convert with .astype(numpy.float32)" if array.dtype.kind == "f" else ""
        raise InvalidArgumentError(f"{name}: got dtype {array.dtype}, want float32{hint}")
    wanted = "(" + ", ".join(str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"
    if array.ndim != len(shape):
        raise InvalidArgumentError(f"{name}: got shape {array.shape}, want {wanted}")
    for got, want in zip(array.shape, shape):
        if got == 0:
            raise InvalidArgumentError(f"{name}: got shape {array.shape}, which is empty; want {wanted}")
        if isinstance(want, int) and got != want:
            raise InvalidArgumentError(f"{name}: got shape {array.shape}, want {wanted}")
    # A dtype of foreign byte order is unequal to float32, so it was refused above and the bytes are as the library
    # reads them.
    array = np.ascontiguousarray(array)
    if finite:
        check_finite(array, name)
    return array


def feature_array(value: Any, name: str, shape: Sequence[str | int]) -> np.ndarray:
    """``float_array`` of features, which come from files and other packages as any real numbers, raw pixels too: what
    is no float32 is rounded to it. Values beyond its range are an error, and so is a row that it would make 0."""
    array = as_array(value, name)
    if array.dtype.kind not in "fiub":
        hint = ": convert with .astype(numpy.float32)" if array.dtype.kind in "OV" else ""
        raise InvalidArgumentError(f"{name}: got dtype {array.dtype}, want real numbers{hint}")
    if array.dtype == np.float32:
        return float_array(array, name, shape)
    with np.errstate(over="ignore", under="ignore"):
        single = array.astype(np.float32)
    if array.dtype.kind == "f" and array.dtype.itemsize > 4:
        _check_rounded(array, single, name)
    return float_array(single, name, shape)


def _check_rounded(array: np.ndarray, single: np.ndarray, name: str) -> None:
    """Errors for what rounding to float32 has made infinite, and for rows that it has made 0."""
    beyond = np.isinf(single) & np.isfinite(array)
    if beyond.any():
        place = tuple(int(i) for i in np.argwhere(beyond)[0])
        raise InvalidArgumentError(
            f"{name}: value {array[place]} at {place} is beyond float32, want finite numbers up to 3.4e38: scale them"
        )
    if array.ndim == 2:
        empty = np.flatnonzero(~single.any(axis=1))
        lost = empty[array[empty].any(axis=1)]
        if len(lost):
            raise InvalidArgumentError(
                f"{name}: the values of row {lost[0]}, {np.abs(array[lost[0]]).max()} at most, are 0 as float32: scale "
                "them"
            )


def float_batch(value: Any, name: str, channels: int | None = None, *, finite: bool = True) -> np.ndarray:
    """Checked normalised images, (B, H, W, C); tensors (B, C, H, W), torch's order, are turned."""
    array = as_array(channels_last(value, name), name)
    if array.ndim == 4:
        refuse_bands_first(array.shape, name)
    array = float_array(array, name, ("B", "H", "W", "C" if channels is None else channels), finite=finite)
    if max(array.shape) > 2**31 - 1:
        raise InvalidArgumentError(f"{name}: got shape {array.shape}, want no side above 2^31 - 1")
    return array


def describe_batch(array: np.ndarray) -> carl_batch:
    """The carl_batch of a checked array, which keeps the array."""
    batch = carl_batch(array.ctypes.data, *array.shape)
    batch.array = array
    return batch


def describe_batches(arrays: list[np.ndarray]) -> Any:
    """A C array of carl_batch, which keeps the arrays."""
    batches: Any = (carl_batch * len(arrays))(*[describe_batch(array) for array in arrays])
    batches.arrays = arrays
    return batches


def label_array(value: Any, name: str, count: int | None = None) -> np.ndarray:
    """A one-dimensional int64 array of labels; any integer dtype is taken."""
    array = label_values(value, name)
    check_mapping(array, name)
    if array.ndim != 1:
        raise InvalidArgumentError(f"{name}: got shape {array.shape}, want one label a sample")
    if array.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{name}: got dtype {array.dtype}, want integers")
    if count is not None and len(array) != count:
        raise InvalidArgumentError(f"{name}: got {len(array)} labels, want {count}, one a sample")
    return np.ascontiguousarray(array, dtype=np.int64)


def index_array(indices: Any, count: int, name: str = "indices") -> np.ndarray:
    """The images' places in a data set: `count` numbers 0 .. 2^63 - 1 as uint64."""
    array = listed_values(indices, name)
    if array.ndim != 1 or len(array) != count:
        raise InvalidArgumentError(f"{name}: got shape {array.shape}, want ({count},), one number an image")
    if array.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{name}: got dtype {array.dtype}, want integers")
    if array.dtype.kind == "i" and int(array.min()) < 0:
        raise InvalidArgumentError(f"{name}: got {int(array.min())}, want numbers of at least 0")
    return np.ascontiguousarray(array, dtype=np.uint64)


def c_text(text: Any, name: str) -> bytes:
    """Text for a ``const char *``: a zero character would truncate it silently, so it is an error."""
    if not isinstance(text, str):
        raise InvalidArgumentError(f"{name}: got {type(text).__name__}, want text")
    if "\0" in text:
        raise InvalidArgumentError(f"{name}: contains a zero character")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"{name}: cannot be written as UTF-8 ({error.reason})") from None


def c_path(path: Any, name: str = "path") -> bytes:
    """A file's path for the library, ``~`` expanded."""
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidArgumentError(f"{name}: got {type(path).__name__}, want a path")
    text = os.path.expanduser(os.fspath(path))
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if not text:
        raise InvalidArgumentError(f"{name}: is empty")
    return c_text(text, name)


def c_file(path: Any) -> bytes:
    """``c_path`` of a file to be read, which may be missing, but is nothing else than a file."""
    text = c_path(path)
    if os.path.exists(os.fsdecode(text)):
        check_regular(os.fsdecode(text))
    return text


__all__ = [
    "as_array",
    "byref",
    "c_file",
    "c_integer",
    "c_path",
    "c_text",
    "describe_batch",
    "describe_batches",
    "feature_array",
    "float_array",
    "float_batch",
    "index_array",
    "integer",
    "label_array",
    "real",
    "thread_count",
]
