"""Checks of what callers pass, and the conversion to what ``carl.h`` takes.

The rules: no dtype is converted silently, strides are honoured or the array is copied, and every error names the
argument, what it got and what it wanted.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Sequence
from ctypes import byref, sizeof
from mmap import ALLOCATIONGRANULARITY, mmap
from typing import Any

import numpy as np

from ._c_api import carl_batch, carl_image
from ._reading import check_regular
from .errors import FileError, InvalidArgumentError

#: Limits of carl_image in carl.h, checked here so that an error names the shape.
MAX_SIDE = 65535
MAX_CHANNELS = 1024

#: carl_image as a NumPy record, so that a batch of descriptions is filled without a Python loop.
IMAGE_RECORD = np.dtype(
    [
        ("pixels", np.uintp),
        ("height", np.int32),
        ("width", np.int32),
        ("channels", np.int32),
        ("reserved", np.int32),
        ("row_stride", np.intp),
    ]
)
assert IMAGE_RECORD.itemsize == sizeof(carl_image)


def as_array(value: Any, name: str) -> np.ndarray:
    """`value` as a NumPy array: arrays, torch tensors (detached) and whatever has ``__array__``; never nested lists."""
    if isinstance(value, np.ndarray):
        check_mapping(value, name)
        return value
    if hasattr(value, "detach") and hasattr(value, "numpy"):
        return np.asarray(value.detach().cpu().numpy())
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return np.asarray(value)
    raise InvalidArgumentError(f"{name}: got {type(value).__name__}, want an array")


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
    """Raises FileError for an array in a mapped file that was cut short: to read what is not there any more would end
    the process with SIGBUS."""
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


def c_integer(value: Any, name: str, least: int = 0) -> int:
    """`value` as an int of at least `least` that a C int32_t holds; how large it may be, the library checks."""
    number = integer(value, name, -(2**63), 2**31 - 1)
    if number < least:
        raise InvalidArgumentError(f"{name}: got {number}, want at least {least}")
    return number


def thread_count(threads: int | None) -> int:
    """Threads as the library takes them: 0 for all processors, which is None here."""
    return 0 if threads is None else c_integer(threads, "threads", 1)


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


def _check_finite(array: np.ndarray, name: str) -> None:
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
        _check_finite(array, name)
    return array


def float_batch(value: Any, name: str, channels: int | None = None) -> np.ndarray:
    """Checked normalised images, (B, H, W, C)."""
    array = float_array(value, name, ("B", "H", "W", "C" if channels is None else channels))
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
    batches = (carl_batch * len(arrays))(*[describe_batch(array) for array in arrays])
    batches.arrays = arrays
    return batches


def label_array(value: Any, name: str, count: int | None = None) -> np.ndarray:
    """A one-dimensional int64 array of labels; any integer dtype is taken."""
    array = np.asarray(value)
    check_mapping(array, name)
    if array.ndim != 1:
        raise InvalidArgumentError(f"{name}: got shape {array.shape}, want one label a sample")
    if array.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{name}: got dtype {array.dtype}, want integers")
    if count is not None and len(array) != count:
        raise InvalidArgumentError(f"{name}: got {len(array)} labels, want {count}, one a sample")
    return np.ascontiguousarray(array, dtype=np.int64)


class PackedImages:
    """Images of bytes as a C array of carl_image, with everything that must stay alive while it is used."""

    __slots__ = ("records", "channels", "_keep")

    def __init__(self, records: np.ndarray, channels: int, keep: Any) -> None:
        self.records = records
        self.channels = channels
        self._keep = keep

    def __len__(self) -> int:
        return len(self.records)

    def part(self, start: int, stop: int) -> PackedImages:
        return PackedImages(self.records[start:stop], self.channels, self._keep)

    @property
    def address(self) -> int:
        return self.records.ctypes.data


def image_batch(value: Any, name: str = "images") -> np.ndarray:
    """A uint8 array (B, H, W) or (B, H, W, C), checked, with the channel dimension added; nothing is copied."""
    array = as_array(value, name)
    shape = image_shape(array.dtype, array.shape, name)
    return array if array.ndim == len(shape) else array[..., None]


def image_shape(dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> tuple[int, int, int, int]:
    """(B, H, W, C) of an array of images of this dtype and shape, checked."""
    _check_bytes(dtype, name)
    if len(shape) == 3:
        if shape[2] in (3, 4) and min(shape[:2]) > 4:
            raise InvalidArgumentError(
                f"{name}: got shape {shape}, which looks like one colour image; want (B, H, W) or (B, H, W, C): "
                "pass image[None]"
            )
        checked = (*shape, 1)
    elif len(shape) != 4:
        hint = ": reshape rows of pixels to images" if len(shape) == 2 else ""
        raise InvalidArgumentError(f"{name}: got shape {shape}, want (B, H, W) or (B, H, W, C){hint}")
    else:
        if shape[1] in (1, 3) and min(shape[2:]) > 4:
            raise InvalidArgumentError(
                f"{name}: got shape {shape}, which looks like (B, C, H, W); want channels last: "
                "use images.transpose(0, 2, 3, 1)"
            )
        checked = shape
    _check_sides(checked, checked[1:], name)
    return checked


def one_image(value: Any, name: str) -> np.ndarray:
    """A uint8 array (H, W) or (H, W, C), or a Pillow image, with the channel dimension added."""
    if hasattr(value, "convert") and hasattr(value, "getbands"):
        from ._decode import to_array

        value = to_array(value)
    array = as_array(value, name)
    _check_bytes(array.dtype, name)
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim != 3:
        raise InvalidArgumentError(f"{name}: got shape {array.shape}, want (H, W) or (H, W, C)")
    _check_sides(array.shape, array.shape, name)
    return array


def _check_bytes(dtype: np.dtype[Any], name: str) -> None:
    if dtype != np.uint8:
        hint = (
            "; for float32 views that are already normalised use step_views() and embed()" if dtype.kind == "f" else ""
        )
        raise InvalidArgumentError(f"{name}: got dtype {dtype}, want uint8 (0 .. 255){hint}")


def _check_sides(whole: tuple[int, ...], shape: tuple[int, ...], name: str) -> None:
    height, width, channels = shape
    if 0 in whole:
        raise InvalidArgumentError(f"{name}: got shape {whole}, which is empty")
    if height > MAX_SIDE or width > MAX_SIDE:
        raise InvalidArgumentError(f"{name}: got images of {height} x {width} pixels, want sides of at most {MAX_SIDE}")
    if channels > MAX_CHANNELS:
        raise InvalidArgumentError(f"{name}: got {channels} channels, want at most {MAX_CHANNELS}")


def _rows_usable(strides: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether pixels lie side by side within a row, so that a stride from row to row says it all."""
    height, width, channels = shape
    row, column, channel = strides
    return (
        (channels == 1 or channel == 1)
        and (width == 1 or column == channels)
        and (height == 1 or abs(row) >= width * channels)
    )


