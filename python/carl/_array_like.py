"""Arrays of other packages as NumPy's, without a copy wherever their memory can be shared."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

from .errors import InvalidArgumentError

#: Of the kinds of memory that DLPack tells apart, those that the processor reads: its own, also where pinned for a GPU.
_READABLE = (1, 3, 11)
#: Whole numbers up to here are exact as doubles, which JSON has.
MOST_EXACT = 2**53
_DEVICES = {2: "a CUDA device", 8: "a Metal device", 10: "a ROCm device", 14: "a oneAPI device"}
#: What packages raise where memory or a type cannot be shared.
_REFUSALS = (TypeError, ValueError, RuntimeError, BufferError, AttributeError, NotImplementedError, OverflowError)


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor, by what it can do."""
    return hasattr(value, "detach") and hasattr(value, "numpy")


def is_array_like(value: Any) -> bool:
    """Whether a value offers itself as an array: NumPy's, a tensor, or ``__array_interface__``, ``__dlpack__``,
    ``__array__``, or the buffer protocol with at least two dimensions (bytes are no array)."""
    if isinstance(value, (str, bytes, bytearray, type)):
        return False
    if isinstance(value, np.ndarray) or is_tensor(value):
        return True
    if any(hasattr(value, name) for name in ("__array_interface__", "__dlpack__", "__array__")):
        return True
    buffer = _buffer(value)
    return buffer is not None and buffer.ndim > 1


def shared(value: Any, name: str) -> np.ndarray:
    """`value` as a NumPy array: arrays, tensors, and whatever has ``__array_interface__``, ``__dlpack__``,
    ``__array__`` or the buffer protocol; never nested lists. Nothing is copied here; what ``__array__`` does is its
    object's affair.

    InvalidArgumentError for tensors that require grad or lie in another device's memory, for types that NumPy has not,
    and for masked values.
    """
    if isinstance(value, np.ndarray):
        if isinstance(value, np.ma.MaskedArray):
            if np.ma.is_masked(value):
                raise InvalidArgumentError(f"{name}: has masked values: fill them with .filled(value)")
            return np.asarray(value.data)
        return value
    if is_tensor(value):
        return _of_tensor(value, name)
    if isinstance(value, (str, bytes, bytearray, type)):
        raise InvalidArgumentError(f"{name}: got {type(value).__name__}, want an array")
    refusal: BaseException | None = None
    for take in (_by_interface, _by_dlpack, _by_method, _by_buffer):
        try:
            found = take(value, name)
        except InvalidArgumentError:
            raise
        except _REFUSALS as error:
            refusal = refusal or error
        else:
            if found is not None:
                return found
    if refusal is not None:
        raise InvalidArgumentError(
            f"{name}: got {type(value).__name__}, which cannot be had as an array: {refusal}"
        ) from refusal
    raise InvalidArgumentError(f"{name}: got {type(value).__name__}, want an array")


def label_values(labels: Any, name: str) -> np.ndarray:
    """Labels of whatever origin as an array, as ``listed_values``. Whole numbers as floats, which tables have, become
    integers, and bytes, which HDF5 files have, text; what else the types may be, the caller checks."""
    array = listed_values(labels, name)
    if array.dtype.kind == "S":
        return np.array([item.decode("utf-8", "surrogateescape") for item in array.ravel().tolist()], str).reshape(
            array.shape
        )
    if array.dtype.kind == "u" and array.size and int(array.max()) >= 2**63:
        raise InvalidArgumentError(f"{name}: got {int(array.max())}, want numbers below 2^63")
    if array.dtype.kind != "f" or array.ndim > 2 or array.size == 0:
        return array
    array = array.astype(np.float64)  # half precision has no room for the largest
    broken = np.argwhere(~((array == np.round(array)) & (np.abs(array) <= MOST_EXACT)))  # NaN too
    if len(broken):
        place = tuple(broken[0].tolist())
        if np.isnan(array[place]):
            raise _missing(name, place, array[place].item())
        raise InvalidArgumentError(
            f"{name}[{', '.join(map(str, place))}]: got {array[place]}: the labels are continuous, want whole numbers "
            "or text"
        )
    return array.astype(np.int64)


def _missing(name: str, place: tuple[int, ...], got: Any) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{name}[{', '.join(map(str, place))}]: got {got!r}, a missing label: leave images without a label out"
    )


