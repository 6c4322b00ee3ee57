"""Pixels of any type as bytes, by one rule for files, arrays, archives and data sets."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from .errors import InvalidArgumentError

#: Warnings of one source at most.
_TOLD = 3
#: A uint16 image that fills fewer levels of 256 than this was hardly meant to use all of the type's range.
_FEW_LEVELS = 17


class Values:
    """How values become bytes.

    uint8 stays as it is, bool becomes 0 and 255. With value_range=(low, high) all other types are mapped linearly, low
    to 0 and high to 255; what is beyond is clipped, NaN is taken for low. Without one, uint16 is divided by 256, and
    everything else is an InvalidArgumentError: nothing says which values are black and white.

    An image that has one value only is warned of, and so is a uint16 image that is left with a few levels (logger
    "carl", the first three).
    """

    def __init__(self, value_range: Any = None) -> None:
        self.range = checked_range(value_range)
        self._told: set[str] = set()  # names of images
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"range": self.range}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["range"])  # type: ignore[misc]

    def __str__(self) -> str:
        return "" if self.range is None else f", values {self.range[0]!r} .. {self.range[1]!r}"

    def check(self, dtype: np.dtype[Any], name: str) -> None:
        """InvalidArgumentError for types that cannot be made bytes."""
        if dtype == np.uint8 or dtype == np.bool_:
            return
        if dtype.kind not in "iuf":
            raise InvalidArgumentError(f"{name}: got dtype {dtype}, want uint8 (0 .. 255)")
        if self.range is None and not (dtype.kind == "u" and dtype.itemsize == 2):
            tensor = "; tensors of ToTensor are value_range=(0, 1)" if dtype.kind == "f" else ""
            raise InvalidArgumentError(
                f"{name}: got dtype {dtype}, want uint8 (0 .. 255), uint16 or bool, or value_range=(low, high), the "
                f"values that become black and white{tensor}"
            )

    def image(self, array: np.ndarray, name: str) -> np.ndarray:
        """One image as uint8, of the same shape."""
        self.check(array.dtype, name)
        pixels: np.ndarray
        if array.dtype == np.uint8:
            pixels = array
        elif array.dtype == np.bool_:
            pixels = array * np.uint8(255)
        elif self.range is None:
            pixels = (array >> 8).astype(np.uint8)
        else:
            low, high = self.range
            kind: Any = np.float32 if array.dtype.kind == "f" and array.dtype.itemsize <= 4 else np.float64
            scaled = (array.astype(kind) - kind(low)) * kind(255 / (high - low))
            pixels = (np.nan_to_num(scaled, nan=0.0).clip(0, 255) + kind(0.5)).astype(np.uint8)
        self.look_at(array, pixels, name)
        return pixels

    def batch(self, array: np.ndarray, names: Any) -> np.ndarray:
        """Images (B, ...) as uint8. names: gives the name of one by its place in the batch."""
        if array.dtype == np.uint8:
            if len(self._told) < _TOLD and array.size:
                flat = array.reshape(len(array), -1)
                for place in np.flatnonzero(flat.min(axis=1) == flat.max(axis=1)).tolist():
                    self.look_at(array[place], array[place], names(place))
            return array
        pixels = np.empty(array.shape, np.uint8)
        for place in range(len(array)):  # one at a time, so that no batch of wide numbers is needed beside it
            pixels[place] = self.image(array[place], names(place))
        return pixels

    def look_at(self, array: np.ndarray, pixels: np.ndarray, name: str) -> None:
        """Warns of an image that has one value, or few of them. pixels: what has become of `array`."""
        if len(self._told) >= _TOLD or name in self._told or pixels.size < 2:
            return
        darkest, brightest = int(pixels.min()), int(pixels.max())
        seen = ""
        if array.dtype != np.uint8:
            least, most = array.min(), array.max()
            seen = f" ({array.dtype} values {least} .. {most})"
        if darkest == brightest:
            self._tell(name, f"{name} has one value only, {darkest} of 0 .. 255{seen}", bool(seen))
        elif array.dtype.kind == "u" and array.dtype.itemsize == 2 and self.range is None and brightest < _FEW_LEVELS:
            self._tell(name, f"{name} has {brightest - darkest + 1} gray levels of 256 left{seen}", True)

    def _tell(self, name: str, what: str, ranged: bool) -> None:
        from logging import getLogger

        with self._lock:
            if len(self._told) >= _TOLD or name in self._told:
                return
            self._told.add(name)
            last = len(self._told) == _TOLD
        if ranged:
            what += ": value_range=(low, high) says which values are black and white"
        getLogger("carl").warning("%s%s", what, "; further ones are not told" if last else "")


def checked_range(value_range: Any) -> tuple[float, float] | None:
    """(low, high) as finite floats, low below high, from a pair of numbers; None for None."""
    if value_range is None:
        return None
    try:
        if isinstance(value_range, (str, bytes)):
            raise TypeError
        low, high = (float(value) for value in value_range if not isinstance(value, (str, bytes, bool)))
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InvalidArgumentError(
            f"value_range: got {value_range!r}, want two finite numbers, (low, high), low < high"
        )
    return low, high