def _row_stride(row: int, height: int, width: int, channels: int) -> int:
    return row if height > 1 else width * channels


def pack_images(images: Any, name: str = "images", channels: int | None = None) -> PackedImages:
    """Describes a batch to the library: an array (B, H, W) or (B, H, W, C), or a sequence of images of any sizes."""
    if isinstance(images, (str, bytes, os.PathLike)):
        raise InvalidArgumentError(f"{name}: got {type(images).__name__}, want uint8 images; CARL.fit() reads folders")
    if isinstance(images, (list, tuple)):
        packed = _pack_list(images, name)
    else:
        packed = _pack_array(image_batch(images, name))
    if channels is not None and packed.channels != channels:
        raise InvalidArgumentError(
            f"{name}: got {packed.channels} channel(s), the model takes {channels} (in_channels)"
        )
    return packed


def _pack_array(array: np.ndarray) -> PackedImages:
    if not _rows_usable(array.strides[1:], array.shape[1:]):
        array = np.ascontiguousarray(array)
    count, height, width, channels = array.shape
    records = np.zeros(count, IMAGE_RECORD)
    # int64 arithmetic wraps as addresses do; negative strides walk backwards from the first element.
    offsets = np.arange(count, dtype=np.int64) * array.strides[0]
    records["pixels"] = (np.uint64(array.ctypes.data) + offsets.view(np.uint64)).astype(np.uintp)
    records["height"], records["width"], records["channels"] = height, width, channels
    records["row_stride"] = _row_stride(array.strides[1], height, width, channels)
    return PackedImages(records, channels, array)


def _pack_list(images: Sequence[Any], name: str) -> PackedImages:
    if len(images) == 0:
        raise InvalidArgumentError(f"{name}: got an empty list, want images")
    records = np.zeros(len(images), IMAGE_RECORD)
    keep: list[np.ndarray] = []
    channels = 0
    for place, image in enumerate(images):
        array = one_image(image, f"{name}[{place}]")
        if not _rows_usable(array.strides, array.shape):
            array = np.ascontiguousarray(array)
        if place == 0:
            channels = array.shape[2]
        elif array.shape[2] != channels:
            raise InvalidArgumentError(
                f"{name}[{place}]: got {array.shape[2]} channel(s), want {channels} as in {name}[0]"
            )
        keep.append(array)
        records[place] = (array.ctypes.data, *array.shape, 0, _row_stride(array.strides[0], *array.shape))
    return PackedImages(records, channels, keep)


def index_array(indices: Any, count: int, name: str = "indices") -> np.ndarray:
    """The images' places in a data set: `count` numbers 0 .. 2^63 - 1 as uint64."""
    array = np.asarray(indices)
    if array.ndim != 1 or len(array) != count:
        raise InvalidArgumentError(f"{name}: got shape {array.shape}, want ({count},), one number an image")
    if array.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{name}: got dtype {array.dtype}, want integers")
    if array.dtype.kind == "i" and int(array.min()) < 0:
        raise InvalidArgumentError(f"{name}: got {int(array.min())}, want numbers of at least 0")
    return np.ascontiguousarray(array, dtype=np.uint64)


def c_text(text: Any, name: str) -> bytes:
    """Text for a ``const char *``: a zero inside would cut it short without a word."""
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
    "PackedImages",
    "as_array",
    "byref",
    "c_file",
    "c_path",
    "c_text",
    "describe_batch",
    "describe_batches",
    "float_array",
    "float_batch",
    "image_batch",
    "index_array",
    "integer",
    "label_array",
    "one_image",
    "pack_images",
    "real",
]