def listed_values(labels: Any, name: str) -> np.ndarray:
    """Values of whatever origin as an array: lists, arrays, tensors, columns of pandas, polars and Arrow. Objects that
    all are whole numbers, bools or text become such an array."""
    try:
        array = shared(labels, name) if is_array_like(labels) else np.asarray(labels)
        listed = array.dtype.kind in "US" and isinstance(labels, (list, tuple))
        if listed and not all(isinstance(item, (str, bytes, np.ndarray)) for item in labels):
            array = np.asarray(labels, dtype=object)  # NumPy has made text of all that stands beside text, of a NaN too
    except ValueError as error:
        if isinstance(error, InvalidArgumentError):
            raise
        raise InvalidArgumentError(f"{name}: want one label an image: {error}") from None
    if array.dtype.kind == "T":  # NumPy's text of any length
        array = array.astype(object)
    if array.dtype.kind != "O" or array.size == 0:
        return array
    items = array.ravel().tolist()
    missing = next((place for place, item in enumerate(items) if is_missing(item)), None)
    if missing is not None and array.ndim == 1:
        raise _missing(name, (missing,), items[missing])
    kinds: tuple[tuple[Any, Any], ...] = (
        (str, str),
        (bytes, bytes),
        ((bool, np.bool_), bool),
        (numbers.Integral, np.int64),
        (numbers.Real, np.float64),
    )
    kind, dtype = next(((kind, dtype) for kind, dtype in kinds if isinstance(items[0], kind)), ((), None))
    wrong = next((place for place, item in enumerate(items) if not isinstance(item, kind)), None)
    if wrong is not None and array.ndim == 1:
        got = items[wrong]
        raise InvalidArgumentError(
            f"{name}[{wrong}]: got {got!r} ({type(got).__name__}), want labels of one kind, whole numbers, bools or "
            "text: leave images without a label out"
        )
    try:
        return array.astype(dtype) if wrong is None else array
    except OverflowError:
        raise InvalidArgumentError(f"{name}: has numbers that do not fit in 64 bits") from None


def column_items(value: Any) -> list[Any] | None:
    """The items of a column of single objects, such as paths: an array of text or objects, a Series of pandas or
    polars, an Arrow array, or a table with one such column; None for everything else."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "OUT":
            return None
        one_column = value.ndim == 1 or (value.ndim == 2 and value.shape[1] == 1)
        return list(value.ravel()) if one_column else None
    if is_tensor(value) or isinstance(value, (str, bytes)):
        return None
    if hasattr(value, "to_pylist"):  # pyarrow's arrays; its tables give rows
        return value.to_pylist() if not hasattr(value, "column_names") else None
    if not hasattr(value, "to_numpy"):
        return None
    dimensions = getattr(value, "ndim", None) or len(getattr(value, "shape", ()))
    if dimensions == 1:
        return list(value)
    if dimensions == 2 and value.shape[1] == 1:
        items = value.to_numpy()
        return list(items.ravel()) if items.dtype.kind in "OUT" else None
    return None


def is_missing(item: Any) -> bool:
    """Whether an item of a column is a gap: None, NaN, or pandas' NA and NaT."""
    return item is None or (isinstance(item, float) and item != item) or type(item).__name__ in ("NAType", "NaTType")


def _of_tensor(value: Any, name: str) -> np.ndarray:
    if getattr(value, "requires_grad", False):
        raise InvalidArgumentError(f"{name}: got a tensor that requires grad, want its values alone: pass .detach()")
    device = getattr(value, "device", None)
    if getattr(device, "type", "cpu") != "cpu":
        raise InvalidArgumentError(f"{name}: got a tensor on {device}, want one in the processor's memory: pass .cpu()")
    try:
        return np.asarray(value.numpy())
    except _REFUSALS as error:
        dtype = getattr(value, "dtype", "")
        raise InvalidArgumentError(
            f"{name}: got a tensor of {dtype} that NumPy cannot share: {error}"
            + (": pass .float()" if "bfloat16" in str(dtype) else "")
        ) from error


def _by_interface(value: Any, name: str) -> np.ndarray | None:
    return np.asarray(value) if hasattr(value, "__array_interface__") else None


def _by_dlpack(value: Any, name: str) -> np.ndarray | None:
    if not hasattr(value, "__dlpack__") or not hasattr(value, "__dlpack_device__"):
        return None
    if hasattr(value, "__arrow_c_array__"):  # exports a form of DLPack that NumPy warns of, and has __array__
        return None
    kind = int(value.__dlpack_device__()[0])
    if kind not in _READABLE:
        raise InvalidArgumentError(
            f"{name}: got {type(value).__name__} on {_DEVICES.get(kind, f'a device of DLPack kind {kind}')}, want one "
            "in the processor's memory"
        )
    return np.from_dlpack(value)


def _by_method(value: Any, name: str) -> np.ndarray | None:
    return np.asarray(value) if hasattr(value, "__array__") else None


def _by_buffer(value: Any, name: str) -> np.ndarray | None:
    buffer = _buffer(value)
    return None if buffer is None else np.asarray(buffer)


def _buffer(value: Any) -> memoryview | None:
    try:
        return memoryview(value)
    except (TypeError, ValueError, BufferError):
        return None
