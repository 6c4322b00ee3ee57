"""Images of bytes: checks of what callers pass, and their description to the library as ``carl_image`` of carl.h."""

from __future__ import annotations

import os
from collections.abc import Sequence
from ctypes import sizeof
from typing import Any

import numpy as np

from . import _arrays
from ._c_api import carl_image
from ._layout import MAX_SIDE, batch_channels_last, channels_last, refuse_bands_first, refuse_one_image
from .errors import InvalidArgumentError

#: A limit of carl_image in carl.h, checked here as MAX_SIDE is, so that an error names the shape.
MAX_CHANNELS = 1024
#: What to do with a single image where several are wanted.
_ONE_IMAGE = "pass one image as image[None], of Pillow as [image]"

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
    """A uint8 array (B, H, W) or (B, H, W, C), or a tensor (B, C, H, W), checked, as (B, H, W, C). Nothing is
    copied."""
    refuse_one_image(value, name)
    array = _arrays.as_array(batch_channels_last(value, name), name)
    shape = image_shape(array.dtype, array.shape, name)
    return array if array.ndim == len(shape) else array[..., None]


def image_shape(dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> tuple[int, int, int, int]:
    """(B, H, W, C) of an array of images of this dtype and shape, checked."""
    _check_bytes(dtype, name)
    if len(shape) == 3:
        if shape[2] in (3, 4) and min(shape[:2]) > 4:
            raise InvalidArgumentError(
                f"{name}: got shape {shape}, which looks like one colour image; want (B, H, W) or (B, H, W, C): "
                + _ONE_IMAGE
            )
        checked = (*shape, 1)
    elif len(shape) != 4:
        hint = f": {_ONE_IMAGE}; reshape rows of pixels to images" if len(shape) == 2 else ""
        raise InvalidArgumentError(f"{name}: got shape {shape}, want (B, H, W) or (B, H, W, C){hint}")
    else:
        refuse_bands_first(shape, name)
        checked = shape
    _check_sides(checked, checked[1:], name)
    return checked


def one_image(value: Any, name: str) -> np.ndarray:
    """A uint8 array (H, W) or (H, W, C), a tensor (C, H, W), or a Pillow image, as (H, W, C)."""
    if hasattr(value, "convert") and hasattr(value, "getbands"):
        from ._decode import to_array

        _check_sides((value.height, value.width, 1), (value.height, value.width, 1), name)
        value = to_array(value)
    array = _arrays.as_array(channels_last(value, name), name)
    _check_bytes(array.dtype, name)
    if array.ndim == 2:
        array = array[..., None]
    elif array.ndim != 3:
        raise InvalidArgumentError(f"{name}: got shape {array.shape}, want (H, W) or (H, W, C)")
    else:
        refuse_bands_first(array.shape, name)
    _check_sides(array.shape, array.shape, name)
    return array


def _check_bytes(dtype: np.dtype[Any], name: str) -> None:
    if dtype != np.uint8:
        hint = "; a value_range makes bytes of floats, embed() takes normalised ones" if dtype.kind == "f" else ""
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
    """Whether pixels are contiguous within each row, so that a row stride describes the image."""
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
    keep = alike([one_image(image, f"{name}[{place}]") for place, image in enumerate(images)], name)
    for place, array in enumerate(keep):
        if not _rows_usable(array.strides, array.shape):
            array = keep[place] = np.ascontiguousarray(array)
        records[place] = (array.ctypes.data, *array.shape, 0, _row_stride(array.strides[0], *array.shape))
    return PackedImages(records, keep[0].shape[2], keep)


def alike(images: list[np.ndarray], name: str, channels: int | None = None) -> list[np.ndarray]:
    """Images (H, W, C) with the same number of channels: gray ones among those of three are repeated, and all gray ones
    where `channels` is 3."""
    if channels == 3 or {image.shape[2] for image in images} == {1, 3}:
        images = [np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image for image in images]
    for place, image in enumerate(images):
        if image.shape[2] != images[0].shape[2]:
            raise InvalidArgumentError(
                f"{name}[{place}]: got {image.shape[2]} channel(s), want {images[0].shape[2]} as in {name}[0]"
            )
    return images
